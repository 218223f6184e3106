//! Fault recording registers, 128 bits each (section 11.4.7.6), and reasons (section 7.1.3, tables of fault conditions).

use bitfield_struct::bitfield;

/// Bytes of a register.
pub const BYTES: u32 = 16;

/// High half. The low half is the page of the address in bits 63:12, or the index of an interrupt entry in bits 63:48.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct High {
    /// SID: who tried.
    pub source: u16,
    #[bits(12)]
    __: u16,
    /// T2: bit 1 of the type: with T1 an atomic operation, else a page request.
    pub type2: bool,
    #[bits(3)]
    __: u8,
    /// FR: why.
    pub reason: u8,
    /// PV: the address space within the requester.
    #[bits(20)]
    pub pasid: u32,
    /// AT: what the request claimed of its address.
    #[bits(2)]
    pub address_type: u8,
    /// T1: a read; else a write.
    pub read: bool,
    /// F: the record is in use; writing 1 frees it.
    pub fault: bool,
}

/// Reasons.
pub mod reason {
    /// No root entry.
    pub const ROOT_NOT_PRESENT: u8 = 0x1;
    /// No context entry.
    pub const CONTEXT_NOT_PRESENT: u8 = 0x2;
    /// The context entry makes no sense.
    pub const CONTEXT_INVALID: u8 = 0x3;
    /// The address is beyond the width.
    pub const BEYOND_WIDTH: u8 = 0x4;
    /// No page allows writing.
    pub const WRITE: u8 = 0x5;
    /// No page allows reading.
    pub const READ: u8 = 0x6;
    /// First reason that concerns an interrupt.
    pub const FIRST_INTERRUPT: u8 = 0x20;
    /// The index is beyond the table.
    pub const INTERRUPT_BEYOND_TABLE: u8 = 0x21;
    /// The entry is not present.
    pub const INTERRUPT_NOT_PRESENT: u8 = 0x22;
    /// The message was in compatibility format.
    pub const INTERRUPT_COMPATIBILITY: u8 = 0x25;
    /// The entry is another requester's.
    pub const INTERRUPT_SOURCE: u8 = 0x26;
    /// Last reason that concerns an interrupt.
    pub const LAST_INTERRUPT: u8 = 0x2f;
}
