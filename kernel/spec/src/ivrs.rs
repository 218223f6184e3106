//! I/O virtualization reporting structure (AMD I/O Virtualization Technology (IOMMU) Specification 48882, revision
//! 3.07, section 5.2): which AMD-Vi unit has which device, and under which id. The subsections of 5.2 differ between revisions, so
//! structures are cited by the manual's names for them.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Signature of the table.
pub const SIGNATURE: [u8; 4] = *b"IVRS";

/// What follows the table's header (IVinfo).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Fixed {
    /// Bits 14:8 are the bits of a physical address, 21:15 those of a virtual one.
    pub info: U32,
    /// Zero.
    pub reserved: U64,
}

/// What every block begins with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BlockHeader {
    /// Which block: the constants of [`block_type`].
    pub kind: u8,
    /// [`IvhdFlags`] or [`IvmdFlags`].
    pub flags: u8,
    /// Bytes of the block, header included.
    pub length: U16,
    /// The unit's own requester id, or the (first) device of an IVMD.
    pub device: U16,
}

/// Types of block (IVHD and IVMD block types).
pub mod block_type {
    /// IVHD of 24 bytes.
    pub const IVHD_10: u8 = 0x10;
    /// IVHD of 40 bytes, with an image of the extended features.
    pub const IVHD_11: u8 = 0x11;
    /// As 11h, and with devices that ACPI names.
    pub const IVHD_40: u8 = 0x40;
    /// IVMD for all devices.
    pub const IVMD_ALL: u8 = 0x20;
    /// IVMD for one device.
    pub const IVMD_SELECT: u8 = 0x21;
    /// IVMD for a range of devices.
    pub const IVMD_RANGE: u8 = 0x22;
}

/// I/O virtualization hardware definition. Device entries follow, in types 11h and 40h after [`IvhdExtension`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ivhd {
    /// Type, [`IvhdFlags`], length, requester id of the unit.
    pub header: BlockHeader,
    /// Offset of the unit's PCI capability.
    pub capability: U16,
    /// Host physical address of the registers.
    pub base: U64,
    /// PCI segment.
    pub segment: U16,
    /// IOMMU info: bits 4:0 the MSI message, 12:8 the unit's id.
    pub info: U16,
    /// Type 10h: feature reporting. Types 11h and 40h: attributes.
    pub features: U32,
}

/// What types 11h and 40h have beyond [`Ivhd`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IvhdExtension {
    /// Image of the extended feature register.
    pub efr: U64,
    /// Image of the second extended feature register.
    pub efr2: U64,
}

bitflags! {
    /// Flags of an IVHD.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct IvhdFlags: u8 {
        /// HtTunEn.
        const HT_TUNNEL = 1 << 0;
        /// PassPW.
        const PASS_POSTED = 1 << 1;
        /// ResPassPW.
        const RESPONSE_PASS_POSTED = 1 << 2;
        /// Isoc.
        const ISOCHRONOUS = 1 << 3;
        /// IotlbSup: devices may keep translations.
        const REMOTE_IOTLB = 1 << 4;
        /// Coherent: table walks snoop caches.
        const COHERENT = 1 << 5;
        /// PreFSup, in type 10h.
        const PREFETCH = 1 << 6;
        /// PPRSup, in type 10h.
        const PAGE_REQUESTS = 1 << 7;
    }
}

/// A device entry of 4 bytes: types 0 to 63 (IVHD device entry, 4 bytes).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Entry4 {
    /// Which: the constants of [`entry_type`].
    pub kind: u8,
    /// Requester id.
    pub device: U16,
    /// [`Settings`].
    pub settings: u8,
}

/// A device entry of 8 bytes: types 64 to 127 (IVHD device entry, 8 bytes).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Entry8 {
    /// What 4-byte entries have.
    pub first: Entry4,
    /// Alias: reserved. Special: the handle, an I/O APIC's id or an HPET's number. Extended: data.
    pub handle: u8,
    /// Alias: the id that the unit sees. Special: the id that the device uses. Extended: data.
    pub other: U16,
    /// Special: the constants of [`special`]. Extended: data.
    pub variety: u8,
}

/// The fixed part of an ACPI entry: type 240 (IVHD device entry F0h). A unique id follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EntryAcpi {
    /// What 4-byte entries have.
    pub first: Entry4,
    /// Hardware id, padded with zeros.
    pub hid: [u8; 8],
    /// Compatible id, padded with zeros.
    pub cid: [u8; 8],
    /// The constants of [`uid_format`].
    pub uid_format: u8,
    /// Bytes of the unique id.
    pub uid_length: u8,
}

/// Types of device entry.
pub mod entry_type {
    /// Padding.
    pub const PADDING: u8 = 0;
    /// All devices.
    pub const ALL: u8 = 1;
    /// One device.
    pub const SELECT: u8 = 2;
    /// First device of a range.
    pub const START: u8 = 3;
    /// Last device of a range, inclusive.
    pub const END: u8 = 4;
    /// One device, which the unit sees as another.
    pub const ALIAS_SELECT: u8 = 66;
    /// First device of a range, all of which the unit sees as another.
    pub const ALIAS_START: u8 = 67;
    /// One device, with extended settings.
    pub const EXTENDED_SELECT: u8 = 70;
    /// First device of a range, with extended settings.
    pub const EXTENDED_START: u8 = 71;
    /// I/O APIC or HPET.
    pub const SPECIAL: u8 = 72;
    /// A device that ACPI names.
    pub const ACPI: u8 = 240;
}

/// Varieties of special device.
pub mod special {
    /// An I/O APIC.
    pub const IOAPIC: u8 = 1;
    /// An HPET.
    pub const HPET: u8 = 2;
}

/// Formats of an ACPI device's unique id.
pub mod uid_format {
    /// There is none.
    pub const NONE: u8 = 0;
    /// A number of 8 bytes.
    pub const NUMBER: u8 = 1;
    /// Text.
    pub const TEXT: u8 = 2;
}

bitflags! {
    /// Settings of a device entry: what its device table entry must let pass.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Settings: u8 {
        /// INITPass.
        const INIT = 1 << 0;
        /// EIntPass.
        const EXTERNAL_INTERRUPT = 1 << 1;
        /// NMIPass.
        const NMI = 1 << 2;
        /// Lint0Pass.
        const LINT0 = 1 << 6;
        /// Lint1Pass.
        const LINT1 = 1 << 7;
        /// SysMgt, bits 5:4.
        const SYSTEM_MANAGEMENT = 0b11 << 4;
    }
}

/// I/O virtualization memory definition (IVMD, 32 bytes).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ivmd {
    /// Type, [`IvmdFlags`], length 32, (first) device.
    pub header: BlockHeader,
    /// Type 22h: the last device, inclusive.
    pub last: U16,
    /// PCI segment; zero in older tables.
    pub segment: U16,
    /// Zero.
    pub reserved: [u8; 6],
    /// First byte, host physical.
    pub start: U64,
    /// Bytes.
    pub length: U64,
}

bitflags! {
    /// Flags of an IVMD.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct IvmdFlags: u8 {
        /// Unity: to be mapped one to one.
        const UNITY = 1 << 0;
        /// IR: reads must be allowed.
        const READ = 1 << 1;
        /// IW: writes must be allowed.
        const WRITE = 1 << 2;
        /// Exclusion range: accesses pass untranslated.
        const EXCLUSION = 1 << 3;
    }
}
