//! Registers in memory (section 3.4). All are 64 bits wide, and named by their offset as in the manual.

use bitflags::bitflags;

/// Bytes of registers that every unit has.
pub const BYTES: u64 = 0x4000;

/// Device Table Base Address: bits 51:12 the address, bits 8:0 the number of 4-KiB pages less one.
pub const DEVICE_TABLE_BASE: u16 = 0x0000;
/// Command Buffer Base Address: bits 51:12 the address, bits 59:56 the length, see [`LENGTH_SHIFT`]. Writing it makes head and tail 0.
pub const COMMAND_BASE: u16 = 0x0008;
/// Event Log Base Address, as the command buffer's.
pub const EVENT_BASE: u16 = 0x0010;
/// Control, [`Control`].
pub const CONTROL: u16 = 0x0018;
/// Exclusion Range Base: bit 0 enables the range, bit 1 lets all devices use it.
pub const EXCLUSION_BASE: u16 = 0x0020;
/// Exclusion Range Limit.
pub const EXCLUSION_LIMIT: u16 = 0x0028;
/// Extended Feature, [`Features`].
pub const EXTENDED_FEATURES: u16 = 0x0030;
/// Command Buffer Head: bits 18:4, bytes from the base of the command that the unit reads next.
pub const COMMAND_HEAD: u16 = 0x2000;
/// Command Buffer Tail: bytes from the base of the place that software writes next.
pub const COMMAND_TAIL: u16 = 0x2008;
/// Event Log Head: bytes from the base of the event that software reads next.
pub const EVENT_HEAD: u16 = 0x2010;
/// Event Log Tail: bytes from the base of the place that the unit writes next.
pub const EVENT_TAIL: u16 = 0x2018;
/// Status, [`Status`].
pub const STATUS: u16 = 0x2020;

/// The address field of base registers: bits 51:12.
pub const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Lowest bit of ComLen and EventLen: the binary logarithm of the number of entries, at least [`LENGTH_LEAST`].
pub const LENGTH_SHIFT: u32 = 56;
/// 256 entries, which is one page.
pub const LENGTH_LEAST: u64 = 8;
/// Bytes of a command and of an event.
pub const ENTRY_BYTES: u64 = 16;
/// Bits of a head or tail that count.
pub const POINTER: u64 = 0x7_fff0;
/// Bits 8:0 of the device table's base: pages less one.
pub const TABLE_SIZE: u64 = 0x1ff;

bitflags! {
    /// Control (offset 0018h).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Control: u64 {
        /// IommuEn: without it, accesses pass untranslated.
        const ENABLE = 1 << 0;
        /// HtTunEn.
        const HT_TUNNEL = 1 << 1;
        /// EventLogEn.
        const EVENT_LOG = 1 << 2;
        /// EventIntEn.
        const EVENT_INTERRUPT = 1 << 3;
        /// ComWaitIntEn.
        const COMPLETION_INTERRUPT = 1 << 4;
        /// InvTimeOut, bits 7:5: 4 is 1 second.
        const INVALIDATION_TIMEOUT_1_S = 4 << 5;
        /// PassPW.
        const PASS_POSTED = 1 << 8;
        /// ResPassPW.
        const RESPONSE_PASS_POSTED = 1 << 9;
        /// Coherent: the unit's own reads of tables snoop caches.
        const COHERENT = 1 << 10;
        /// Isoc.
        const ISOCHRONOUS = 1 << 11;
        /// CmdBufEn.
        const COMMAND_BUFFER = 1 << 12;
        /// PPRLogEn.
        const PAGE_REQUEST_LOG = 1 << 13;
        /// PPREn.
        const PAGE_REQUESTS = 1 << 15;
        /// GTEn: guest page tables.
        const GUEST_TRANSLATION = 1 << 16;
        /// GAEn: interrupt entries have 128 bits.
        const GUEST_APIC = 1 << 17;
        /// DevTblSegEn, bits 36:34: the device table is in several pieces.
        const TABLE_SEGMENTS = 0b111 << 34;
        /// MarcEn: ranges of addresses pass by registers of their own.
        const ADDRESS_ROUTING = 1 << 40;
        /// XTEn: interrupt entries have APIC ids of 32 bits.
        const X2APIC = 1 << 50;
    }
}

bitflags! {
    /// Extended features (offset 0030h).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// PreFSup.
        const PREFETCH = 1 << 0;
        /// PPRSup.
        const PAGE_REQUESTS = 1 << 1;
        /// XTSup: local APIC ids of 32 bits, in entries of 128 bits.
        const X2APIC = 1 << 2;
        /// GTSup.
        const GUEST_TRANSLATION = 1 << 4;
        /// IASup: INVALIDATE_IOMMU_ALL is there.
        const INVALIDATE_ALL = 1 << 6;
        /// GASup: interrupt entries of 128 bits are there.
        const GUEST_APIC = 1 << 7;
        /// HESup: hardware error registers are there.
        const HARDWARE_ERROR = 1 << 8;
        /// PCSup: counters are there.
        const COUNTERS = 1 << 9;
        /// SNPSup.
        const SECURE_NESTED_PAGING = 1 << 63;
    }
}

/// Lowest bit of HATS, bits 11:10 of the extended features: levels of page tables, less 4.
pub const LEVELS_SHIFT: u32 = 10;
/// HATS; 3 is reserved.
pub const LEVELS_MASK: u64 = 0b11;
/// Levels that every unit has.
pub const LEVELS_LEAST: u8 = 4;

bitflags! {
    /// Status (offset 2020h). Bits that are no "running" are cleared by writing 1.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status: u64 {
        /// EventOverflow: events were lost, and the log has stopped.
        const EVENT_OVERFLOW = 1 << 0;
        /// EventLogInt.
        const EVENT_INTERRUPT = 1 << 1;
        /// ComWaitInt.
        const COMPLETION_INTERRUPT = 1 << 2;
        /// EventLogRun; read only.
        const EVENT_LOG_RUNS = 1 << 3;
        /// CmdBufRun; read only. The unit stops at a command that it cannot carry out.
        const COMMAND_BUFFER_RUNS = 1 << 4;
    }
}
