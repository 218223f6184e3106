//! Entries of AMD-Vi's own page tables (AMD I/O Virtualization Technology (IOMMU) Specification 48882, revision 3.07,
//! section 2.2.3): 1 to 6 levels. An entry says itself what it leads to.

use bitflags::bitflags;

bitflags! {
    /// Bits of an entry beside address and next level.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Entry: u64 {
        /// PR: the entry is used.
        const PRESENT = 1 << 0;
        /// FC: accesses through the page are coherent, whatever the device asks for.
        const FORCE_COHERENT = 1 << 60;
        /// IR: reads are allowed.
        const READ = 1 << 61;
        /// IW: writes are allowed.
        const WRITE = 1 << 62;
    }
}

/// The address field: bits 51:12.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Lowest bit of Next Level, bits 11:9: the level of the table that the entry points to; 0 where it is a page of the
/// size of its level. 7, a page whose size is in its address, is not used here.
pub const NEXT_LEVEL_SHIFT: u32 = 9;
/// Next Level.
pub const NEXT_LEVEL: u64 = 0b111 << NEXT_LEVEL_SHIFT;
