//! Which units the machine has, and bringing each one up so that it denies everything.
#![expect(unsafe_code, reason = "lets a driver loose on the hardware of a unit")]

use super::virtio::{InitError, PciChannel, PciChannelError, VirtioIommu, VirtioUnit};
use super::{AnyUnit, amdvi, vtd};
use crate::acpi::{IommuLocation, Viot};
use crate::cpu::clock::Tsc;
use crate::discovery::Machine;
use alloc::boxed::Box;
use alloc::vec::Vec;
use vfio_core::pci::{Bdf, Topology};

/// Why a unit does not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is none.
    #[error(
        "the machine has no IOMMU that Cohort can drive (ACPI has no DMAR and no IVRS, and no VIOT that names a virtio-iommu); \
         in QEMU give it one (iommu = \"virtio\", \"vtd\" or \"amdvi\" under [machine]), or take the devices out of the configuration"
    )]
    NoIommu,
    /// VIOT names a function that is not there.
    #[error("VIOT names {0} as the virtio-iommu, but no such function exists")]
    Absent(Bdf),
    /// The driver cannot reach it.
    #[error("the virtio-iommu cannot be reached: {0}")]
    Channel(#[from] PciChannelError),
    /// It does not come up.
    #[error(transparent)]
    Virtio(#[from] InitError),
    /// An AMD-Vi unit does not come up.
    #[error(transparent)]
    Amdvi(#[from] amdvi::InitError),
    /// A VT-d unit.
    #[error(transparent)]
    Vtd(#[from] vtd::StartError),
}

/// All units of the machine, each of which denies everything when this returns.
///
/// # Errors
/// [`StartError`]. No device can reach memory then either: bus mastering is off everywhere.
pub fn units(machine: &Machine, topology: &Topology) -> Result<Vec<AnyUnit>, StartError> {
    let mut units = Vec::new();
    if let Some(dmar) = &machine.acpi.dmar {
        vtd::units(dmar, &machine.functions, &mut units)?;
    }
    if let Some(ivrs) = &machine.acpi.ivrs {
        amdvi::units(machine, ivrs, topology, &mut units)?;
    }
    if let Some(viot) = &machine.acpi.viot {
        virtio(machine, viot, &mut units)?;
    }
    if units.is_empty() {
        return Err(StartError::NoIommu);
    }
    Ok(units)
}

/// Every virtio-iommu that is a PCI function.
fn virtio(machine: &Machine, viot: &Viot, units: &mut Vec<AnyUnit>) -> Result<(), StartError> {
    for (index, location) in viot.iommus.iter().enumerate() {
        let IommuLocation::Pci(bdf) = *location else {
            log::warn!("{location:?}: Cohort drives virtio-iommus that are PCI functions only");
            continue;
        };
        let function = machine.function(bdf).ok_or(StartError::Absent(bdf))?;
        // SAFETY: discovery found the function and mapped its BARs uncached; the heap is mapped one to one; the judge has
        // taken it from what can be assigned, so nobody else drives it.
        let channel = unsafe { PciChannel::new(&machine.ecam, function, Tsc) }?;
        let iommu = VirtioIommu::init(channel)?;
        units.push(Box::new(VirtioUnit::new(iommu, viot.clone(), index)));
    }
    Ok(())
}
