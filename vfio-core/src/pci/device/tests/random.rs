//! Random slots, devices with vices, and random histories, against what must always hold.

use super::*;
use crate::testing::cases;
use crate::testing::pci::Vice;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Act {
    Open(usize),
    Use(usize),
    Sleep(usize),
    Reset(usize),
    Close(usize, LastReset),
    SetReset,
    HotReset,
    Turn(usize, Vice),
}

fn vice() -> impl Strategy<Value = Vice> {
    prop_oneof![
        4 => Just(Vice::None),
        1 => Just(Vice::IgnoresReset),
        1 => Just(Vice::KeepsMastering),
        1 => Just(Vice::Pending),
        1 => Just(Vice::StaysAsleep),
        1 => Just(Vice::StaysAwake),
        1 => Just(Vice::LosesBar),
        1 => any::<u16>().prop_map(Vice::ReturnsAs),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let which = 0usize..4;
    let when = prop_oneof![Just(LastReset::Now), Just(LastReset::Later)];
    prop_oneof![
        4 => which.clone().prop_map(Act::Open),
        2 => which.clone().prop_map(Act::Use),
        1 => which.clone().prop_map(Act::Sleep),
        1 => which.clone().prop_map(Act::Reset),
        4 => (which.clone(), when).prop_map(|(which, when)| Act::Close(which, when)),
        1 => Just(Act::SetReset),
        1 => Just(Act::HotReset),
        1 => (which, vice()).prop_map(|(which, vice)| Act::Turn(which, vice)),
    ]
}

/// A slot of these functions: with FLR, and keeping their state in D3hot.
fn slot_of(functions: &[(bool, bool)]) -> (Machine, Vec<Bdf>) {
    let members: Vec<Bdf> = (0..functions.len())
        .map(|number| Bdf::new(0, 1, 0, number as u8))
        .collect();
    let models = functions
        .iter()
        .map(|&(flr, keeps)| device(if flr { DEVICE_CAPABILITIES_FLR } else { 0 }, keeps).multi_function());
    let port = (bdf(PORT), Model::bridge(Some(4), 1, 1));
    let machine = Machine::new(core::iter::once(port).chain(members.iter().copied().zip(models)));
    (machine, members)
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_history_with_any_devices_keeps_what_must_hold(
        functions in prop::collection::vec(any::<(bool, bool)>(), 1..5),
        acts in prop::collection::vec(act(), 1..30),
    ) {
        let (machine, members) = slot_of(&functions);
        let table = table(&machine);
        let shown = Shown::default();
        let mut open: Vec<Bdf> = Vec::new();
        // The model: whether a successful reset came after the last close; nothing is known at first.
        let mut clean = vec![false; members.len()];
        for act in acts {
            let resets: Vec<u32> = members.iter().map(|at| machine.resets(*at)).collect();
            let began = machine.time.get();
            let at = |which: usize| members[which % members.len()];
            let index = |which: usize| which % members.len();
            match act {
                Act::Open(which) => {
                    let was = open.contains(&at(which));
                    let opened = table.enable(&machine, at(which));
                    prop_assert!(!(was && opened.is_ok()));
                    if opened.is_ok() {
                        open.push(at(which));
                        let command = command(&machine, at(which));
                        prop_assert!(!command.contains(Command::BUS_MASTER));
                    }
                    let reset = machine.resets(at(which)) > resets[index(which)];
                    clean[index(which)] |= reset && !table.with(at(which), |f| f.needs_reset()).unwrap();
                }
                Act::Use(which) if open.contains(&at(which)) => use_it(&machine, at(which)),
                Act::Sleep(which) if open.contains(&at(which)) => {
                    let state = if which % 2 == 0 { PowerState::D3hot } else { PowerState::D0 };
                    let _ = table.set_power_state(&machine, at(which), state, &NotExposed);
                }
                Act::Reset(which) => {
                    let done = table.reset(&machine, at(which), &shown);
                    clean[index(which)] |= done.is_ok();
                }
                Act::Close(which, when) => {
                    let was = open.contains(&at(which));
                    let closed = table.disable(&machine, at(which), when, &NotExposed);
                    prop_assert!(was || closed == Err(FunctionError::NotEnabled(at(which))));
                    open.retain(|open| *open != at(which));
                    if was {
                        let worked = !table.with(at(which), |f| f.needs_reset()).unwrap();
                        // P20: only a reset that came through takes it away.
                        prop_assert!(!worked || machine.resets(at(which)) > resets[index(which)]);
                        clean[index(which)] = worked;
                    }
                    if closed.is_ok() {
                        assert_quiet(&machine, at(which));
                    }
                }
                Act::SetReset => {
                    let done = table.reset_at_last_close(&machine, &members, open.len());
                    let needed = clean.iter().any(|clean| !clean);
                    // P21.
                    if open.len() > 1 || !needed {
                        prop_assert!(matches!(done, Err(FunctionError::NoSetReset(_))));
                        let now: Vec<u32> = members.iter().map(|at| machine.resets(*at)).collect();
                        prop_assert_eq!(&now, &resets);
                    }
                    if done.is_ok() {
                        clean.fill(true);
                    }
                }
                Act::HotReset => {
                    let owned: Vec<Bdf> = open.clone();
                    let before = (machine.bytes(), machine.writes.get());
                    let done = table.hot_reset(&machine, &members, |at| owned.contains(&at), &shown);
                    if owned.len() < members.len() {
                        // P22.
                        prop_assert!(matches!(done, Err(HotResetError::Refused(_))));
                        prop_assert_eq!((machine.bytes(), machine.writes.get()), before);
                    }
                    if done.is_ok() {
                        clean.fill(true);
                    }
                }
                Act::Turn(which, vice) => machine.change(at(which), |model| model.vice = vice),
                _ => {}
            }
            // Every wait is bounded, nobody holds anything, and registers are where they were.
            prop_assert!(machine.time.get() - began < 30_000_000_000);
            prop_assert!(shown.hidden.borrow().is_empty());
            for (at, clean) in members.iter().zip(&clean) {
                prop_assert_eq!(needs_reset(&table, *at), !clean, "{}", at);
                let enabled = table.with(*at, |function| function.is_enabled()).unwrap();
                prop_assert_eq!(enabled, open.contains(at));
            }
        }
    }
}
