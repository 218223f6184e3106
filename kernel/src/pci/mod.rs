//! PCI: configuration space, the machine's topology, capabilities, resets.
//!
//! [`scan`] finds every function and decodes what it claims; [`to_topology`] hands that to `vfio-core`, which knows
//! what may be opened together. Nothing that a function claims is trusted: lists are walked with a guard, tables are
//! checked against the BAR that holds them, and what makes no sense is noted as a [`Problem`] instead of believed.

mod acs;
mod bar;
mod capability;
mod config;
mod ecam;
mod function;
mod registers;
mod reset;
mod resources;
mod saved;
mod scan;
#[cfg(test)]
pub(crate) mod tests;
mod topology;
mod virtio;

pub use acs::enable_acs;
pub use bar::{Bar, BarFault, BarKind};
pub use config::{ConfigAccess, Width};
pub use ecam::{Ecam, EcamError};
pub use function::{
    AdvancedFeatures, Capability, Express, ExtendedCapability, Function, Msi, MsiX, PowerManagement,
    TableLocation,
};
pub use registers::{Registers, bus_master_off_everywhere, set_bus_master, set_memory_decode};
pub use reset::{ResetError, flr, pm_reset, reset_function, secondary_bus_reset};
pub use resources::{Other, Overlap, overlaps};
pub use saved::SavedConfig;
pub use scan::{BridgeFault, Problem, ProblemKind, Scan, scan};
pub use topology::to_topology;
pub use virtio::{MmioAccess, Virtio, VirtioError, VirtioRegion, virtio_access_platform};
