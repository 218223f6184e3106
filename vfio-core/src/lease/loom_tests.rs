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
use crate::pci::{Bdf, BusRange, Function, PortKind, ResetMethods, Topology};
use crate::set::Patience;
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
        Err(OpenFailure::Refused(
            Refusal::OwnedByAnother { .. }
            | Refusal::VirtualFunctionHeld { .. }
            | Refusal::PhysicalFunctionHeld { .. },
        )) => false,
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
        let table = Arc::new(CohortTable::new(cohorts, Platform::default()).unwrap());
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
        let table = Arc::new(CohortTable::new(cohorts, Platform::default()).unwrap());
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
