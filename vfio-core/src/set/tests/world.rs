//! A table driven by random operations, beside a model of it that is too simple to be wrong.

use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use crate::lease::DeviceOps;
use crate::pci::Bdf;
use crate::set::{CloseError, Counts, OpenError, OpenToken, RegisterError, Registration, SetPhase, SetTable};
use crate::testing::scaled;
use crate::{DeviceId, Fault, Owner, SetId};

pub(super) const DEVICES: u8 = 6;
pub(super) const CAPACITY: usize = 5;

pub(super) fn device(number: u8) -> DeviceId {
    Bdf::from_devfn(0, 1, number).into()
}

pub(super) fn set(number: u8) -> SetId {
    SetId::PciBus {
        segment: 0,
        bus: number,
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Register {
        device: u8,
        set: Option<u8>,
        init_fails: bool,
    },
    Unregister {
        device: u8,
    },
    Open {
        device: u8,
        owner: u32,
        fails: bool,
    },
    Close {
        device: u8,
        fails: bool,
    },
}

pub(super) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let set = prop::option::weighted(0.8, 0..3u8);
    let op = prop_oneof![
        3 => (0..DEVICES, set, prop::bool::weighted(0.1))
            .prop_map(|(device, set, init_fails)| Op::Register { device, set, init_fails }),
        1 => (0..DEVICES).prop_map(|device| Op::Unregister { device }),
        5 => (0..DEVICES, 0..5u32, prop::bool::weighted(0.2))
            .prop_map(|(device, owner, fails)| Op::Open { device, owner: owner / 4, fails }),
        4 => (0..DEVICES, prop::bool::weighted(0.03)).prop_map(|(device, fails)| Op::Close { device, fails }),
    ];
    prop::collection::vec(op, 1..scaled(60, 16))
}

/// What a callback met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    OpenOk(DeviceId),
    OpenFailed(DeviceId),
    /// The counts at the time, and how many other members of the set were open by the model.
    Close(DeviceId, Counts, u32),
}

#[derive(Clone, Default)]
pub(super) struct Model {
    /// Per device its set, its opens, and whether it is being unregistered.
    pub(super) devices: BTreeMap<u8, (SetId, u32, bool)>,
    /// Per set who has it open.
    pub(super) owners: BTreeMap<SetId, u32>,
    pub(super) broken: BTreeSet<SetId>,
}

impl Model {
    pub(super) fn opens(&self, device: u8) -> u32 {
        self.devices.get(&device).map_or(0, |(_, opens, _)| *opens)
    }

    pub(super) fn set_opens(&self, set: SetId) -> u32 {
        self.devices
            .values()
            .filter(|(of, ..)| *of == set)
            .map(|(_, opens, _)| opens)
            .sum()
    }

    fn members(&self, set: SetId) -> Vec<DeviceId> {
        self.devices
            .iter()
            .filter(|(_, (of, ..))| *of == set)
            .map(|(number, _)| device(*number))
            .collect()
    }
}

#[derive(Default)]
pub(super) struct World {
    pub(super) table: SetTable,
    pub(super) registrations: BTreeMap<u8, Registration>,
    pub(super) tokens: BTreeMap<u8, Vec<OpenToken>>,
    pub(super) model: Model,
    pub(super) trace: RefCell<Vec<Event>>,
    /// The generation of each set that was ever seen.
    pub(super) generations: BTreeMap<u64, SetId>,
    fails: Cell<bool>,
}

impl DeviceOps for World {
    fn open_device(&self, device: DeviceId, _: Owner) -> Result<(), Fault> {
        let fails = self.fails.get();
        self.trace.borrow_mut().push(if fails {
            Event::OpenFailed(device)
        } else {
            Event::OpenOk(device)
        });
        if fails { Err(Fault::Rejected) } else { Ok(()) }
    }

    fn close_device(&self, id: DeviceId, _: Owner) -> Result<(), Fault> {
        let number = (0..DEVICES).find(|number| device(*number) == id).unwrap();
        let of = self.model.devices[&number].0;
        let counts = self.table.set(of).unwrap().counts(id);
        let others = self.model.set_opens(of) - self.model.opens(number);
        self.trace.borrow_mut().push(Event::Close(id, counts, others));
        if self.fails.get() {
            Err(Fault::Rejected)
        } else {
            Ok(())
        }
    }
}

impl World {
    pub(super) fn run(ops: &[Op]) -> Self {
        let mut world = Self {
            table: SetTable::with_capacity(CAPACITY),
            ..Self::default()
        };
        for op in ops {
            world.step(*op);
            world.compare();
        }
        world
    }

    pub(super) fn step(&mut self, op: Op) {
        match op {
            Op::Register {
                device,
                set,
                init_fails,
            } => self.register(device, set, init_fails),
            Op::Unregister { device } => self.unregister(device),
            Op::Open { device, owner, fails } => self.open(device, owner, fails),
            Op::Close { device, fails } => self.close(device, fails),
        }
    }

    fn register(&mut self, number: u8, in_set: Option<u8>, init_fails: bool) {
        let init = || if init_fails { Err(Fault::Gone) } else { Ok(()) };
        let result = self.table.register_with(device(number), in_set.map(set), init);
        let id = in_set.map_or(SetId::Own(device(number)), set);
        let expected = if self.model.devices.contains_key(&number) {
            Err(RegisterError::Twice(device(number)))
        } else if self.model.devices.len() >= CAPACITY {
            Err(RegisterError::NoMemory)
        } else if init_fails {
            Err(RegisterError::Init(Fault::Gone))
        } else {
            self.model.devices.insert(number, (id, 0, false));
            Ok(id)
        };
        assert_eq!(
            result
                .as_ref()
                .map(|registration| registration.set().id())
                .map_err(|e| *e),
            expected
        );
        if let Ok(registration) = result {
            let generation = registration.set().generation();
            assert_eq!(
                *self.generations.entry(generation).or_insert(id),
                id,
                "a set with another's identity"
            );
            self.registrations.insert(number, registration);
        }
    }

    fn unregister(&mut self, number: u8) {
        let Some(registration) = self.registrations.remove(&number) else {
            return;
        };
        let of = registration.set().id();
        let result = self.table.unregister(registration);
        if self.model.opens(number) > 0 {
            self.model.devices.get_mut(&number).unwrap().2 = true;
            let still = result.unwrap_err();
            assert_eq!(still.counts.device, self.model.opens(number));
            self.registrations.insert(number, still.registration);
        } else {
            assert!(result.is_ok());
            self.model.devices.remove(&number);
            if self.model.members(of).is_empty() {
                // A set of the same name starts anew.
                self.model.broken.remove(&of);
                self.model.owners.remove(&of);
            }
        }
    }

    fn open(&mut self, number: u8, owner: u32, fails: bool) {
        let Some(registration) = self.registrations.get(&number) else {
            return;
        };
        let (of, opens, unregistering) = self.model.devices[&number];
        self.fails.set(fails);
        let result = registration.open(Owner::Guest(owner), self);
        let holder = self.model.owners.get(&of).copied().unwrap_or(owner);
        if self.model.broken.contains(&of) {
            assert!(matches!(result, Err(OpenError::Broken(..))));
        } else if holder != owner {
            assert!(matches!(result, Err(OpenError::OwnedByAnother(o)) if o == Owner::Guest(holder)));
        } else if unregistering {
            assert!(matches!(result, Err(OpenError::Unregistering(_))));
        } else if opens == 0 && fails {
            assert!(matches!(result, Err(OpenError::Failed(Fault::Rejected))));
        } else {
            self.tokens.entry(number).or_default().push(result.unwrap());
            self.model.devices.get_mut(&number).unwrap().1 += 1;
            self.model.owners.insert(of, owner);
        }
    }

    fn close(&mut self, number: u8, fails: bool) {
        let Some(token) = self.tokens.get_mut(&number).and_then(Vec::pop) else {
            return;
        };
        let (of, opens, _) = self.model.devices[&number];
        self.fails.set(fails);
        let result = token.close(self);
        self.model.devices.get_mut(&number).unwrap().1 -= 1;
        if opens == 1 && fails {
            assert!(matches!(result, Err(CloseError::Failed(Fault::Rejected))));
            self.model.broken.insert(of);
        } else {
            assert!(result.is_ok());
        }
        if self.model.set_opens(of) == 0 {
            self.model.owners.remove(&of);
        }
    }

    /// Everything that can be seen of the table is as the model says.
    pub(super) fn compare(&self) {
        let sets: BTreeSet<SetId> = self.model.devices.values().map(|(of, ..)| *of).collect();
        assert_eq!(self.table.len(), (sets.len(), self.model.devices.len()));
        for id in (0..3)
            .map(set)
            .chain((0..DEVICES).map(|number| SetId::Own(device(number))))
        {
            let members = self.model.members(id);
            assert_eq!(self.table.member_count(id), members.len());
            let Some(found) = self.table.set(id) else {
                assert!(members.is_empty());
                continue;
            };
            assert_eq!(found.members(), members);
            for number in 0..DEVICES {
                if self.model.devices.get(&number).is_some_and(|(of, ..)| *of == id) {
                    let expected = Counts {
                        device: self.model.opens(number),
                        set: self.model.set_opens(id),
                    };
                    assert_eq!(found.counts(device(number)), expected);
                }
            }
            match found.phase() {
                SetPhase::Idle => assert!(self.model.set_opens(id) == 0 && !self.model.broken.contains(&id)),
                SetPhase::Open(owner) => assert_eq!(owner, Owner::Guest(self.model.owners[&id])),
                SetPhase::Broken(..) => assert!(self.model.broken.contains(&id)),
                busy => panic!("{busy:?} while nobody works"),
            }
        }
    }

    pub(super) fn events_of(&self, device: DeviceId) -> Vec<Event> {
        let of = |event: &Event| match event {
            Event::OpenOk(d) | Event::OpenFailed(d) | Event::Close(d, ..) => *d,
        };
        self.trace
            .borrow()
            .iter()
            .copied()
            .filter(|event| of(event) == device)
            .collect()
    }
}
