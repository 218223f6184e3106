//! PCI on this machine: configuration space through memory, and which BARs can be trusted to be where they say.
//!
//! Finding functions, decoding and resetting them is `vfio-core`'s part.

mod ecam;
mod quirks;
mod resources;

pub use ecam::{Ecam, EcamError};
pub use quirks::apply_quirks;
pub use resources::{Other, Overlap, hide_overlapping_roms, overlaps};
pub use vfio_core::pci::config::{
    Bar, BarKind, ConfigAccess, Function, MmioAccess, MsiX, Registers, Scan, SegmentWindow, TableLocation,
    VirtioError, VirtioRegion, Width, bus_master_off_everywhere, enable_acs, scan, set_bus_master,
    set_memory_decode, to_topology, virtio_access_platform,
};
