//! Interrupt remapping: table entries (section 9.10) and messages in remappable format (section 5.1.2.2).
//!
//! Posted interrupts (section 9.11) are another kind of entry: bit 15 of the low half is set, the vector is the guest's, and
//! instead of a destination there is the address of a descriptor (section 9.12). Cohort does not use them yet.

use bitfield_struct::bitfield;

/// Low half of an entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Low {
    /// P: the entry is used.
    pub present: bool,
    /// FPD: faults because of this entry are not recorded.
    pub faults_off: bool,
    /// DM: logical destination.
    pub logical: bool,
    /// RH: redirection hint.
    pub redirect: bool,
    /// TM: level-triggered.
    pub level: bool,
    /// DLM: delivery mode, as in `lapic::delivery`.
    #[bits(3)]
    pub delivery: u8,
    /// For software.
    #[bits(4)]
    pub available: u8,
    #[bits(3)]
    __: u8,
    /// IM: posted, not remapped.
    pub posted: bool,
    /// V: vector.
    pub vector: u8,
    __: u8,
    /// DST: a local APIC: 32 bits in x2APIC mode, else in bits 15:8.
    pub destination: u32,
}

/// High half of an entry: who may use it.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct High {
    /// SID: the requester.
    pub source: u16,
    /// SQ: function bits of the requester that do not count; 0: all count.
    #[bits(2)]
    pub qualifier: u8,
    /// SVT: 0 nobody is checked, 1 the requester as SID and SQ say, 2 its bus.
    #[bits(2)]
    pub validation: u8,
    #[bits(44)]
    __: u64,
}

/// [`High::validation`]: the requester is the one in SID, all 16 bits with SQ 0.
pub const VALIDATE_SOURCE: u8 = 1;

/// A message's address in remappable format; the data is zero.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MessageAddress {
    #[bits(2)]
    __: u8,
    /// Bit 15 of the handle.
    pub handle_high: bool,
    /// SHV: data counts as a part of the handle.
    pub subhandle: bool,
    /// 1: remappable.
    pub remappable: bool,
    /// Bits 14:0 of the handle, the index of the entry.
    #[bits(15)]
    pub handle: u16,
    /// 0xfee.
    #[bits(12)]
    pub window: u16,
}

/// Where writes are interrupts, first and last byte.
pub const WINDOW: (u64, u64) = (0xfee0_0000, 0xfeef_ffff);
/// [`MessageAddress::window`].
pub const WINDOW_PREFIX: u16 = 0xfee;
