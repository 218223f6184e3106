//! Entries of interrupt tables, 32 bits (section 2.2.5.1), and which addresses they are for.

use bitfield_struct::bitfield;

/// An entry. Entries of 128 bits (section 2.2.5.2, with GAEn) are not used: see `docs/architecture.md` for what they would be for.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Entry {
    /// RemapEn: the interrupt is raised; otherwise it is blocked.
    pub enabled: bool,
    /// SupIOPF: a blocked one is not logged.
    pub suppress_fault: bool,
    /// IntType: 0 fixed, 1 arbitrated.
    #[bits(3)]
    pub kind: u8,
    /// RqEoi.
    pub request_eoi: bool,
    /// DM: logical destination.
    pub logical: bool,
    /// GuestMode: zero.
    pub guest_mode: bool,
    /// Local APIC id.
    pub destination: u8,
    /// Vector.
    pub vector: u8,
    __: u8,
}

/// Bytes of an entry.
pub const ENTRY_BYTES: u64 = 4;
/// Bits of a message's data that are the number of its entry: all 11, where a table has 2048 of them.
pub const INDEX: u32 = 0x7ff;
/// The most entries of a table in every unit: IntTabLen 1001b. Larger tables are for units that say so, and take bits 10:8 of
/// the data from the delivery mode.
pub const MOST_LOG2: u32 = 9;

/// First address at which writes are interrupts (section 2.1.2, special address controls).
pub const FIRST_ADDRESS: u64 = 0xfee0_0000;
/// Last one.
pub const LAST_ADDRESS: u64 = 0xfeef_ffff;
/// First address of HyperTransport's own range, which is not memory (section 2.1.2, special address controls).
pub const HT_FIRST: u64 = 0xfd_0000_0000;
/// Last one.
pub const HT_LAST: u64 = 0xff_ffff_ffff;
