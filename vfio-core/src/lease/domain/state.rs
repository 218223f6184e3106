//! What a domain's lock protects, and the turns that its changes take.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Shared;
use super::software::Listener;
use crate::domain::{IovaRange, Limits, Mappings, Pins, ReservedRegion, UnitId, UnitLimits};
use crate::id::Requester;
use crate::mediated::MediatedId;
use crate::sync::{Guard, relax};

/// How often one looks whether it is one's turn. A change waits for hardware, whose drivers bound every wait.
#[cfg(not(any(loom, test)))]
const LOOKS: u32 = 1 << 20;
/// A look yields the processor then.
#[cfg(all(test, not(loom)))]
const LOOKS: u32 = 1 << 14;
#[cfg(loom)]
const LOOKS: u32 = 3;

/// A requester that a domain was made ready for.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) requester: Requester,
    pub(super) unit: UnitId,
    pub(super) limits: UnitLimits,
    pub(super) reserved: Vec<ReservedRegion>,
    /// From before it is attached until its quarantine is `Ok`: it may reach what its unit maps.
    pub(super) attached: bool,
    /// Its quarantine failed, and has not worked since.
    pub(super) stuck: bool,
}

/// A unit that a domain's requesters are behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub(super) id: UnitId,
    /// All mappings were made in it; `false` while they are being made, and if that failed.
    pub(super) whole: bool,
}

pub(super) struct State {
    pub(super) mappings: Mappings,
    /// Of all members together.
    pub(super) limits: Limits,
    pub(super) members: Vec<Member>,
    /// Those with an attached member, in order: every change of the mappings is made in each of them.
    pub(super) units: Vec<Unit>,
    pub(super) pins: Pins,
    pub(super) listeners: BTreeMap<MediatedId, Listener>,
    /// What is being unmapped: nothing in it is pinned.
    pub(super) unmapping: Option<IovaRange>,
    busy: bool,
}

impl State {
    pub(super) fn new(mappings: Mappings, pinned_pages: usize) -> Self {
        Self {
            mappings,
            limits: Limits::default(),
            members: Vec::new(),
            units: Vec::new(),
            pins: Pins::new(pinned_pages),
            listeners: BTreeMap::new(),
            unmapping: None,
            busy: false,
        }
    }

    /// The first unit behind `unit` that has an attached member.
    pub(super) fn unit_after(&self, unit: Option<UnitId>) -> Option<UnitId> {
        self.units
            .iter()
            .map(|other| other.id)
            .find(|other| Some(*other) > unit)
    }

    pub(super) fn set_attached(&mut self, requester: Requester, attached: bool) {
        for member in self
            .members
            .iter_mut()
            .filter(|member| member.requester == requester)
        {
            member.attached = attached;
        }
        let in_use = |unit: UnitId| {
            self.members
                .iter()
                .any(|member| member.attached && member.unit == unit)
        };
        self.units.retain(|unit| in_use(unit.id));
        for member in self.members.iter().filter(|member| member.attached) {
            if !self.units.iter().any(|unit| unit.id == member.unit) {
                let (id, whole) = (member.unit, false);
                self.units.push(Unit { id, whole });
            }
        }
        self.units.sort_unstable_by_key(|unit| unit.id);
    }

    /// Whether a requester that could not be put into quarantine may still be in it: it must not be destroyed then.
    pub(super) fn is_pinned(&self) -> bool {
        self.members.iter().any(|member| member.stuck)
    }

    /// Notes what came of a requester's quarantine.
    pub(super) fn note_quarantine(&mut self, requester: Requester, denied: bool) {
        for member in &mut self.members {
            if member.requester == requester {
                member.stuck = !denied;
            }
        }
        if denied {
            self.set_attached(requester, false);
        }
    }

    pub(super) fn set_whole(&mut self, id: UnitId) {
        for unit in self.units.iter_mut().filter(|unit| unit.id == id) {
            unit.whole = true;
        }
    }

    /// The limits of the members that there are.
    pub(super) fn set_limits(&mut self) {
        let mut limits = Limits::default();
        for member in &self.members {
            member.add_to(&mut limits);
        }
        self.limits = limits;
    }
}

impl Member {
    pub(super) fn add_to(&self, limits: &mut Limits) {
        limits.add_unit(&self.limits);
        for region in &self.reserved {
            limits.add_reserved(self.requester, *region);
        }
    }
}

/// The right to change a domain: while somebody has it, nobody else changes mappings or members. It is no lock: the
/// domain can be looked at, and software can read, write and unpin.
pub(super) struct Turn<'a>(&'a Shared);

impl<'a> Turn<'a> {
    /// Waits for one's turn; `None` if it does not come in time.
    pub(super) fn take(shared: &'a Shared) -> Option<Self> {
        for _ in 0..LOOKS {
            let mut state = shared.state.lock();
            if !state.busy {
                state.busy = true;
                return Some(Self(shared));
            }
            drop(state);
            relax();
        }
        None
    }

    pub(super) fn state(&self) -> Guard<'a, State> {
        self.0.state.lock()
    }

    pub(super) const fn shared(&self) -> &'a Shared {
        self.0
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.busy = false;
        state.unmapping = None;
    }
}
