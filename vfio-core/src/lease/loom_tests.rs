//! Two owners want one cohort: under every interleaving that loom finds, they have it one after the other.

#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use std::vec::Vec;

use crate::cohort::{Cohorts, Refusal, ResetAction};
use crate::lease::{
    CohortState, CohortTable, DeviceOps, DmaDomains, Interrupts, OpenFailure, Quiesce, Reset,
};
use crate::pci::{Bdf, BusRange, Function, PortKind, ResetMethods, Topology};
use crate::set::Patience;
use crate::{DeviceId, DomainId, Fault, Mapping, Owner, Requester};

/// Does nothing, but knows how many owners have the device open.
struct Platform(AtomicU32);

#[expect(unsafe_code, reason = "nothing here has memory to protect")]
// SAFETY: nothing here can reach memory.
unsafe impl DmaDomains for Platform {
    fn create_domain(&self, _: Owner) -> Result<DomainId, Fault> {
        Ok(DomainId(0))
    }

    fn destroy_domain(&self, _: DomainId) -> Result<(), Fault> {
        Ok(())
    }

    fn map(&self, _: DomainId, _: Mapping) -> Result<(), Fault> {
        Ok(())
    }

    fn attach(&self, _: DomainId, _: Requester) -> Result<(), Fault> {
        Ok(())
    }

    fn quarantine(&self, _: Requester) -> Result<(), Fault> {
        Ok(())
    }
}

impl Quiesce for Platform {
    fn quiesce(&self, _: DeviceId) -> Result<(), Fault> {
        Ok(())
    }
}

impl Reset for Platform {
    fn reset(&self, _: &ResetAction) -> Result<(), Fault> {
        Ok(())
    }

    fn check_alive(&self, _: DeviceId) -> Result<(), Fault> {
        Ok(())
    }
}

impl Interrupts for Platform {
    fn interrupts_isolated(&self) -> bool {
        true
    }

    fn enable_interrupts(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        Ok(())
    }

    fn release_interrupts(&self, _: DeviceId) -> Result<(), Fault> {
        Ok(())
    }
}

impl DeviceOps for Platform {
    fn open_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        assert_eq!(
            self.0.fetch_add(1, Ordering::SeqCst),
            0,
            "two owners have one cohort"
        );
        Ok(())
    }

    fn close_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        self.0.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

fn open_and_close(table: &CohortTable<Platform>, owner: Owner, device: DeviceId) -> bool {
    let domain = table.domain(owner, Vec::new()).unwrap();
    let Ok(plan) = table.plan_open(owner, &[device], false) else {
        return false;
    };
    match table.open(&plan, &domain) {
        Ok(leases) => {
            assert_eq!(table.state(leases[0].cohort()), Some(CohortState::Open(owner)));
            true
        }
        Err(OpenFailure::Refused(
            Refusal::OwnedByAnother { .. }
            | Refusal::VirtualFunctionHeld { .. }
            | Refusal::PhysicalFunctionHeld { .. },
        )) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn loom_two_owners_want_one_cohort() {
    loom::model(|| {
        let bdf = Bdf::new(0, 0, 3, 0);
        let resets = ResetMethods::FLR;
        let function = Function {
            resets,
            ..Function::new(bdf, PortKind::RootComplexEndpoint)
        };
        let cohorts = Cohorts::new(&Topology::new(Vec::from([function])).unwrap());
        let table = Arc::new(CohortTable::new(cohorts, Platform(AtomicU32::new(0))).unwrap());
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || open_and_close(&table, Owner::Guest(2), bdf.into()))
        };
        let mine = open_and_close(&table, Owner::Guest(1), bdf.into());
        let theirs = other.join().unwrap();
        assert!(mine || theirs, "somebody must win");
        let cohort = table.cohorts().cohort_of(bdf.into()).unwrap().id();
        assert_eq!(table.state(cohort), Some(CohortState::Quarantined));
    });
}

/// One owner wants a physical function, another its virtual function: never both at once. (Both may be refused.)
#[test]
fn loom_a_physical_function_and_its_virtual_function() {
    loom::model(|| {
        let port = Bdf::new(0, 0, 1, 0);
        let (physical, virtual_function) = (Bdf::new(0, 1, 0, 0), Bdf::new(0, 1, 0, 1));
        let below = |bdf| Function {
            parent: Some(port),
            resets: ResetMethods::FLR,
            ..Function::new(bdf, PortKind::Endpoint)
        };
        let functions = Vec::from([
            Function {
                buses: Some(BusRange {
                    secondary: 1,
                    subordinate: 1,
                }),
                acs: Some(crate::pci::AcsCapability::enabled(crate::pci::Acs::PORT)),
                ..Function::new(port, PortKind::RootPort)
            },
            below(physical),
            Function {
                physical_function: Some(physical),
                ..below(virtual_function)
            },
        ]);
        let cohorts = Cohorts::new(&Topology::new(functions).unwrap());
        assert_eq!(cohorts.iter().count(), 2);
        // The platform holds that nobody else has anything open while it opens.
        let table = Arc::new(CohortTable::new(cohorts, Platform(AtomicU32::new(0))).unwrap());
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || open_and_close(&table, Owner::Guest(2), virtual_function.into()))
        };
        open_and_close(&table, Owner::Guest(1), physical.into());
        other.join().unwrap();
        for device in [physical, virtual_function] {
            let cohort = table.cohorts().cohort_of(device.into()).unwrap().id();
            assert_eq!(table.state(cohort), Some(CohortState::Quarantined));
        }
    });
}

/// A reset that the owner asks for, and somebody who removes the device: in the end it is closed and gone.
#[test]
fn loom_reset_and_remove() {
    loom::model(|| {
        let bdf = Bdf::new(0, 0, 3, 0);
        let resets = ResetMethods::FLR;
        let function = Function {
            resets,
            ..Function::new(bdf, PortKind::RootComplexEndpoint)
        };
        let cohorts = Cohorts::new(&Topology::new(Vec::from([function])).unwrap());
        let table = Arc::new(CohortTable::new(cohorts, Platform(AtomicU32::new(0))).unwrap());
        let owner = Owner::Guest(1);
        let remover = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.remove(bdf.into()).is_ok())
        };
        {
            let domain = table.domain(owner, Vec::new()).unwrap();
            let leases = table
                .plan_open(owner, &[bdf.into()], false)
                .map(|plan| table.open(&plan, &domain));
            if let Ok(Ok(leases)) = leases {
                leases[0].reset_device(bdf.into(), Patience::NONE).unwrap();
            }
        }
        let gone = remover.join().unwrap();
        assert!(gone || table.remove(bdf.into()).is_ok());
        assert!(table.sets().is_empty());
    });
}
