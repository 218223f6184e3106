//! Second-level (second-stage) entries of VT-d (Intel Virtualization Technology for Directed I/O, revision 4.1, section
//! 9.8): 3, 4 or 5 levels for 39, 48 or 57 bits.

use bitflags::bitflags;

bitflags! {
    /// Bits of an entry beside the address. One that allows neither reading nor writing is not present.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Entry: u64 {
        /// R: reads are allowed.
        const READ = 1 << 0;
        /// W: writes are allowed.
        const WRITE = 1 << 1;
        /// PS: a page at level 2 (2 MiB) or 3 (1 GiB), not a table.
        const LARGE = 1 << 7;
        /// SNP: accesses through the page snoop caches whatever the device asks for.
        const SNOOP = 1 << 11;
    }
}

/// The address field: bits 51:12.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
