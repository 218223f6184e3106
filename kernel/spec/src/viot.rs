//! Virtual I/O translation table (ACPI 6.5, section 5.2.34): which endpoints a virtio-iommu translates.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Signature of the table.
pub const SIGNATURE: [u8; 4] = *b"VIOT";

/// What follows the table's header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Fixed {
    /// Nodes in the table.
    pub node_count: U16,
    /// Where the first node begins, bytes from the start of the table.
    pub node_offset: U16,
    /// Zero.
    pub reserved: [u8; 8],
}

/// What every node begins with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NodeHeader {
    /// Which node: the constants of [`node_type`].
    pub kind: u8,
    /// Zero.
    pub reserved: u8,
    /// Bytes of the node, header included.
    pub length: U16,
}

/// Types of node (table 5.163).
pub mod node_type {
    /// [`super::PciRange`].
    pub const PCI_RANGE: u8 = 1;
    /// [`super::MmioEndpoint`].
    pub const MMIO_ENDPOINT: u8 = 2;
    /// [`super::VirtioIommuPci`].
    pub const VIRTIO_IOMMU_PCI: u8 = 3;
    /// [`super::VirtioIommuMmio`].
    pub const VIRTIO_IOMMU_MMIO: u8 = 4;
}

/// A range of PCI functions whose endpoint ids follow their numbers.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PciRange {
    /// Type 1, length 24.
    pub header: NodeHeader,
    /// Endpoint id of `bdf_start` in `segment_start`.
    pub endpoint_start: U32,
    /// First segment.
    pub segment_start: U16,
    /// Last segment, inclusive.
    pub segment_end: U16,
    /// First requester id.
    pub bdf_start: U16,
    /// Last requester id, inclusive.
    pub bdf_end: U16,
    /// The translating node, bytes from the start of the table.
    pub output_node: U16,
    /// Zero.
    pub reserved: [u8; 6],
}

/// An endpoint that is a memory-mapped device.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MmioEndpoint {
    /// Type 2, length 24.
    pub header: NodeHeader,
    /// Its endpoint id.
    pub endpoint: U32,
    /// Physical address that names the device.
    pub base: U64,
    /// The translating node, bytes from the start of the table.
    pub output_node: U16,
    /// Zero.
    pub reserved: [u8; 6],
}

/// A virtio-iommu that is a PCI function.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct VirtioIommuPci {
    /// Type 3, length 16.
    pub header: NodeHeader,
    /// Its segment.
    pub segment: U16,
    /// Its requester id.
    pub bdf: U16,
    /// Zero.
    pub reserved: [u8; 8],
}

/// A virtio-iommu behind virtio-mmio.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct VirtioIommuMmio {
    /// Type 4, length 16.
    pub header: NodeHeader,
    /// Zero.
    pub reserved: [u8; 4],
    /// Physical address of its registers.
    pub base: U64,
}
