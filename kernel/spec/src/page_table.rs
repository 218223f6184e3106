//! Entries of 4-level page tables, the processor's own and nested ones (AMD64 Architecture Programmer's Manual,
//! volume 2, sections 5.3 and 15.25.5).

use bitflags::bitflags;

bitflags! {
    /// Bits of an entry beside the address.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Entry: u64 {
        /// The entry is used.
        const PRESENT = 1 << 0;
        /// Writes are allowed.
        const WRITABLE = 1 << 1;
        /// User accesses are allowed. Nested walks are user accesses (15.25.5).
        const USER = 1 << 2;
        /// Write-through; with [`NO_CACHE`](Self::NO_CACHE) PAT entry 3, uncacheable at reset.
        const WRITE_THROUGH = 1 << 3;
        /// Uncacheable.
        const NO_CACHE = 1 << 4;
        /// The hardware read through the entry.
        const ACCESSED = 1 << 5;
        /// The hardware wrote through the entry.
        const DIRTY = 1 << 6;
        /// A page at level 2 (2 MiB) or 3 (1 GiB), not a table.
        const LARGE = 1 << 7;
        /// Instruction fetches are refused.
        const NO_EXECUTE = 1 << 63;
    }
}

/// The address field: bits 51:12.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Entries of one table.
pub const ENTRIES: usize = 512;
/// Bytes of a table, and of the smallest page.
pub const PAGE: u64 = 4096;
/// Levels of a table in long mode.
pub const LEVELS: u8 = 4;
/// Bits of an address that 4 levels translate.
pub const ADDRESS_BITS: u32 = 48;

/// Bytes that one entry of `level` (1 to 4) covers.
#[must_use]
pub const fn span(level: u8) -> u64 {
    PAGE << (9 * (level as u32 - 1))
}
