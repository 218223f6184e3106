//! DMA remapping table (Intel Virtualization Technology for Directed I/O, revision 4.1, chapter 8): which unit
//! remaps for which device, and what firmware's devices go on reading and writing.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Signature of the table.
pub const SIGNATURE: [u8; 4] = *b"DMAR";

/// What follows the table's header (section 8.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Fixed {
    /// Bits of a physical address that DMA can use, less one.
    pub host_address_width: u8,
    /// [`TableFlags`].
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 10],
}

bitflags! {
    /// Flags of the table.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TableFlags: u8 {
        /// INTR_REMAP: the platform supports interrupt remapping.
        const INTERRUPT_REMAPPING = 1 << 0;
        /// X2APIC_OPT_OUT: firmware asks that x2APIC is left off.
        const X2APIC_OPT_OUT = 1 << 1;
        /// DMA_CTRL_PLATFORM_OPT_IN_FLAG: firmware asks that DMA is restricted before the operating system starts.
        const DMA_CONTROL_OPT_IN = 1 << 2;
    }
}

/// What every structure begins with (section 8.2).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct StructureHeader {
    /// Which structure: the constants of [`structure_type`].
    pub kind: U16,
    /// Bytes of the structure, header included.
    pub length: U16,
}

/// Types of structure (section 8.2).
pub mod structure_type {
    /// [`super::Drhd`].
    pub const DRHD: u16 = 0;
    /// [`super::Rmrr`].
    pub const RMRR: u16 = 1;
    /// [`super::Atsr`].
    pub const ATSR: u16 = 2;
    /// [`super::Rhsa`].
    pub const RHSA: u16 = 3;
    /// [`super::Andd`].
    pub const ANDD: u16 = 4;
    /// [`super::Satc`].
    pub const SATC: u16 = 5;
}

/// DMA remapping hardware unit definition (section 8.3). Device scopes follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Drhd {
    /// Type 0.
    pub header: StructureHeader,
    /// Bit 0, INCLUDE_PCI_ALL: the unit also has all of the segment that no other unit's scopes name.
    pub flags: u8,
    /// Bits 3:0, n: the registers take 2^n pages of 4 KiB.
    pub size: u8,
    /// PCI segment.
    pub segment: U16,
    /// Host physical address of the registers.
    pub base: U64,
}

/// Bit 0 of [`Drhd::flags`].
pub const INCLUDE_PCI_ALL: u8 = 1;
/// The exponent in [`Drhd::size`].
pub const SIZE_MASK: u8 = 0xf;

/// Reserved memory region (section 8.4): devices use it without being told. Device scopes follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Rmrr {
    /// Type 1.
    pub header: StructureHeader,
    /// Zero.
    pub reserved: U16,
    /// PCI segment.
    pub segment: U16,
    /// First byte, host physical.
    pub base: U64,
    /// Last byte, inclusive.
    pub limit: U64,
}

/// Root ports behind which devices may ask for translations (section 8.5). Device scopes follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Atsr {
    /// Type 2.
    pub header: StructureHeader,
    /// Bit 0, ALL_PORTS: all root ports of the segment, and no scopes.
    pub flags: u8,
    /// Zero.
    pub reserved: u8,
    /// PCI segment.
    pub segment: U16,
}

/// Bit 0 of [`Atsr::flags`].
pub const ALL_PORTS: u8 = 1;

/// Which memory is near to a unit (section 8.6).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Rhsa {
    /// Type 3.
    pub header: StructureHeader,
    /// Zero.
    pub reserved: U32,
    /// Register base of the unit.
    pub base: U64,
    /// Proximity domain, as in the SRAT.
    pub proximity: U32,
}

/// ACPI name-space device (section 8.7). Its name follows, in ASCII, ended by a zero.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Andd {
    /// Type 4.
    pub header: StructureHeader,
    /// Zero.
    pub reserved: [u8; 3],
    /// The number by which device scopes name the device.
    pub number: u8,
}

/// Devices of the SoC that translate addresses ahead (section 8.8). Device scopes follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Satc {
    /// Type 5.
    pub header: StructureHeader,
    /// Bit 0, ATC_REQUIRED: the devices do not work without.
    pub flags: u8,
    /// Zero.
    pub reserved: u8,
    /// PCI segment.
    pub segment: U16,
}

/// Bit 0 of [`Satc::flags`].
pub const ATC_REQUIRED: u8 = 1;

/// What a device scope begins with (section 8.3.1). Elements of its path follow, at least one.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DeviceScope {
    /// Which kind: the constants of [`scope_type`].
    pub kind: u8,
    /// Bytes of the scope, this header included.
    pub length: u8,
    /// Zero, but for a structure that Cohort does not read.
    pub flags: u8,
    /// Zero.
    pub reserved: u8,
    /// I/O APIC's id, HPET's number, or ACPI device's number.
    pub enumeration_id: u8,
    /// Bus of the path's first element.
    pub start_bus: u8,
}

/// One element of a scope's path.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PathElement {
    /// Device number.
    pub device: u8,
    /// Function number.
    pub function: u8,
}

/// Types of device scope (section 8.3.1).
pub mod scope_type {
    /// One PCI function that is no bridge.
    pub const ENDPOINT: u8 = 1;
    /// A PCI bridge and all behind it.
    pub const SUB_HIERARCHY: u8 = 2;
    /// An I/O APIC.
    pub const IOAPIC: u8 = 3;
    /// An HPET that sends messages.
    pub const HPET: u8 = 4;
    /// An ACPI name-space device, by its ANDD.
    pub const ACPI_DEVICE: u8 = 5;
}
