//! The capability block in the configuration space of a unit's PCI function (section 3.2).

use bitflags::bitflags;

/// PCI capability id: secure device.
pub const ID: u8 = 0x0f;
/// Capability type, bits 18:16 of the header: an IOMMU.
pub const TYPE_IOMMU: u32 = 0b011;
/// Lowest bit of the type.
pub const TYPE_SHIFT: u32 = 16;
/// The type.
pub const TYPE_MASK: u32 = 0b111;

/// The header's offset from the capability's.
pub const HEADER: u16 = 0x00;
/// Low half of the registers' address: bits 31:14, and [`BASE_ENABLE`].
pub const BASE_LOW: u16 = 0x04;
/// High half.
pub const BASE_HIGH: u16 = 0x08;
/// The registers are at the address, which cannot be changed any more.
pub const BASE_ENABLE: u32 = 1 << 0;
/// Bits of the low half that are address. Units with counters have no bits below 19.
pub const BASE_LOW_ADDRESS: u32 = 0xffff_c000;

bitflags! {
    /// Bits of the header.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Header: u32 {
        /// IotlbSup: devices may keep translations (ATS).
        const REMOTE_IOTLB = 1 << 24;
        /// HtTunnel.
        const HT_TUNNEL = 1 << 25;
        /// NpCache: entries that are not present are cached, so that a new mapping needs an invalidation.
        const CACHES_NOT_PRESENT = 1 << 26;
        /// EFRSup: the extended feature register is there.
        const EXTENDED_FEATURES = 1 << 27;
        /// CapExt: miscellaneous information 1 is there.
        const EXTENSION = 1 << 28;
    }
}
