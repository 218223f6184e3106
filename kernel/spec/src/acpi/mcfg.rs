//! Where memory-mapped configuration space lies (PCI Firmware Specification 3.3, section 4.1.2).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Signature of the table.
pub const SIGNATURE: [u8; 4] = *b"MCFG";

/// Bytes between the table's header and its allocations, reserved.
pub const RESERVED: usize = 8;

/// One window: 1 MiB for each bus, 4 KiB for each function.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Allocation {
    /// Physical address of bus 0's configuration space, whatever `bus_start` is.
    pub base: U64,
    /// PCI segment group.
    pub segment: U16,
    /// First bus that the window decodes.
    pub bus_start: u8,
    /// Last bus that the window decodes, inclusive.
    pub bus_end: u8,
    /// Zero.
    pub reserved: U32,
}
