//! Registers of a unit (chapter 11): offsets and bits. All are memory-mapped, 32 or 64 bits, naturally aligned.

use bitfield_struct::bitfield;
use bitflags::bitflags;

/// Version (11.4.1).
pub const VERSION: u32 = 0x00;
/// Capability (11.4.2), 64 bits.
pub const CAPABILITY: u32 = 0x08;
/// Extended capability (11.4.3), 64 bits.
pub const EXTENDED: u32 = 0x10;
/// Global command (11.4.4.1), write only.
pub const COMMAND: u32 = 0x18;
/// Global status (11.4.4.2), read only.
pub const STATUS: u32 = 0x1c;
/// Root table address (11.4.5), 64 bits.
pub const ROOT_TABLE: u32 = 0x20;
/// Fault status (11.4.7.1), bits cleared by writing ones.
pub const FAULT_STATUS: u32 = 0x34;
/// Fault event control (11.4.7.2).
pub const FAULT_CONTROL: u32 = 0x38;
/// Fault event data (11.4.7.3).
pub const FAULT_DATA: u32 = 0x3c;
/// Fault event address (11.4.7.4).
pub const FAULT_ADDRESS: u32 = 0x40;
/// Fault event upper address (11.4.7.5).
pub const FAULT_UPPER: u32 = 0x44;
/// Protected memory enable (11.4.8.1).
pub const PROTECTED: u32 = 0x64;
/// Invalidation queue head (11.4.9.1), 64 bits, read only.
pub const QUEUE_HEAD: u32 = 0x80;
/// Invalidation queue tail (11.4.9.2), 64 bits.
pub const QUEUE_TAIL: u32 = 0x88;
/// Invalidation queue address (11.4.9.3), 64 bits.
pub const QUEUE_ADDRESS: u32 = 0x90;
/// Interrupt remapping table address (11.4.10), 64 bits.
pub const INTERRUPT_TABLE: u32 = 0xb8;

/// Capability register (11.4.2).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Capability {
    /// ND, n: domain ids have 4 + 2n bits; 7 is reserved.
    #[bits(3)]
    pub domains: u8,
    /// AFL: advanced fault logging.
    pub advanced_fault_log: bool,
    /// RWBF: writes to tables must be flushed out of write buffers by a command.
    pub write_buffer_flush: bool,
    /// PLMR: protected low memory region.
    pub protected_low: bool,
    /// PHMR: protected high memory region.
    pub protected_high: bool,
    /// CM: entries that are not present, or in error, are cached too.
    pub caching_mode: bool,
    /// SAGAW: bit 1 is 39 bits (3 levels), bit 2 48 (4), bit 3 57 (5).
    #[bits(5)]
    pub widths: u8,
    #[bits(3)]
    __: u8,
    /// MGAW: bits of the largest address that is translated, less one.
    #[bits(6)]
    pub address_bits: u8,
    /// ZLR: reads of no bytes from write-only pages are allowed.
    pub zero_length_read: bool,
    #[bits(1)]
    __: u8,
    /// FRO: offset of the fault recording registers, in 16 bytes.
    #[bits(10)]
    pub fault_offset: u16,
    /// SLLPS: bit 0 is pages of 2 MiB, bit 1 of 1 GiB.
    #[bits(4)]
    pub large_pages: u8,
    #[bits(1)]
    __: u8,
    /// PSI: invalidation by pages.
    pub page_selective: bool,
    /// NFR: fault recording registers, less one.
    pub fault_records: u8,
    /// MAMV: largest mask of an invalidation by pages.
    #[bits(6)]
    pub max_mask: u8,
    /// DWD: invalidations can drain writes.
    pub drain_writes: bool,
    /// DRD: invalidations can drain reads.
    pub drain_reads: bool,
    #[bits(8)]
    __: u8,
}

/// Extended capability register (11.4.3), as far as it is used.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Extended {
    /// C: walks of root, context and page tables, and reads of the interrupt remapping table, snoop caches.
    pub coherent: bool,
    /// QI: queued invalidation.
    pub queued_invalidation: bool,
    /// DT: device TLBs.
    pub device_tlb: bool,
    /// IR: interrupt remapping.
    pub interrupt_remapping: bool,
    /// EIM: destinations of 32 bits, for x2APIC.
    pub extended_interrupts: bool,
    #[bits(1)]
    __: u8,
    /// PT: pass-through.
    pub pass_through: bool,
    /// SC: pages can force snooping.
    pub snoop_control: bool,
    #[bits(12)]
    __: u16,
    /// MHMV: largest mask of an invalidation of interrupt entries.
    #[bits(4)]
    pub max_handle_mask: u8,
    #[bits(19)]
    __: u32,
    /// SMTS: scalable mode.
    pub scalable: bool,
    #[bits(20)]
    __: u32,
}

bitflags! {
    /// Bits of global command, and of global status where the name ends in status.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Global: u32 {
        /// CFI: interrupts in compatibility format pass.
        const COMPATIBILITY = 1 << 23;
        /// SIRTP: takes the interrupt remapping table from its register. One shot.
        const SET_INTERRUPT_TABLE = 1 << 24;
        /// IRE: interrupt remapping.
        const INTERRUPT_REMAPPING = 1 << 25;
        /// QIE: queued invalidation.
        const QUEUED_INVALIDATION = 1 << 26;
        /// WBF: flushes write buffers. One shot; status is set while it is under way.
        const WRITE_BUFFER_FLUSH = 1 << 27;
        /// EAFL: advanced fault logging.
        const ADVANCED_FAULT_LOG = 1 << 28;
        /// SFL: takes the fault log from its register. One shot.
        const SET_FAULT_LOG = 1 << 29;
        /// SRTP: takes the root table from its register. One shot.
        const SET_ROOT_TABLE = 1 << 30;
        /// TE: DMA remapping.
        const TRANSLATION = 1 << 31;
    }
}

impl Global {
    /// What a status says is on for good, to be repeated in the next command: all but the one-shot bits (11.4.4.1).
    pub const LASTING: Self = Self::from_bits_truncate(0x96ff_ffff);
}

/// Root table address register, bits 11:10: the mode of the tables (TTM). 0 is legacy.
pub const ROOT_MODE: u64 = 0b11 << 10;
/// Root table address register: the address.
pub const ROOT_ADDRESS: u64 = !0xfff;

bitflags! {
    /// Fault status register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FaultStatus: u32 {
        /// PFO: a fault was not recorded, because all records were in use.
        const OVERFLOW = 1 << 0;
        /// PPF: a record is in use. Read only.
        const PENDING = 1 << 1;
        /// AFO: the advanced fault log overflowed.
        const LOG_OVERFLOW = 1 << 2;
        /// APF: the advanced fault log has something.
        const LOG_PENDING = 1 << 3;
        /// IQE: the queue has a descriptor that makes no sense, or cannot be read. It stands still until this is cleared.
        const QUEUE_ERROR = 1 << 4;
        /// ICE: a device answered an invalidation that it was not sent.
        const COMPLETION_ERROR = 1 << 5;
        /// ITE: a device did not answer an invalidation in time.
        const TIME_OUT = 1 << 6;
    }
}

bitflags! {
    /// Fault event control register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FaultControl: u32 {
        /// IM: no message is sent.
        const MASKED = 1 << 31;
    }
}

bitflags! {
    /// Protected memory enable register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ProtectedMemory: u32 {
        /// PRS: the regions are protected now.
        const STATUS = 1 << 0;
        /// EPM: they are to be.
        const ENABLE = 1 << 31;
    }
}

/// Queue address register, bits 2:0: the queue has 2^n pages of 4 KiB, that is 256 descriptors of 128 bits each.
pub const QUEUE_SIZE_SHIFT: u32 = 0;
/// Queue head and tail registers: the index of a descriptor of 128 bits is from bit 4 on.
pub const QUEUE_INDEX_SHIFT: u32 = 4;

/// Interrupt table register, bits 3:0, n: the table has 2^(n+1) entries.
pub const INTERRUPT_SIZE_MASK: u64 = 0xf;
/// Interrupt table register, EIME: destinations have 32 bits.
pub const INTERRUPT_EXTENDED: u64 = 1 << 11;
