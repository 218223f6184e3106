//! Random requests by two guests on random machines, beside a model: who holds which cohort, how often each device is
//! open, what needs a reset, what is out of service, and what cannot be had any more.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::{GUEST, OTHER, Table, cohort_at, domain, table};
use crate::cohort::{CohortId, Refusal};
use crate::lease::{
    CohortState, Domain, Lease, OpenFailure, RemoveError, RepairError, ResetFailure, Resting,
};
use crate::set::Patience;
use crate::testing::machine::{FLR, Part, RootSlot, arbitrary, build};
use crate::testing::platform::Recorder;
use crate::testing::{cases, scaled};
use crate::{DeviceId, Owner};

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Opens the cohort of a device, or all of it but one member, for one of two guests.
    Open { device: usize, whole: bool, other: bool },
    /// Closes a lease.
    Close { lease: usize },
    /// Takes some handles on a device of a lease, and drops them again.
    Handles {
        lease: usize,
        device: usize,
        count: usize,
    },
    /// The owner of a lease starts anew: its cohort rests.
    Rest { lease: usize },
    /// A cohort that rests is given back, or given up.
    Wake { resting: usize, wakes: bool },
    /// Resets a device of a lease, or its whole set.
    Reset {
        lease: usize,
        device: usize,
        whole: bool,
    },
    /// Repairs the cohort of a device.
    Repair { device: usize },
    /// Removes a device.
    Remove { device: usize },
}

/// Each with a step that fails, sometimes.
fn ops() -> impl Strategy<Value = Vec<(Op, Option<usize>)>> {
    let at = || 0..512usize;
    let op = prop_oneof![
        6 => (at(), prop::bool::weighted(0.9), any::<bool>())
            .prop_map(|(device, whole, other)| Op::Open { device, whole, other }),
        4 => at().prop_map(|lease| Op::Close { lease }),
        2 => (at(), at(), 1..4usize).prop_map(|(lease, device, count)| Op::Handles { lease, device, count }),
        2 => (at(), at(), any::<bool>()).prop_map(|(lease, device, whole)| Op::Reset { lease, device, whole }),
        2 => at().prop_map(|lease| Op::Rest { lease }),
        2 => (at(), prop::bool::weighted(0.8)).prop_map(|(resting, wakes)| Op::Wake { resting, wakes }),
        2 => at().prop_map(|device| Op::Repair { device }),
        1 => at().prop_map(|device| Op::Remove { device }),
    ];
    let fail = prop::option::weighted(0.15, 0..12usize);
    prop::collection::vec((op, fail), 1..scaled(40, 10))
}

/// How a cohort stands, by the model.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    by: Option<Owner>,
    last: Option<Owner>,
    rests: bool,
    broken: bool,
}

struct World<'t> {
    table: &'t Table,
    domains: &'t [Domain<'t, Recorder>; 2],
    leases: Vec<Lease<'t, Recorder>>,
    resting: Vec<Resting<'t, Recorder>>,
    cohorts: BTreeMap<CohortId, Held>,
    /// Devices that are gone, and those that are to go when they are closed.
    removed: BTreeSet<DeviceId>,
    leaving: BTreeSet<DeviceId>,
    /// A step failed in this operation.
    failed: bool,
}

impl<'t> World<'t> {
    fn present(&self, cohort: CohortId) -> Vec<DeviceId> {
        let members = self.table.cohorts().get(cohort).unwrap().members();
        let here = |device: &&DeviceId| !self.removed.contains(device);
        members.iter().filter(here).copied().collect()
    }

    /// Whether no reset reaches one of those that are there.
    fn bare(&self, cohort: CohortId) -> bool {
        let resets = self.table.cohorts().get(cohort).unwrap().resets();
        let covered = |device: &DeviceId| resets.iter().any(|action| action.devices().contains(device));
        !self.present(cohort).iter().all(covered)
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Open { device, whole, other } => self.open(device, whole, other),
            Op::Close { lease } if !self.leases.is_empty() => self.close(lease),
            Op::Handles { lease, device, count } if !self.leases.is_empty() => {
                self.handles(lease, device, count)
            }
            Op::Reset { lease, device, whole } if !self.leases.is_empty() => self.reset(lease, device, whole),
            Op::Rest { lease } if !self.leases.is_empty() => self.rest(lease),
            Op::Wake { resting, wakes } if !self.resting.is_empty() => self.wake(resting, wakes),
            Op::Repair { device } => self.repair(device),
            Op::Remove { device } => self.remove(device),
            Op::Close { .. } | Op::Handles { .. } | Op::Reset { .. } | Op::Rest { .. } | Op::Wake { .. } => {}
        }
    }

    fn open(&mut self, device: usize, whole: bool, other: bool) {
        let (owner, domain) = if other {
            (OTHER, &self.domains[1])
        } else {
            (GUEST, &self.domains[0])
        };
        let cohort = self
            .table
            .cohorts()
            .cohort_of(cohort_at(self.table, device)[0])
            .unwrap()
            .id();
        let mut devices: Vec<DeviceId> = self.present(cohort);
        devices.retain(|device| !self.leaving.contains(device));
        if devices.is_empty() {
            return;
        }
        let half = !whole && devices.len() > 1;
        if half {
            devices.remove(0);
        }
        let bare = self.table.cohorts().get(cohort).unwrap().unresettable().is_some();
        let held = *self.cohorts.entry(cohort).or_default();
        let result = self.table.plan_open(owner, &devices, false);
        if half {
            assert!(matches!(result, Err(Refusal::HalfCohort { .. })));
        } else if held.broken {
            assert!(matches!(result, Err(Refusal::Broken { .. })));
        } else if held.by == Some(owner) {
            assert!(matches!(result, Err(Refusal::NotQuarantined { .. })));
        } else if let Some(holder) = held.by {
            assert!(matches!(result, Err(Refusal::OwnedByAnother { owner, .. }) if owner == holder));
        } else if held.last.is_some_and(|last| last != owner) && bare {
            assert!(matches!(result, Err(Refusal::NoReset { .. })));
        } else {
            let result = self.table.open(&result.unwrap(), domain);
            self.dismiss(cohort);
            self.failed = self.table.platform().take_trace().iter().any(|(_, ok)| !ok);
            match result {
                Ok(mut opened) => {
                    assert!(!self.failed);
                    assert_eq!(opened[0].devices(), self.present(cohort));
                    self.leases.append(&mut opened);
                    self.cohorts.insert(
                        cohort,
                        Held {
                            by: Some(owner),
                            last: Some(owner),
                            ..Held::default()
                        },
                    );
                }
                Err(OpenFailure::Failed(_)) => assert!(self.failed),
                Err(other) => panic!("one failing step is undone: {other}"),
            }
        }
    }

    /// Those that were to go are gone.
    fn dismiss(&mut self, cohort: CohortId) {
        for device in self.present(cohort) {
            if self.leaving.remove(&device) {
                self.removed.insert(device);
            }
        }
    }

    fn close(&mut self, lease: usize) {
        let lease = self.leases.swap_remove(lease % self.leases.len());
        let (cohort, owner) = (lease.cohort(), lease.owner());
        let result = lease.close();
        self.failed = self.table.platform().take_trace().iter().any(|(_, ok)| !ok);
        assert_eq!(result.is_err(), self.failed);
        let bare = self.bare(cohort);
        let held = self.cohorts.get_mut(&cohort).unwrap();
        assert_eq!(held.by.take(), Some(owner));
        held.broken = self.failed;
        held.last = held.last.filter(|_| bare || self.failed);
    }

    fn rest(&mut self, lease: usize) {
        let lease = self.leases.swap_remove(lease % self.leases.len());
        let (cohort, owner) = (lease.cohort(), lease.owner());
        let result = lease.rest();
        self.failed = self.table.platform().take_trace().iter().any(|(_, ok)| !ok);
        let held = self.cohorts.get_mut(&cohort).unwrap();
        match result {
            Ok(resting) => {
                assert!(!self.failed);
                assert_eq!((resting.owner(), held.by), (owner, Some(owner)));
                held.rests = true;
                self.resting.push(resting);
            }
            Err(_) => {
                assert!(self.failed);
                held.by = None;
                held.broken = true;
            }
        }
    }

    fn wake(&mut self, resting: usize, wakes: bool) {
        let resting = self.resting.swap_remove(resting % self.resting.len());
        let (cohort, owner) = (resting.cohort(), resting.owner());
        let leaves = resting
            .devices()
            .iter()
            .any(|device| self.leaving.contains(device));
        let bare = self.bare(cohort);
        assert_eq!(resting.not_reset().is_some(), bare);
        let woken = wakes.then(|| resting.wake());
        self.failed = self.table.platform().take_trace().iter().any(|(_, ok)| !ok);
        let held = self.cohorts.get_mut(&cohort).unwrap();
        held.rests = false;
        match woken {
            Some(Ok(lease)) => {
                assert!(!self.failed && !leaves);
                assert_eq!(lease.owner(), owner);
                self.leases.push(lease);
                return;
            }
            Some(Err(OpenFailure::Failed(_))) => assert!(self.failed),
            Some(Err(OpenFailure::Refused(Refusal::Removed(_)))) => assert!(leaves && !self.failed),
            Some(Err(other)) => panic!("one failing step is undone: {other}"),
            None => assert!(!self.failed, "giving up touches nothing"),
        }
        held.by = None;
        held.last = held.last.filter(|_| bare);
    }

    fn handles(&mut self, lease: usize, device: usize, count: usize) {
        let lease = &self.leases[lease % self.leases.len()];
        let device = lease.devices()[device % lease.devices().len()];
        let members = self
            .table
            .sets()
            .set(self.table.cohorts().device(device).unwrap().set)
            .unwrap();
        let before = members.counts(device);
        let handles: Vec<_> = (0..count).map(|_| lease.handle(device, Patience::NONE)).collect();
        let opened = handles.iter().filter(|handle| handle.is_ok()).count();
        assert_eq!(opened, if self.leaving.contains(&device) { 0 } else { count });
        assert_eq!(members.counts(device).device, before.device + opened as u32);
        assert_eq!(members.counts(device).set, before.set + opened as u32);
        drop(handles);
        assert_eq!(members.counts(device), before);
        assert!(
            self.table.platform().take_trace().is_empty(),
            "only the lease's own open calls back"
        );
    }

    fn reset(&mut self, lease: usize, device: usize, whole: bool) {
        let lease = &self.leases[lease % self.leases.len()];
        let device = lease.devices()[device % lease.devices().len()];
        let known = self.table.cohorts().device(device).unwrap();
        let result = if whole {
            match self.table.plan_hot_reset(lease.owner(), device) {
                Ok(plan) => lease.hot_reset(&plan, Patience::NONE),
                Err(refusal) => Err(refusal.into()),
            }
        } else {
            lease.reset_device(device, Patience::NONE)
        };
        let trace = self.table.platform().take_trace();
        self.failed = trace.iter().any(|(_, ok)| !ok);
        match result {
            Ok(()) => assert!(!self.failed && !trace.is_empty()),
            Err(ResetFailure::Failed(_)) => assert!(self.failed),
            Err(ResetFailure::NoMethod(of)) => assert!(of == device && known.reset.is_none()),
            Err(ResetFailure::Refused(_)) => assert!(whole && trace.is_empty(), "refused, and yet touched"),
            Err(other) => panic!("{other}"),
        }
    }

    fn repair(&mut self, device: usize) {
        let cohort = self
            .table
            .cohorts()
            .cohort_of(cohort_at(self.table, device)[0])
            .unwrap()
            .id();
        let bare = self.bare(cohort);
        let held = self.cohorts.entry(cohort).or_default();
        let result = self.table.repair(cohort);
        self.failed = self.table.platform().take_trace().iter().any(|(_, ok)| !ok);
        match result {
            Ok(()) => {
                assert!(held.broken && !self.failed);
                held.broken = false;
                held.last = held.last.filter(|_| bare);
            }
            Err(RepairError::Failed(_)) => assert!(held.broken && self.failed),
            Err(RepairError::NotBroken(_)) => assert!(!held.broken),
            Err(RepairError::NotFound) => panic!("it is there"),
        }
    }

    fn remove(&mut self, device: usize) {
        let devices = self.table.cohorts().devices();
        let (device, cohort) = {
            let device = &devices[device % devices.len()];
            (device.id, device.cohort)
        };
        let held = self.cohorts.get(&cohort).copied().unwrap_or_default();
        match self.table.remove(device) {
            Ok(()) => {
                assert!(held.by.is_none());
                self.leaving.remove(&device);
                self.removed.insert(device);
                self.dismiss(cohort);
                if !self.bare(cohort) && !held.broken {
                    self.cohorts.entry(cohort).or_default().last = None;
                }
            }
            Err(RemoveError::NotFound(_)) => panic!("it was there"),
            Err(RemoveError::InUse { .. }) => {
                assert!(held.by.is_some());
                self.leaving.insert(device);
            }
        }
        assert!(
            self.table.platform().take_trace().is_empty(),
            "nothing is done to hardware"
        );
    }

    /// The hardware and the table are as the model says.
    fn compare(&self) {
        let view = self.table.platform().view();
        for cohort in self.table.cohorts().iter() {
            let held = self.cohorts.get(&cohort.id()).copied().unwrap_or_default();
            let state = self.table.state(cohort.id()).unwrap();
            let present = self.present(cohort.id());
            for device in cohort.members() {
                let set = self
                    .table
                    .sets()
                    .set(self.table.cohorts().device(*device).unwrap().set);
                let counted = set.as_ref().map_or(0, |set| set.counts(*device).device);
                let open = held.by.is_some() && !held.rests && present.contains(device);
                assert_eq!(
                    counted,
                    u32::from(open),
                    "{device} is open by the lease or not at all"
                );
                let member = set.is_some_and(|set| set.members().contains(device));
                assert_eq!(member, present.contains(device));
            }
            match held.by {
                _ if held.broken => assert!(matches!(state, CohortState::Broken(_))),
                Some(owner) if !held.rests => {
                    assert_eq!(state, CohortState::Open(owner));
                    let number = self.domains[usize::from(owner == OTHER)].id();
                    for device in &present {
                        let known = self.table.cohorts().device(*device).unwrap();
                        assert!(known.requesters.iter().all(|r| view.attached[r] == number));
                        assert_eq!((view.opened[device], view.interrupts[device]), (owner, owner));
                    }
                }
                by => {
                    let resting = by.map(CohortState::Resting);
                    assert_eq!(state, resting.unwrap_or(CohortState::Quarantined));
                    assert!(!cohort.requesters().iter().any(|r| view.attached.contains_key(r)));
                    for device in &present {
                        let used = view.opened.contains_key(device) || view.interrupts.contains_key(device);
                        assert!(!used && !view.live.contains(device), "{device} is in quarantine");
                    }
                }
            }
        }
    }
}

fn run(table: &Table, ops: Vec<(Op, Option<usize>)>) {
    let domains = [domain(table, GUEST), domain(table, OTHER)];
    let mut world = World {
        table,
        domains: &domains,
        leases: Vec::new(),
        resting: Vec::new(),
        cohorts: BTreeMap::new(),
        removed: BTreeSet::new(),
        leaving: BTreeSet::new(),
        failed: false,
    };
    for (op, fail) in ops {
        table.platform().take_trace();
        table.platform().fail_at(fail);
        world.step(op);
        table.platform().fail_at([]);
        if world.failed {
            // A close callback that failed leaves the recording's books open; the hypervisor's repair would see to it.
            table.platform().settle();
        }
        world.failed = false;
        world.compare();
    }
}

/// A machine of up to 256 functions: random parts, and a field of equal devices behind ports.
fn up_to_256() -> impl Strategy<Value = Vec<crate::pci::Function>> {
    let ports = 1..scaled(14usize, 3);
    let field = (ports, 1..8usize, any::<bool>()).prop_map(|(ports, functions, acs)| {
        let device = || Part::Device((0..functions).map(|_| (acs, FLR)).collect());
        let slots: Vec<RootSlot> = (0..ports)
            .map(|slot| RootSlot::Ports((0..2).map(|_| (acs || slot % 2 == 0, device())).collect()))
            .collect();
        build(&slots)
    });
    prop_oneof![arbitrary(), field]
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn p9_what_is_granted_is_what_the_model_grants(functions in up_to_256(), ops in ops()) {
        prop_assert!(functions.len() <= 256 + 28);
        run(&table(functions), ops);
    }
}
