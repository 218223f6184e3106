//! The assigner of the real machine: deny-all first, then `vfio-core`'s table of cohorts.
#![expect(unsafe_code, reason = "lets a driver loose on a PCI function")]

use super::Assigner;
use crate::cpu::clock::Tsc;
use crate::discovery::{DeviceMemory, DiscoveryError, Machine};
use crate::iommu::virtio::{InitError, PciChannel, PciChannelError, VirtioIommu};
use crate::pci::Ecam;
use alloc::collections::BTreeSet;
use vfio_core::DeviceId;
use vfio_core::cohort::{Cohorts, Inventory, InventoryError};
use vfio_core::lease::CohortTable;
use vfio_core::pci::{Bdf, NotAssignable, Topology};
use vfio_core::set::RegisterError;

/// The assigner of this machine.
pub type MachineAssigner = Assigner<Ecam, Tsc, DeviceMemory, PciChannel<Tsc>>;

/// Why no device can be assigned.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// There is no IOMMU.
    #[error(
        "the machine has no IOMMU that Cohort can drive (ACPI has no VIOT that names a virtio-iommu); \
         in QEMU add -device virtio-iommu-pci, or take the devices out of the configuration"
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
    Init(#[from] InitError),
    /// The topology contradicts itself.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The devices cannot be made cohorts of; `split-unsafe` names one that is not there.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// A device could not be registered.
    #[error("{0}")]
    Register(#[from] RegisterError),
}

/// Turns the IOMMU's bypass off, puts every device into quarantine, and returns the table of cohorts. Devices in
/// `split_unsafe` are kept apart from their isolation groups.
///
/// # Errors
/// [`TakeOverError`]. No device can reach memory then either: bus mastering is off everywhere.
pub fn take_over(
    mut machine: Machine,
    split_unsafe: &[Bdf],
) -> Result<CohortTable<MachineAssigner>, TakeOverError> {
    let viot = machine.acpi.viot.clone().ok_or(TakeOverError::NoIommu)?;
    let bdf = viot.pci_iommus().next().ok_or(TakeOverError::NoIommu)?;
    let unit = viot
        .iommus
        .iter()
        .position(|iommu| *iommu == crate::acpi::IommuLocation::Pci(bdf));
    let unit = unit.ok_or(TakeOverError::NoIommu)?;
    let function = machine.function(bdf).ok_or(TakeOverError::Absent(bdf))?;
    // SAFETY: discovery found the function and mapped its BARs uncached; the heap is mapped one to one; the judge has
    // taken it from what can be assigned, so nobody else drives it.
    let channel = unsafe { PciChannel::new(&machine.ecam, function, Tsc) }?;
    let iommu = VirtioIommu::init(channel)?;
    leave_out_untranslated(&mut machine, &viot, unit);
    let topology = machine.topology()?;
    let cohorts = cohorts(&topology, split_unsafe)?;
    let assigner = Assigner::new(
        machine.ecam,
        Tsc,
        DeviceMemory::default(),
        machine.functions,
        iommu,
        viot,
        unit,
    );
    Ok(CohortTable::new(cohorts, assigner)?)
}

/// The cohorts of a machine whose user splits off the devices in `split_unsafe`.
///
/// # Errors
/// One of these is not there.
pub fn cohorts(topology: &Topology, split_unsafe: &[Bdf]) -> Result<Cohorts, InventoryError> {
    let mut inventory = Inventory::splitting(split_unsafe.iter().copied().map(DeviceId::from));
    inventory.add_pci(topology);
    Cohorts::build(inventory)
}

/// Devices that the IOMMU does not translate for can be given to nobody.
fn leave_out_untranslated(machine: &mut Machine, viot: &crate::acpi::Viot, unit: usize) {
    let translated: BTreeSet<Bdf> = match machine.topology() {
        Ok(topology) => {
            let translated = |bdf| {
                topology.dma_aliases(bdf).iter().all(|requester| {
                    let endpoint = requester.pci().and_then(|alias| viot.endpoint(alias));
                    endpoint.is_some_and(|(found, _)| found == unit)
                })
            };
            topology
                .endpoints()
                .map(|function| function.bdf)
                .filter(|bdf| translated(*bdf))
                .collect()
        }
        Err(_) => BTreeSet::new(),
    };
    for function in &mut machine.functions {
        if function.kind.is_endpoint() && !translated.contains(&function.bdf) {
            function.not_assignable.get_or_insert(NotAssignable::NoIommu);
        }
    }
}
