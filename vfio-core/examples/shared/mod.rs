//! The hypervisor's side of the examples: hardware that does what it is told, and says so.
//!
//! A hypervisor drives its IOMMU, its devices and its interrupt controller here. Each method is one of the few things
//! that vfio-core does not do itself.

#![expect(unsafe_code, reason = "DmaDomains promises isolation")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use vfio_core::cohort::ResetAction;
use vfio_core::domain::{IovaRange, ReservedRegion, UnitId, UnitLimits};
use vfio_core::lease::{DeviceOps, DmaDomains, Interrupts, Quiesce, Reset};
use vfio_core::{DeviceId, DomainId, Fault, Mapping, Owner, Requester};

/// A platform that prints what it is asked to do.
#[derive(Default)]
pub(crate) struct Printing {
    domains: Cell<u32>,
    /// Which domain each requester is in; one that is not here is in quarantine.
    attached: RefCell<BTreeMap<Requester, DomainId>>,
}

// SAFETY: there is no memory that a device could reach.
unsafe impl DmaDomains for Printing {
    fn unit_of(&self, _: Requester) -> Result<UnitId, Fault> {
        Ok(UnitId(0))
    }

    fn limits(&self, _: UnitId) -> Result<UnitLimits, Fault> {
        Ok(UnitLimits::any())
    }

    fn reserved(&self, _: Requester) -> Result<Vec<ReservedRegion>, Fault> {
        Ok(Vec::new())
    }

    fn create_domain(&self, owner: Owner) -> Result<DomainId, Fault> {
        let id = DomainId(self.domains.get());
        self.domains.set(id.0 + 1);
        println!("  iommu: {id} for {owner}");
        Ok(id)
    }

    fn destroy_domain(&self, domain: DomainId) -> Result<(), Fault> {
        println!("  iommu: {domain} is gone");
        Ok(())
    }

    fn map(&self, _: UnitId, domain: DomainId, mapping: Mapping) -> Result<(), Fault> {
        println!(
            "  iommu: {domain} maps {:#x} bytes at {}",
            mapping.size, mapping.iova
        );
        Ok(())
    }

    fn unmap(&self, _: UnitId, domain: DomainId, range: IovaRange) -> Result<(), Fault> {
        println!("  iommu: {domain} maps nothing at {range} any more");
        Ok(())
    }

    fn attach(&self, domain: DomainId, requester: Requester) -> Result<(), Fault> {
        self.attached.borrow_mut().insert(requester, domain);
        println!("  iommu: requester {requester} is in {domain}");
        Ok(())
    }

    fn quarantine(&self, requester: Requester) -> Result<(), Fault> {
        self.attached.borrow_mut().remove(&requester);
        println!("  iommu: requester {requester} reaches nothing");
        Ok(())
    }
}

impl Quiesce for Printing {
    fn quiesce(&self, device: DeviceId) -> Result<(), Fault> {
        println!("  {device}: bus mastering off, interrupts masked");
        Ok(())
    }
}

impl Reset for Printing {
    fn reset(&self, action: &ResetAction) -> Result<(), Fault> {
        let devices: Vec<String> = action.devices().iter().map(DeviceId::to_string).collect();
        println!("  reset of {}", devices.join(" and "));
        Ok(())
    }

    fn check_alive(&self, device: DeviceId) -> Result<(), Fault> {
        println!("  {device}: answers as itself");
        Ok(())
    }
}

impl Interrupts for Printing {
    fn interrupts_isolated(&self) -> bool {
        true
    }

    fn enable_interrupts(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        println!("  {device}: interrupts go to {owner}");
        Ok(())
    }

    fn release_interrupts(&self, device: DeviceId) -> Result<(), Fault> {
        println!("  {device}: interrupts go nowhere");
        Ok(())
    }
}

impl DeviceOps for Printing {
    fn open_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        println!("  {device}: open for {owner}");
        Ok(())
    }

    fn close_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        println!("  {device}: closed for {owner}");
        Ok(())
    }
}
