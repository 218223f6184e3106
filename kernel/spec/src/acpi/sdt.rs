//! System description table header (ACPI 6.5, section 5.2.6), RSDT and XSDT (5.2.7, 5.2.8).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The table of 32-bit table addresses.
pub const RSDT: [u8; 4] = *b"RSDT";
/// The table of 64-bit table addresses.
pub const XSDT: [u8; 4] = *b"XSDT";

/// What every table but FACS begins with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SdtHeader {
    /// Which table it is.
    pub signature: [u8; 4],
    /// Bytes of the whole table, header included.
    pub length: U32,
    /// Of the table's own format.
    pub revision: u8,
    /// Makes all `length` bytes sum to zero.
    pub checksum: u8,
    /// Who made it.
    pub oem_id: [u8; 6],
    /// Its name at the maker's.
    pub oem_table_id: [u8; 8],
    /// Its revision at the maker's.
    pub oem_revision: U32,
    /// The tool that wrote it.
    pub creator_id: U32,
    /// Revision of that tool.
    pub creator_revision: U32,
}
