//! Root and context entries of legacy mode (sections 9.1 and 9.3). A table of either kind has 4 KiB: 256 entries of
//! 128 bits, by bus, and by device and function.

use bitfield_struct::bitfield;
use bitflags::bitflags;

bitflags! {
    /// Low half of a root entry, beside the address; the high half is zero.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Root: u64 {
        /// P: there is a context table.
        const PRESENT = 1 << 0;
    }
}

bitflags! {
    /// Low half of a context entry, beside the address of the top table of pages. Without a translation type in bits 3:2 the unit
    /// translates, and blocks what claims to be translated already.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Low: u64 {
        /// P: the requester is in a domain.
        const PRESENT = 1 << 0;
        /// FPD: its faults are not recorded.
        const FAULTS_OFF = 1 << 1;
    }
}

/// The address in both, bits 63:12.
pub const ADDRESS: u64 = !0xfff;

/// High half of a context entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct High {
    /// AW: levels of the tables, less two.
    #[bits(3)]
    pub width: u8,
    #[bits(4)]
    pub available: u8,
    #[bits(1)]
    __: u8,
    /// DID: the domain by which translations are cached.
    pub domain: u16,
    #[bits(40)]
    __: u64,
}
