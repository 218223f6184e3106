//! Multiple APIC description table (ACPI 6.5, section 5.2.12).

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Signature of the table.
pub const SIGNATURE: [u8; 4] = *b"APIC";

/// What stands between the table's header and its entries.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Fixed {
    /// Physical address of the local APIC, unless an entry overrides it.
    pub local_apic_address: U32,
    /// Bit 0: the machine also has two 8259 controllers.
    pub flags: U32,
}

/// What every entry begins with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EntryHeader {
    /// Which entry: the constants of [`entry_type`].
    pub kind: u8,
    /// Bytes of the entry, header included.
    pub length: u8,
}

/// The entries that x86 needs (table 5.21).
pub mod entry_type {
    /// [`super::LocalApic`].
    pub const LOCAL_APIC: u8 = 0;
    /// [`super::IoApic`].
    pub const IO_APIC: u8 = 1;
    /// [`super::AddressOverride`].
    pub const ADDRESS_OVERRIDE: u8 = 5;
    /// [`super::LocalX2Apic`].
    pub const LOCAL_X2APIC: u8 = 9;
}

bitflags! {
    /// Flags of a processor (table 5.23).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ProcessorFlags: u32 {
        /// Ready for use.
        const ENABLED = 1 << 0;
        /// Absent now, may come.
        const ONLINE_CAPABLE = 1 << 1;
    }
}

/// A processor with an 8-bit APIC id (5.2.12.2).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LocalApic {
    /// Type 0, length 8.
    pub header: EntryHeader,
    /// Its name in AML.
    pub processor_uid: u8,
    /// Its local APIC.
    pub apic_id: u8,
    /// [`ProcessorFlags`].
    pub flags: U32,
}

/// An I/O APIC (5.2.12.3).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IoApic {
    /// Type 1, length 12.
    pub header: EntryHeader,
    /// Its id.
    pub id: u8,
    /// Zero.
    pub reserved: u8,
    /// Physical address of its registers.
    pub address: U32,
    /// The first global system interrupt of its inputs.
    pub gsi_base: U32,
}

/// A 64-bit local APIC address (5.2.12.8).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AddressOverride {
    /// Type 5, length 12.
    pub header: EntryHeader,
    /// Zero.
    pub reserved: U16,
    /// Physical address of the local APIC.
    pub address: U64,
}

/// A processor with a 32-bit APIC id (5.2.12.12).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LocalX2Apic {
    /// Type 9, length 16.
    pub header: EntryHeader,
    /// Zero.
    pub reserved: U16,
    /// Its local APIC.
    pub x2apic_id: U32,
    /// [`ProcessorFlags`].
    pub flags: U32,
    /// Its name in AML.
    pub processor_uid: U32,
}
