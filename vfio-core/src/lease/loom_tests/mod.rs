//! Cohorts and domains under every interleaving that loom finds.

#![cfg(loom)]

mod cohorts;
mod domains;

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

/// Does nothing, but knows how many owners have the device open, how many CPUs change mappings, and what is mapped.
#[derive(Default)]
struct Platform {
    opens: AtomicU32,
    changes: AtomicU32,
    mapped: AtomicU32,
    attached: AtomicU32,
    /// How many of the next calls that make a device quiet fail.
    noisy: AtomicU32,
    /// Resets that run now.
    resets: AtomicU32,
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
        self.change()?;
        self.mapped.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn unmap(&self, _: UnitId, _: DomainId, _: IovaRange) -> Result<(), Fault> {
        self.change()?;
        self.mapped.store(0, Ordering::SeqCst);
        Ok(())
    }

    fn attach(&self, _: DomainId, _: Requester) -> Result<(), Fault> {
        self.attached.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// The last one out of a domain: its unit forgets what it maps.
    fn quarantine(&self, _: Requester) -> Result<(), Fault> {
        self.attached.store(0, Ordering::SeqCst);
        self.mapped.store(0, Ordering::SeqCst);
        Ok(())
    }
}

impl Quiesce for Platform {
    fn quiesce(&self, _: DeviceId) -> Result<(), Fault> {
        let left = self.noisy.load(Ordering::SeqCst);
        if left > 0 {
            self.noisy.store(left - 1, Ordering::SeqCst);
            return Err(Fault::TimedOut);
        }
        Ok(())
    }
}

impl Reset for Platform {
    fn reset(&self, _: &ResetAction) -> Result<(), Fault> {
        let before = self.resets.fetch_add(1, Ordering::SeqCst);
        assert_eq!(before, 0, "two resets of one device at a time");
        self.resets.fetch_sub(1, Ordering::SeqCst);
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
    one_device_on(Platform::default())
}

fn one_device_on(platform: Platform) -> (CohortTable<Platform>, DeviceId) {
    let bdf = Bdf::new(0, 0, 3, 0);
    let resets = ResetMethods::FLR;
    let function = Function {
        resets,
        ..Function::new(bdf, PortKind::RootComplexEndpoint)
    };
    let cohorts = Cohorts::new(&Topology::new(Vec::from([function])).unwrap());
    (CohortTable::new(cohorts, platform).unwrap(), bdf.into())
}

/// The table for threads, which want what lives for ever; leaks would fail loom's models.
fn lend(kept: &Arc<CohortTable<Platform>>) -> &'static CohortTable<Platform> {
    #[expect(unsafe_code, reason = "see above")]
    // SAFETY: each model joins its threads and drops what borrows the table before it drops `kept`.
    unsafe {
        &*core::ptr::from_ref(&**kept)
    }
}
