//! The invariants of device sets, each a test with its number.
//!
//! `compare` in [`world`] checks the three counts against the model after every operation, in all of them.

#![cfg(not(loom))]

mod handles;
mod threads;
mod world;

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::vec::Vec;

use self::world::{CAPACITY, DEVICES, Event, Op, World, device, ops, set};
use crate::set::{OpenError, RegisterError, SetTable};
use crate::testing::cases;
use crate::{Fault, Owner, SetId};

const REGISTER: Op = Op::Register {
    device: 0,
    set: Some(0),
    init_fails: false,
};
const OPEN: Op = Op::Open {
    device: 0,
    owner: 0,
    fails: false,
};
const CLOSE: Op = Op::Close {
    device: 0,
    fails: false,
};

proptest! {
    #![proptest_config(cases(128))]

    /// Each device's callbacks are open and close in turn, with failing opens in between.
    #[test]
    fn p1_opens_and_closes_alternate(ops in ops()) {
        let world = World::run(&ops);
        for number in 0..DEVICES {
            let mut open = false;
            for event in world.events_of(device(number)) {
                match event {
                    Event::OpenOk(_) => prop_assert!(!core::mem::replace(&mut open, true)),
                    Event::OpenFailed(_) => prop_assert!(!open),
                    Event::Close(..) => prop_assert!(core::mem::replace(&mut open, false)),
                }
            }
        }
    }

    /// However opens and closes of one device interleave, there is one open callback for each time the count
    /// leaves zero and one close callback for each time it returns.
    #[test]
    fn p3_only_first_open_and_last_close_call_back(steps in prop::collection::vec(any::<bool>(), 1..80)) {
        let mut world = World::run(&[REGISTER]);
        let (mut count, mut firsts, mut lasts) = (0u32, 0, 0);
        for open in steps {
            world.step(if open { OPEN } else { CLOSE });
            match (open, count) {
                (true, _) => {
                    firsts += usize::from(count == 0);
                    count += 1;
                }
                (false, 0) => {}
                (false, _) => {
                    lasts += usize::from(count == 1);
                    count -= 1;
                }
            }
        }
        let events = world.events_of(device(0));
        prop_assert_eq!(events.iter().filter(|e| matches!(e, Event::OpenOk(_))).count(), firsts);
        prop_assert_eq!(events.iter().filter(|e| matches!(e, Event::Close(..))).count(), lasts);
    }

    /// A failing open changes no count, no owner and no phase.
    #[test]
    fn p4_a_failing_open_leaves_no_trace(ops in ops(), number in 0..DEVICES, owner in 0..2u32) {
        let mut world = World::run(&ops);
        let before = world.model.clone();
        if before.opens(number) == 0 {
            world.step(Op::Open { device: number, owner, fails: true });
            world.compare();
            prop_assert_eq!(world.model.devices, before.devices);
            prop_assert_eq!(world.model.owners, before.owners);
        }
    }

    /// A close callback runs exactly for what was opened: when all tokens are given back, the two are equal in
    /// number for each device.
    #[test]
    fn p6_a_close_for_each_open(ops in ops()) {
        let mut world = World::run(&ops);
        for number in 0..DEVICES {
            while world.model.opens(number) > 0 {
                world.step(Op::Close { device: number, fails: false });
            }
            let events = world.events_of(device(number));
            let opens = events.iter().filter(|event| matches!(event, Event::OpenOk(_))).count();
            let closes = events.iter().filter(|event| matches!(event, Event::Close(..))).count();
            prop_assert_eq!(opens, closes);
        }
    }

    /// While a close callback runs, its device's count is 1, and the set's is 1 exactly if no other is open.
    #[test]
    fn p7_the_count_is_one_while_closing(ops in ops()) {
        let world = World::run(&ops);
        for event in world.trace.borrow().iter() {
            if let Event::Close(_, counts, others) = event {
                prop_assert_eq!((counts.device, counts.set), (1, 1 + others));
            }
        }
    }

    /// As many closes as opens are possible and no more: there is a token for each open, and a close takes it.
    #[test]
    fn p9_counts_never_go_below_zero(ops in ops()) {
        let mut world = World::run(&ops);
        for number in 0..DEVICES {
            let tokens = world.tokens.get(&number).map_or(0, Vec::len);
            prop_assert_eq!(tokens, world.model.opens(number) as usize);
            for _ in 0..tokens + 2 {
                world.step(Op::Close { device: number, fails: false });
            }
        }
        prop_assert!(world.model.devices.values().all(|(_, opens, _)| *opens == 0));
    }

    /// When the last member left, the key is gone; who joins afterwards meets a set with a new identity.
    #[test]
    fn p13_a_set_goes_with_its_last_member(ops in ops()) {
        let mut world = World::run(&ops);
        let seen: BTreeSet<u64> = world.generations.keys().copied().collect();
        for number in 0..DEVICES {
            while world.model.opens(number) > 0 {
                world.step(Op::Close { device: number, fails: false });
            }
            world.step(Op::Unregister { device: number });
        }
        prop_assert!(world.table.is_empty());
        prop_assert_eq!(world.table.len(), (0, 0));
        let again = world.table.register(device(0), Some(set(0))).unwrap();
        prop_assert!(!seen.contains(&again.set().generation()));
        prop_assert_eq!(again.set().counts(device(0)).set, 0);
    }

    /// A set lives as long as a member does, and each member leaves once: `compare` holds members against counts.
    #[test]
    fn p14_a_set_lives_while_a_member_does(ops in ops()) {
        let world = World::run(&ops);
        for (number, registration) in &world.registrations {
            let found = world.table.set(registration.set().id()).unwrap();
            prop_assert_eq!(found.generation(), registration.set().generation());
            prop_assert!(found.members().contains(&device(*number)));
        }
    }

    /// Without a set a device is alone.
    #[test]
    fn p15_no_set_means_a_set_of_its_own(devices in prop::collection::btree_set(0..200u8, 1..20)) {
        let table = SetTable::new();
        let registered: Vec<_> =
            devices.iter().map(|number| table.register(device(*number), None).unwrap()).collect();
        for registration in &registered {
            prop_assert_eq!(registration.set().id(), SetId::Own(registration.device()));
            prop_assert_eq!(registration.set().members(), [registration.device()]);
        }
        prop_assert_eq!(table.len(), (devices.len(), devices.len()));
    }

    /// A join that finds no room is an error that leaves all as it was, never a device without a set.
    #[test]
    fn p16_a_failing_join_fails_the_registration(sets in prop::collection::vec(prop::option::of(0..3u8), 6..12)) {
        let table = SetTable::with_capacity(CAPACITY);
        for (number, of) in sets.iter().enumerate() {
            let before = (table.len(), of.map(|of| table.member_count(set(of))));
            let result = table.register(device(number as u8), of.map(set));
            if number < CAPACITY {
                prop_assert!(result.is_ok());
            } else {
                prop_assert_eq!(result.unwrap_err(), RegisterError::NoMemory);
                prop_assert_eq!((table.len(), of.map(|of| table.member_count(set(of)))), before);
            }
        }
    }

    /// Unregistering ends only after the last close, and opens that begin after it fail.
    #[test]
    fn p17_unregister_waits_and_refuses(opens in 1..6u32) {
        let mut world = World::run(&[REGISTER]);
        for _ in 0..opens {
            world.step(OPEN);
        }
        for left in (1..=opens).rev() {
            let still = world.table.unregister(world.registrations.remove(&0).unwrap()).unwrap_err();
            prop_assert_eq!(still.counts.device, left);
            let refused = still.registration.open(Owner::Guest(0), &world).map(|_| ());
            prop_assert_eq!(refused, Err(OpenError::Unregistering(device(0))));
            world.registrations.insert(0, still.registration);
            world.tokens.get_mut(&0).unwrap().pop().unwrap().close(&world).unwrap();
            world.model.devices.get_mut(&0).unwrap().1 -= 1;
        }
        prop_assert!(world.table.unregister(world.registrations.remove(&0).unwrap()).is_ok());
        prop_assert!(world.table.is_empty());
    }

    /// A device whose initialisation fails after it joined leaves the set again, and may come back.
    #[test]
    fn p18_a_failing_init_leaves_the_set(of in prop::option::of(0..3u8), others in 0..3u8) {
        let table = SetTable::new();
        let mates: Vec<_> =
            (1..=others).map(|number| table.register(device(number), of.map(set)).unwrap()).collect();
        let before = table.len();
        let mut ran = false;
        let result = table.register_with(device(0), of.map(set), || {
            ran = true;
            Err(Fault::Gone)
        });
        prop_assert_eq!(result.unwrap_err(), RegisterError::Init(Fault::Gone));
        prop_assert!(ran);
        prop_assert_eq!(table.len(), before);
        prop_assert!(mates.iter().all(|mate| !mate.set().members().contains(&device(0))));
        prop_assert!(table.register(device(0), of.map(set)).is_ok());
    }
}

#[test]
fn a_table_with_a_device_is_not_empty() {
    let table = SetTable::new();
    assert!(table.is_empty());
    let registration = table.register(device(0), None).unwrap();
    assert!(!table.is_empty());
    table.unregister(registration).unwrap();
    assert!(table.is_empty());
}
