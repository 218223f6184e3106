//! Configuration space: how it is accessed, what functions it has, and what each of them says of itself.
//!
//! [`scan`] finds every function and decodes what it claims; [`to_topology`] hands that to the
//! [topology](super::Topology), which knows what may be opened together. Nothing that a function claims is trusted: lists are
//! walked with a guard, tables are checked against the BAR that holds them, and what makes no sense is noted as a
//! [`Problem`] instead of believed.

mod access;
mod acs;
mod bar;
mod capability;
mod function;
mod registers;
mod rom;
mod scan;
mod sriov;
#[cfg(all(test, not(loom)))]
mod tests;
mod topology;
mod virtio;

pub use access::{ConfigAccess, Width};
pub use acs::enable_acs;
pub use bar::{Bar, BarFault, BarKind};
pub use function::{
    AdvancedFeatures, Capability, Express, ExtendedCapability, Function, Msi, MsiX, PowerManagement,
    TableLocation,
};
pub use registers::{Registers, bus_master_off_everywhere, set_bus_master, set_memory_decode};
pub(in crate::pci) use rom::ROM_ENABLE;
pub use rom::{ROM, find_rom};
pub use scan::{BridgeFault, Problem, ProblemKind, Scan, SegmentWindow, scan};
pub use sriov::{SrIov, SrIovFault};
pub use topology::to_topology;
pub use virtio::{MmioAccess, Virtio, VirtioError, VirtioRegion, virtio_access_platform};
