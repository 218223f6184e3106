//! Two owners want one cohort: under every interleaving that loom finds, they have it one after the other.

#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use std::vec::Vec;

use crate::addr::{HostPhys, Iova};
use crate::cohort::{Cohorts, Refusal, ResetAction};
use crate::domain::{IovaRange, MapError, ReservedRegion, UnitId, UnitLimits};
use crate::lease::{
    CohortState, CohortTable, DeviceOps, DmaDomains, Domain, Interrupts, MapFailure, OpenFailure, Quiesce,
    Reset, UnmapFailure,
};
use crate::pci::{Bdf, Function, PortKind, ResetMethods, Topology};
use crate::{Access, DeviceId, DomainId, Fault, Mapping, Owner, Requester};

/// Does nothing, but knows how many owners have the device open, and how many CPUs change mappings.
#[derive(Default)]
struct Platform {
    opens: AtomicU32,
    changes: AtomicU32,
}

impl Platform {
    fn change(&self) -> Result<(), Fault> {
        let before = self.changes.fetch_add(1, Ordering::SeqCst);
        assert_eq!(before, 0, "two changes at a time in one domain");
        thread::yield_now();
        self.changes.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

#[expect(unsafe_code, reason = "nothing here has memory to protect")]
// SAFETY: nothing here can reach memory.
unsafe impl DmaDomains for Platform {
    fn unit_of(&self, _: Requester) -> Result<UnitId, Fault> {
        Ok(UnitId(0))
    }

    fn limits(&self, _: UnitId) -> Result<UnitLimits, Fault> {
        Ok(UnitLimits::any())
    }

    fn reserved(&self, _: Requester) -> Result<Vec<ReservedRegion>, Fault> {
        Ok(Vec::new())
    }

    fn create_domain(&self, _: Owner) -> Result<DomainId, Fault> {
        Ok(DomainId(0))
    }

    fn destroy_domain(&self, _: DomainId) -> Result<(), Fault> {
        Ok(())
    }

    fn map(&self, _: UnitId, _: DomainId, _: Mapping) -> Result<(), Fault> {
        self.change()
    }

    fn unmap(&self, _: UnitId, _: DomainId, _: IovaRange) -> Result<(), Fault> {
        self.change()
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
            self.opens.fetch_add(1, Ordering::SeqCst),
            0,
            "two owners have one cohort"
        );
        Ok(())
    }

    fn close_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        self.opens.fetch_sub(1, Ordering::SeqCst);
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

fn one_device() -> (CohortTable<Platform>, DeviceId) {
    let bdf = Bdf::new(0, 0, 3, 0);
    let resets = ResetMethods::FLR;
    let function = Function {
        resets,
        ..Function::new(bdf, PortKind::RootComplexEndpoint)
    };
    let cohorts = Cohorts::new(&Topology::new(Vec::from([function])).unwrap());
    (
        CohortTable::new(cohorts, Platform::default()).unwrap(),
        bdf.into(),
    )
}

/// Two CPUs map the same place and unmap it: at most one has it at a time, and in the end nobody has.
#[test]
fn loom_two_cpus_change_one_domain() {
    fn change<'t>(domain: &Domain<'t, Platform>) -> bool {
        let mapping = Mapping {
            iova: Iova(0x1000),
            host: HostPhys(0x1000),
            size: 0x1000,
            access: Access::READ,
        };
        match domain.map(mapping) {
            Ok(()) => {}
            Err(MapFailure::Busy | MapFailure::Refused(MapError::Overlap { .. })) => return false,
            Err(other) => panic!("{other}"),
        }
        assert_eq!(
            domain.find(Iova(0x1000)),
            Some(mapping),
            "nobody else may unmap it"
        );
        match domain.unmap(Iova(0x1000), 0x1000) {
            Ok(bytes) => assert_eq!(bytes, 0x1000),
            Err(UnmapFailure::Busy) => assert_eq!(domain.mappings().len(), 1),
            Err(other) => panic!("{other}"),
        }
        true
    }
    loom::model(|| {
        let (table, device) = one_device();
        let kept = Arc::new(table);
        #[expect(
            unsafe_code,
            reason = "loom's threads want what lives for ever, and leaks fail its models"
        )]
        // SAFETY: `kept` is dropped after everything that borrows it: the other thread is joined before.
        let table: &'static CohortTable<Platform> = unsafe { &*core::ptr::from_ref(&*kept) };
        let domain = Arc::new(table.domain(Owner::Hypervisor, Vec::new()).unwrap());
        let plan = table.plan_open(Owner::Hypervisor, &[device], false).unwrap();
        let leases = table.open(&plan, &domain).unwrap();
        let other = {
            let domain = Arc::clone(&domain);
            thread::spawn(move || change(&domain))
        };
        let mine = change(&domain);
        let theirs = other.join().unwrap();
        assert!(mine || theirs, "somebody must have had a turn");
        drop(leases);
        drop(domain);
        drop(kept);
    });
}

#[test]
fn loom_two_owners_want_one_cohort() {
    loom::model(|| {
        let (table, device) = one_device();
        let table = Arc::new(table);
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || open_and_close(&table, Owner::Guest(2), device))
        };
        let mine = open_and_close(&table, Owner::Guest(1), device);
        let theirs = other.join().unwrap();
        assert!(mine || theirs, "somebody must win");
        let cohort = table.cohorts().cohort_of(device).unwrap().id();
        assert_eq!(table.state(cohort), Some(CohortState::Quarantined));
    });
}
