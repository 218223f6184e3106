//! Sequences of registrations, opens, closes and failures against the simplest model of a set: numbers.

use std::cell::Cell;
use std::collections::BTreeMap;

use vfio_core::lease::DeviceOps;
use vfio_core::pci::Bdf;
use vfio_core::set::{CloseError, OpenError, OpenToken, RegisterError, Registration, SetTable};
use vfio_core::{DeviceId, Fault, Owner, SetId};

use super::input::Input;

const DEVICES: u8 = 6;
const CAPACITY: usize = 5;

/// What the model knows of one device.
struct Known {
    set: SetId,
    registration: Option<Registration>,
    tokens: Vec<OpenToken>,
    leaving: bool,
}

#[derive(Default)]
struct World {
    fails: Cell<bool>,
    opened: Cell<u32>,
    closed: Cell<u32>,
}

impl World {
    fn answer(&self, count: &Cell<u32>) -> Result<(), Fault> {
        count.set(count.get() + 1);
        if self.fails.get() {
            Err(Fault::TimedOut)
        } else {
            Ok(())
        }
    }
}

impl DeviceOps for World {
    fn open_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        self.answer(&self.opened)
    }

    fn close_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        self.answer(&self.closed)
    }
}

fn set_of(device: DeviceId, choice: u8) -> (Option<SetId>, SetId) {
    match choice {
        0 => (None, SetId::Own(device)),
        bus => {
            let id = SetId::PciBus { segment: 0, bus };
            (Some(id), id)
        }
    }
}

/// Each step is a byte for what and to whom, and one for details.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let table = SetTable::with_capacity(CAPACITY);
    let world = World::default();
    let mut known: BTreeMap<u8, Known> = BTreeMap::new();
    // Sets in which a close failed, for as long as they have members.
    let mut broken: Vec<SetId> = Vec::new();
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        let (step, detail) = (input.u8(), input.u8());
        let (number, owner) = (step / 8 % DEVICES, Owner::Guest(u32::from(detail & 1)));
        let device = DeviceId::from(Bdf::new(0, 1, number, 0));
        world.fails.set(detail & 2 != 0);
        match step % 4 {
            0 => register(&table, &mut known, number, device, detail),
            1 => open(&world, &mut known, &broken, number, owner),
            2 => close(&world, &mut known, &mut broken, number),
            _ => unregister(&table, &mut known, &mut broken, number),
        }
        compare(&table, &known);
    }
}

fn register(table: &SetTable, known: &mut BTreeMap<u8, Known>, number: u8, device: DeviceId, detail: u8) {
    let (asked, set) = set_of(device, detail >> 4 & 3);
    let init = || if detail & 4 != 0 { Err(Fault::Gone) } else { Ok(()) };
    let expected = if known.contains_key(&number) {
        Err(RegisterError::Twice(device))
    } else if known.len() >= CAPACITY {
        Err(RegisterError::NoMemory)
    } else {
        init().map_err(RegisterError::Init)
    };
    let result = table.register_with(device, asked, init);
    assert_eq!(result.as_ref().map(drop).map_err(|error| *error), expected);
    if let Ok(registration) = result {
        assert_eq!(registration.set().id(), set);
        known.insert(
            number,
            Known {
                set,
                registration: Some(registration),
                tokens: Vec::new(),
                leaving: false,
            },
        );
    }
}

fn open(world: &World, known: &mut BTreeMap<u8, Known>, broken: &[SetId], number: u8, owner: Owner) {
    let Some(set) = known.get(&number).map(|entry| entry.set) else {
        return;
    };
    let holder = known
        .values()
        .filter(|other| other.set == set)
        .find_map(|other| other.tokens.first());
    let holder = holder.map(OpenToken::owner);
    let Some(entry) = known.get_mut(&number) else {
        return;
    };
    let Some(registration) = &entry.registration else {
        return;
    };
    let before = world.opened.get();
    let result = registration.open(owner, world);
    let called = world.opened.get() - before;
    match result {
        Ok(token) => {
            assert!(!entry.leaving && !broken.contains(&set));
            assert!(holder.is_none_or(|holder| holder == owner));
            assert_eq!(
                called,
                u32::from(entry.tokens.is_empty()),
                "only the first open calls back"
            );
            entry.tokens.push(token);
        }
        Err(OpenError::Failed(fault)) => {
            assert_eq!((called, fault), (1, Fault::TimedOut));
            assert!(entry.tokens.is_empty() && world.fails.get());
        }
        Err(OpenError::Broken(..)) => assert!(broken.contains(&set)),
        Err(OpenError::Unregistering(_)) => assert!(entry.leaving),
        Err(OpenError::OwnedByAnother(other)) => assert!(holder == Some(other) && other != owner),
        Err(other) => panic!("{other}"),
    }
}

fn close(world: &World, known: &mut BTreeMap<u8, Known>, broken: &mut Vec<SetId>, number: u8) {
    let Some(entry) = known.get_mut(&number) else {
        return;
    };
    let Some(token) = entry.tokens.pop() else { return };
    let before = world.closed.get();
    let result = token.close(world);
    let called = world.closed.get() - before;
    assert_eq!(
        called,
        u32::from(entry.tokens.is_empty()),
        "only the last close calls back"
    );
    match result {
        Ok(()) => assert!(called == 0 || !world.fails.get()),
        Err(CloseError::Failed(_)) => {
            assert!(called == 1 && world.fails.get());
            broken.push(entry.set);
        }
        Err(CloseError::Busy(..)) => panic!("nothing else runs"),
    }
}

fn unregister(table: &SetTable, known: &mut BTreeMap<u8, Known>, broken: &mut Vec<SetId>, number: u8) {
    let Some(mut entry) = known.remove(&number) else {
        return;
    };
    let Some(registration) = entry.registration.take() else {
        return;
    };
    match table.unregister(registration) {
        Ok(()) => {
            assert!(entry.tokens.is_empty());
            // The set goes with its last member, and a new one with this key knows nothing of it.
            if !known.values().any(|other| other.set == entry.set) {
                broken.retain(|set| *set != entry.set);
            }
        }
        Err(still) => {
            assert_eq!(still.counts.device as usize, entry.tokens.len());
            assert!(!entry.tokens.is_empty());
            entry.registration = Some(still.registration);
            entry.leaving = true;
            known.insert(number, entry);
        }
    }
}

/// The three counts.
fn compare(table: &SetTable, known: &BTreeMap<u8, Known>) {
    let mut sets: BTreeMap<SetId, (usize, u32)> = BTreeMap::new();
    for entry in known.values() {
        let (members, opens) = sets.entry(entry.set).or_default();
        *members += 1;
        *opens += entry.tokens.len() as u32;
    }
    assert_eq!(table.len(), (sets.len(), known.len()));
    for entry in known.values() {
        let (members, opens) = sets[&entry.set];
        assert_eq!(table.member_count(entry.set), members);
        let Some(registration) = &entry.registration else {
            continue;
        };
        let counts = registration.set().counts(registration.device());
        assert_eq!((counts.device as usize, counts.set), (entry.tokens.len(), opens));
    }
}
