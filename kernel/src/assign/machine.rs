//! The assigner of the real machine: deny-all first, then `vfio-core`'s table of cohorts.

use super::Assigner;
use crate::cpu::clock::Tsc;
use crate::discovery::{DeviceMemory, DiscoveryError, Machine};
use crate::iommu::{self, AnyUnit, Registry, StartError};
use crate::pci::Ecam;
use vfio_core::DeviceId;
use vfio_core::cohort::{Cohorts, Inventory, InventoryError};
use vfio_core::lease::CohortTable;
use vfio_core::pci::{Bdf, Topology};
use vfio_core::set::RegisterError;

/// The assigner of this machine.
pub type MachineAssigner = Assigner<Ecam, Tsc, DeviceMemory, AnyUnit>;

/// Why no device can be assigned.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// The IOMMUs.
    #[error(transparent)]
    Iommu(#[from] StartError),
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

/// Has every IOMMU deny everything, puts every device into quarantine, and returns the table of cohorts. Devices in
/// `split_unsafe` are kept apart from their isolation groups.
///
/// # Errors
/// [`TakeOverError`]. No device can reach memory then either: bus mastering is off everywhere.
pub fn take_over(
    mut machine: Machine,
    split_unsafe: &[Bdf],
) -> Result<CohortTable<MachineAssigner>, TakeOverError> {
    let mut topology = machine.topology()?;
    let iommus = Registry::new(iommu::units(&machine, &topology)?);
    if leave_out(&mut machine, &topology, &iommus) {
        topology = machine.topology()?;
    }
    let cohorts = cohorts(&topology, split_unsafe)?;
    let assigner = Assigner::new(
        machine.ecam,
        Tsc,
        DeviceMemory::default(),
        machine.functions,
        &topology,
        iommus,
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

/// Devices that no IOMMU translates for, or that firmware keeps memory for, can be given to nobody. Says whether there are any.
fn leave_out(machine: &mut Machine, topology: &Topology, iommus: &Registry<AnyUnit>) -> bool {
    let mut changed = false;
    for function in &mut machine.functions {
        if function.kind.is_endpoint() && function.not_assignable.is_none() {
            function.not_assignable = iommus.objection(function, topology.dma_aliases(function.bdf));
            changed |= function.not_assignable.is_some();
        }
    }
    changed
}
