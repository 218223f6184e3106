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
use crate::pci::{Bdf, Function, PortKind, ResetMethods, Topology};
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
        Err(OpenFailure::Refused(Refusal::OwnedByAnother { .. })) => false,
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
