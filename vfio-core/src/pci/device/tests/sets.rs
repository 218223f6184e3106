//! Resets of whole sets: at the last close, between owners, and as an owner asks for it.

use super::*;
use crate::pci::reset::ResetError;
use crate::testing::pci::Vice;

#[test]
fn a_set_is_reset_at_the_last_close_if_a_member_needs_it_and_nobody_else_is_hurt() {
    let scope = ResetScope {
        port: bdf(PORT),
        affected: slot(),
    };
    let members = |needs: [bool; 3]| -> Vec<SetMember> {
        slot()
            .into_iter()
            .zip(needs)
            .map(|(function, needs_reset)| SetMember {
                function,
                needs_reset,
            })
            .collect()
    };
    let one = members([false, true, false]);
    assert_eq!(plan_set_reset(&scope, &one, 0), Ok(()));
    assert_eq!(
        plan_set_reset(&scope, &one, 1),
        Ok(()),
        "the closing one counts still"
    );
    assert_eq!(plan_set_reset(&scope, &one, 2), Err(NoSetReset::StillOpen(2)));
    assert_eq!(
        plan_set_reset(&scope, &members([false; 3]), 1),
        Err(NoSetReset::NotNeeded)
    );
    assert_eq!(
        plan_set_reset(&scope, &one[1..], 1),
        Err(NoSetReset::Outside {
            port: bdf(PORT),
            device: bdf(SLOT[0])
        })
    );
}

#[test]
fn a_set_reset_clears_what_it_reset_and_a_failing_one_leaves_it_for_the_next_close() {
    let machine = machine();
    let table = table(&machine);
    for at in slot() {
        table.enable(&machine, at).unwrap();
        use_it(&machine, at);
    }
    assert!(!needs_reset(&table, bdf(SLOT[0])), "FLR");
    assert!(!needs_reset(&table, bdf(SLOT[1])), "PM");
    assert!(needs_reset(&table, bdf(SLOT[2])), "nothing resets it alone");
    for (at, open) in slot().into_iter().zip([3, 2, 1]) {
        table.disable(&machine, at, LastReset::Now, &NotExposed).unwrap();
        machine.change(bdf(SLOT[0]), |model| model.reset_takes = u64::MAX);
        let done = table.reset_at_last_close(&machine, &slot(), open);
        if open > 1 {
            assert_eq!(done, Err(NoSetReset::StillOpen(open).into()));
        } else {
            assert_eq!(done, Err(ResetError::NoAnswer(bdf(SLOT[0])).into()));
        }
    }
    assert!(needs_reset(&table, bdf(SLOT[2])), "P20");
    assert_quiet(&machine, bdf(SLOT[2]));
    machine.change(bdf(SLOT[0]), |model| {
        model.absent_until = 0;
        model.reset_takes = 0;
    });
    table.reset_at_last_close(&machine, &slot(), 0).unwrap();
    assert!(slot().into_iter().all(|at| !needs_reset(&table, at)));
    let resets = machine.resets(bdf(SLOT[2]));
    assert_eq!(
        table.reset_at_last_close(&machine, &slot(), 0),
        Err(NoSetReset::NotNeeded.into())
    );
    assert_eq!(machine.resets(bdf(SLOT[2])), resets, "P21: once");
}

#[test]
fn a_hot_reset_says_what_it_reaches_and_whose_that_is() {
    let machine = machine();
    let table = table(&machine);
    let scope = table.scope(&machine, bdf(SLOT[1])).unwrap();
    let info = hot_reset_info(&scope, |at| match at.function() {
        0 => Ownership::Named(7),
        1 => Ownership::Unnamed,
        _ => Ownership::NotOwned,
    });
    let ownership: Vec<_> = info.affected.iter().map(|affected| affected.ownership).collect();
    assert_eq!(
        ownership,
        [Ownership::Named(7), Ownership::Unnamed, Ownership::NotOwned]
    );
    assert!(!info.all_owned());
    assert!(hot_reset_info(&scope, |_| Ownership::Named(())).all_owned());
    assert_eq!(
        table.scope(&machine, bdf(ALONE)),
        Err(NoScope::OnRootBus(bdf(ALONE)).into())
    );
}

/// P22: a refusal writes nothing.
fn refused(machine: &Machine, members: &[Bdf], owned: impl Fn(Bdf) -> bool, expected: HotResetRefusal) {
    let (table, shown) = (table(machine), Shown::default());
    let (before, writes) = (machine.bytes(), machine.writes.get());
    assert_eq!(
        table.hot_reset(machine, members, owned, &shown),
        Err(expected.into())
    );
    assert_eq!((machine.bytes(), machine.writes.get()), (before, writes));
    assert!(shown.hidden.borrow().is_empty());
}

#[test]
fn a_hot_reset_that_would_hurt_others_touches_nothing() {
    let machine = machine();
    let outside = HotResetRefusal::Outside {
        port: bdf(PORT),
        device: bdf(SLOT[2]),
    };
    refused(&machine, &slot()[..2], |_| true, outside);
    assert_eq!(
        outside.to_string(),
        "hot reset refused: 0000:00:05.0 would reset 0000:01:00.2, which is not in the set"
    );
    let not_owned = HotResetRefusal::NotOwned { device: bdf(SLOT[1]) };
    refused(&machine, &slot(), |at| at != bdf(SLOT[1]), not_owned);
    let root = NoScope::OnRootBus(bdf(ALONE));
    refused(&machine, &[bdf(ALONE)], |_| true, root.into());
    // A bridge below is no member of any set.
    let machine = Machine::new([
        (bdf("00:05.0"), Model::bridge(None, 1, 2)),
        (bdf("01:00.0"), device(0, true)),
        (bdf("01:01.0"), Model::bridge(None, 2, 2)),
        (bdf("02:00.0"), device(0, true)),
    ]);
    let bridge = HotResetRefusal::Outside {
        port: bdf("00:05.0"),
        device: bdf("01:01.0"),
    };
    refused(&machine, &[bdf("01:00.0")], |_| true, bridge);
}

#[test]
fn a_hot_reset_resets_all_and_gives_all_back() {
    let machine = machine();
    let (table, shown) = (table(&machine), Shown::default());
    for at in slot() {
        table.enable(&machine, at).unwrap();
        use_it(&machine, at);
    }
    Registers::new(&machine, bdf(SLOT[1])).set_u16(PM + 4, 3);
    let before: Vec<u32> = slot().into_iter().map(|at| machine.resets(at)).collect();
    table.hot_reset(&machine, &slot(), |_| true, &shown).unwrap();
    for (at, resets) in slot().into_iter().zip(before) {
        let by_power = u32::from(at == bdf(SLOT[1]));
        assert_eq!(machine.resets(at), resets + 1 + by_power);
        let registers = Registers::new(&machine, at);
        assert_eq!(registers.command(), Command::MEMORY);
        assert_eq!(registers.u32(header::BAR0), 0xfe60_0004);
        assert_eq!(registers.u16(0x48), 0x0810);
        assert_eq!(registers.u16(MSIX + 2) & 0x8000, 0);
    }
    assert!(shown.hidden.borrow().is_empty());
}

#[test]
fn a_hot_reset_that_cannot_start_leaves_all_as_it_was() {
    let machine = machine();
    let (table, shown) = (table(&machine), Shown::default());
    for at in slot() {
        use_it(&machine, at);
    }
    Registers::new(&machine, bdf(SLOT[0])).set_u16(PM + 4, 3);
    let before = machine.bytes();
    // P23: a register that cannot be taken away; a member in other hands; one that does not wake up.
    shown.stubborn.set(Some(bdf(SLOT[2])));
    assert_eq!(
        table.hot_reset(&machine, &slot(), |_| true, &shown),
        Err(HotResetError::Exposed {
            function: bdf(SLOT[2]),
            fault: Fault::Busy
        })
    );
    assert!(shown.hidden.borrow().is_empty());
    assert_eq!(machine.bytes(), before);
    shown.stubborn.set(None);
    let busy = table.with(bdf(SLOT[1]), |_| {
        table.hot_reset(&machine, &slot(), |_| true, &shown)
    });
    assert_eq!(busy, Ok(Err(HotResetError::Busy(bdf(SLOT[1])))));
    assert_eq!(machine.bytes(), before);
    Registers::new(&machine, bdf(SLOT[2])).set_u16(PM + 4, 3);
    let before = machine.bytes();
    machine.change(bdf(SLOT[2]), |model| model.vice = Vice::StaysAsleep);
    let error = table.hot_reset(&machine, &slot(), |_| true, &shown);
    assert!(matches!(
        error,
        Err(HotResetError::Power(PowerError::Stays { .. }))
    ));
    assert_eq!(machine.bytes(), before, "and the first one sleeps again");
    assert!(shown.hidden.borrow().is_empty());
    assert!(table.with(bdf(SLOT[0]), |_| ()).is_ok(), "nobody holds it");
}

#[test]
fn a_hot_reset_revives_a_member_that_died_and_gives_back_what_it_had() {
    let machine = machine();
    let (table, shown) = (table(&machine), Shown::default());
    for at in slot() {
        table.enable(&machine, at).unwrap();
    }
    let before = machine.bytes();
    machine.change(bdf(SLOT[1]), |model| model.bytes.fill(0xff));
    table.hot_reset(&machine, &slot(), |_| true, &shown).unwrap();
    assert_eq!(machine.bytes(), before);
}
