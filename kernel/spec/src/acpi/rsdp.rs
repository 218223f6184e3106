//! Root system description pointer (ACPI 6.5, section 5.2.5.3).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What the pointer begins with.
pub const SIGNATURE: [u8; 8] = *b"RSD PTR ";

/// Bytes of the ACPI 1.0 structure, which [`RsdpV1::checksum`] covers.
pub const V1_LENGTH: usize = 20;

/// Bytes of the structure since ACPI 2.0, which [`Rsdp::extended_checksum`] covers.
pub const V2_LENGTH: usize = 36;

/// The first 20 bytes, all there is in revision 0.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RsdpV1 {
    /// [`SIGNATURE`].
    pub signature: [u8; 8],
    /// Makes the first 20 bytes sum to zero.
    pub checksum: u8,
    /// Who made it.
    pub oem_id: [u8; 6],
    /// 0 for ACPI 1.0, 2 since.
    pub revision: u8,
    /// Physical address of the RSDT.
    pub rsdt_address: U32,
}

/// The whole structure, from revision 2 on.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Rsdp {
    /// The part that ACPI 1.0 knows.
    pub v1: RsdpV1,
    /// Bytes of the whole, at least 36.
    pub length: U32,
    /// Physical address of the XSDT.
    pub xsdt_address: U64,
    /// Makes all `length` bytes sum to zero.
    pub extended_checksum: u8,
    /// Zero.
    pub reserved: [u8; 3],
}
