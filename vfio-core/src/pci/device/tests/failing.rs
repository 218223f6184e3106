//! A function that vanishes at each step, for good, and one that vanishes and comes back.

use super::*;
use crate::pci::reset::ResetError;

/// Runs `work` with `victim` vanishing at the first, the second, the third access of it, and so on, until it was not in
/// time any more; returns how many times that was.
fn at_every_access(
    victim: Bdf,
    prepare: impl Fn(&Machine, &FunctionTable),
    work: impl Fn(&Machine, &FunctionTable, bool),
) -> u64 {
    for step in 1.. {
        let machine = machine();
        let table = table(&machine);
        prepare(&machine, &table);
        let start = machine.accesses.get() + machine.writes.get();
        let began = machine.time.get();
        machine.dies.set(Some((victim, start + step)));
        work(&machine, &table, false);
        assert!(machine.time.get() - began < 20_000_000_000, "step {step} ends");
        if machine.dies.take().is_some() {
            let fresh = super::machine();
            let table = super::table(&fresh);
            prepare(&fresh, &table);
            work(&fresh, &table, true);
            return step;
        }
    }
    0
}

#[test]
fn a_function_that_vanishes_while_it_is_opened_is_not_open() {
    let steps = at_every_access(
        bdf(ALONE),
        |_, _| {},
        |machine, table, lives| {
            let opened = table.enable(machine, bdf(ALONE));
            let enabled = table.with(bdf(ALONE), |function| function.is_enabled());
            assert_eq!(enabled, Ok(opened.is_ok()));
            if lives {
                opened.unwrap();
            } else if let Err(error) = opened {
                let fault = Fault::from(error);
                assert!(
                    matches!(fault, Fault::Gone | Fault::TimedOut | Fault::Rejected),
                    "{error}"
                );
            } else {
                // It died after the last look, or just now.
                assert!(machine.dies.get().is_some() || machine.resets(bdf(ALONE)) == 1);
            }
        },
    );
    assert!(steps > 50, "{steps}");
}

#[test]
fn a_function_that_vanishes_while_it_is_closed_is_closed_and_needs_a_reset() {
    let open = |machine: &Machine, table: &FunctionTable| {
        table.enable(machine, bdf(ALONE)).unwrap();
        use_it(machine, bdf(ALONE));
    };
    let steps = at_every_access(bdf(ALONE), open, |machine, table, lives| {
        let shown = Shown::default();
        let closed = table.disable(machine, bdf(ALONE), LastReset::Now, &shown);
        assert_eq!(shown.hidden.borrow()[..], [bdf(ALONE)]);
        let (enabled, needs) = table
            .with(bdf(ALONE), |function| {
                (function.is_enabled(), function.needs_reset())
            })
            .unwrap();
        assert!(!enabled);
        match closed {
            Ok(disabled) => assert_eq!(needs, !matches!(disabled.reset, Some(Ok(_)))),
            Err(_) => assert!(!lives),
        }
        if lives {
            assert!(!needs);
            assert_quiet(machine, bdf(ALONE));
        }
    });
    assert!(steps > 40, "{steps}");
}

#[test]
fn a_member_that_vanishes_during_a_hot_reset_leaves_the_others_whole() {
    let open = |machine: &Machine, table: &FunctionTable| {
        for at in slot() {
            table.enable(machine, at).unwrap();
            use_it(machine, at);
        }
    };
    let steps = at_every_access(bdf(SLOT[1]), open, |machine, table, lives| {
        let shown = Shown::default();
        let done = table.hot_reset(machine, &slot(), |_| true, &shown);
        assert!(shown.hidden.borrow().is_empty(), "P23");
        // Once it was back, it may vanish without being noticed.
        let was_back = machine.dies.get().is_some() || machine.resets(bdf(SLOT[1])) == 2;
        assert!(if done.is_ok() { was_back } else { !lives });
        for at in [bdf(SLOT[0]), bdf(SLOT[2])] {
            let registers = Registers::new(machine, at);
            assert_eq!(registers.u32(header::BAR0), 0xfe60_0004, "{at}");
            assert_eq!(registers.u16(0x48), 0x0810, "{at}");
            assert!(registers.command().contains(Command::MEMORY), "{at}");
            assert!(table.with(at, |_| ()).is_ok());
        }
    });
    assert!(steps > 50, "{steps}");
}

#[test]
fn a_port_that_vanishes_during_a_set_reset_keeps_the_set_in_need_of_one() {
    at_every_access(
        bdf(PORT),
        |_, _| {},
        |machine, table, lives| {
            let done = table.reset_set(machine, &slot());
            if lives {
                done.unwrap();
                return;
            }
            // Once the bit was seen to go off again, nobody needs the port.
            if let Err(error) = done {
                assert_eq!(error, ResetError::Stuck(bdf(PORT)).into());
                assert!(slot().into_iter().all(|at| needs_reset(table, at)));
            }
        },
    );
}
