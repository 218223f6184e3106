//! Events (section 2.5): two words of 64 bits, the code in bits 63:60 of the first.

use bitflags::bitflags;

/// Lowest bit of the code.
pub const CODE_SHIFT: u32 = 60;

/// Codes.
pub mod code {
    /// ILLEGAL_DEV_TABLE_ENTRY (2.5.2): reserved bits or a level that does not exist.
    pub const ILLEGAL_DEV_TABLE_ENTRY: u8 = 1;
    /// IO_PAGE_FAULT (2.5.3).
    pub const IO_PAGE_FAULT: u8 = 2;
    /// DEV_TAB_HARDWARE_ERROR (2.5.4).
    pub const DEV_TAB_HARDWARE_ERROR: u8 = 3;
    /// PAGE_TAB_HARDWARE_ERROR (2.5.5).
    pub const PAGE_TAB_HARDWARE_ERROR: u8 = 4;
    /// ILLEGAL_COMMAND_ERROR (2.5.6): the unit stops to read commands.
    pub const ILLEGAL_COMMAND_ERROR: u8 = 5;
    /// COMMAND_HARDWARE_ERROR (2.5.7): the unit stops to read commands.
    pub const COMMAND_HARDWARE_ERROR: u8 = 6;
    /// IOTLB_INV_TIMEOUT (2.5.8).
    pub const IOTLB_INV_TIMEOUT: u8 = 7;
    /// INVALID_DEVICE_REQUEST (2.5.9).
    pub const INVALID_DEVICE_REQUEST: u8 = 8;
    /// INVALID_PPR_REQUEST (2.5.10).
    pub const INVALID_PPR_REQUEST: u8 = 9;
    /// EVENT_COUNTER_ZERO (2.5.11).
    pub const EVENT_COUNTER_ZERO: u8 = 0xa;
    /// GUEST_EVENT_FAULT (2.5.12).
    pub const GUEST_EVENT_FAULT: u8 = 0xb;
    /// VIOMMU_HARDWARE_ERROR (2.5.13).
    pub const VIOMMU_HARDWARE_ERROR: u8 = 0xc;
    /// RMP_PAGE_FAULT (2.5.14).
    pub const RMP_PAGE_FAULT: u8 = 0xd;
    /// RMP_HARDWARE_ERROR (2.5.15).
    pub const RMP_HARDWARE_ERROR: u8 = 0xe;
}

/// Requester id: bits 15:0 of the first word.
pub const REQUESTER: u64 = 0xffff;

bitflags! {
    /// Flags in the first word of events about an access. Not every event has every flag.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u64 {
        /// I: the access was an interrupt.
        const INTERRUPT = 1 << 51;
        /// PR: the page, or the entry of the interrupt table, was present.
        const PRESENT = 1 << 52;
        /// RW: the access was a write.
        const WRITE = 1 << 53;
        /// PE: the device lacked permission.
        const PERMISSION = 1 << 54;
        /// RZ: a reserved bit was set.
        const RESERVED = 1 << 55;
        /// TR: the device asked for a translation (ATS); RW says nothing.
        const TRANSLATION = 1 << 56;
    }
}

/// Lowest bit of Type of hardware errors, bits 58:57: 1 master abort, 2 target abort, 3 data error.
pub const HARDWARE_TYPE_SHIFT: u32 = 57;
/// Type of hardware errors.
pub const HARDWARE_TYPE_MASK: u64 = 0b11;
/// Lowest bit of Type of INVALID_DEVICE_REQUEST, bits 59:57.
pub const REQUEST_TYPE_SHIFT: u32 = 57;
/// Type of INVALID_DEVICE_REQUEST.
pub const REQUEST_TYPE_MASK: u64 = 0b111;
