//! Entries of the device table (section 2.2.2.1): what one requester id may reach. Four words of 64 bits.

use bitflags::bitflags;

/// Bytes of an entry.
pub const ENTRY_BYTES: u64 = 32;
/// Words of an entry.
pub const WORDS: usize = 4;
/// Requester ids of a table of the largest size.
pub const MOST_ENTRIES: u32 = 0x1_0000;

bitflags! {
    /// Bits 63:0, beside the address of the page table and its levels.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Translation: u64 {
        /// V: the entry counts. Without it, accesses pass untranslated.
        const VALID = 1 << 0;
        /// TV: address and levels of the page table count.
        const TRANSLATION_VALID = 1 << 1;
        /// PPR.
        const PAGE_REQUESTS = 1 << 52;
        /// GV.
        const GUEST_VALID = 1 << 55;
        /// IR: reads are allowed, as far as the page table allows them.
        const READ = 1 << 61;
        /// IW: writes.
        const WRITE = 1 << 62;
    }
}

/// Lowest bit of Mode, bits 11:9: levels of the page table, 1 to 6; 0 is no translation.
pub const MODE_SHIFT: u32 = 9;
/// Mode.
pub const MODE_MASK: u64 = 0b111;
/// Host Page Table Root Pointer: bits 51:12.
pub const ROOT: u64 = 0x000f_ffff_ffff_f000;

bitflags! {
    /// Bits 127:64, beside the domain id in bits 15:0 of them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Domain: u64 {
        /// I: the device may keep translations (ATS).
        const REMOTE_IOTLB = 1 << 32;
        /// SE: page faults are not logged after the first.
        const SUPPRESS_REPEATED_FAULTS = 1 << 33;
        /// SA: page faults are not logged.
        const SUPPRESS_ALL_FAULTS = 1 << 34;
        /// IoCtl, bits 36:35: 0 blocks port accesses.
        const PORTS = 0b11 << 35;
        /// EX: the exclusion range passes untranslated.
        const EXCLUSION = 1 << 39;
    }
}

/// Lowest bit of SysMgt, bits 41:40 of the second word: 0 blocks system management messages.
pub const SYSTEM_MANAGEMENT_SHIFT: u32 = 40;
/// The domain id, bits 15:0 of the second word.
pub const DOMAIN_ID: u64 = 0xffff;

bitflags! {
    /// Bits 191:128, beside the address of the interrupt table and its length.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Interrupt: u64 {
        /// IV: the interrupt fields count. Without it, interrupts pass as they are.
        const VALID = 1 << 0;
        /// IG: interrupts without an entry are not logged.
        const IGNORE_UNMAPPED = 1 << 5;
        /// InitPass.
        const INIT = 1 << 56;
        /// EIntPass.
        const EXTERNAL_INTERRUPT = 1 << 57;
        /// NMIPass.
        const NMI = 1 << 58;
        /// IntCtl, bits 61:60, value 2: fixed and arbitrated interrupts go through the table. Value 0 blocks them, 1 lets them pass.
        const REMAPPED = 2 << 60;
        /// Lint0Pass.
        const LINT0 = 1 << 62;
        /// Lint1Pass.
        const LINT1 = 1 << 63;
    }
}

/// Lowest bit of IntTabLen, bits 4:1 of the third word: binary logarithm of the number of entries.
pub const INTERRUPT_LENGTH_SHIFT: u32 = 1;
/// Interrupt Table Root Pointer: bits 51:6 of the third word.
pub const INTERRUPT_ROOT: u64 = 0x000f_ffff_ffff_ffc0;
