//! Descriptors of the invalidation queue, 128 bits each (section 6.5.2).

use bitfield_struct::bitfield;

/// Types, in bits 3:0.
pub mod kind {
    /// Context cache (6.5.2.1).
    pub const CONTEXT: u8 = 1;
    /// IOTLB (6.5.2.3).
    pub const IOTLB: u8 = 2;
    /// Interrupt entry cache (6.5.2.7).
    pub const INTERRUPT: u8 = 4;
    /// Wait (6.5.2.8).
    pub const WAIT: u8 = 5;
}

/// Granularities of [`Context`] and [`Iotlb`], in bits 5:4.
pub mod granularity {
    /// Everything.
    pub const GLOBAL: u8 = 1;
    /// One domain.
    pub const DOMAIN: u8 = 2;
    /// Context cache: one requester; IOTLB: pages of a domain.
    pub const SELECTIVE: u8 = 3;
}

/// Context-cache invalidation, low half; the high half is zero.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Context {
    /// [`kind::CONTEXT`].
    #[bits(4)]
    pub kind: u8,
    /// [`granularity`].
    #[bits(2)]
    pub granularity: u8,
    #[bits(10)]
    __: u16,
    /// DID: under which domain the entry is cached.
    pub domain: u16,
    /// SID: the requester.
    pub source: u16,
    /// FM: bits of the function number that do not count.
    #[bits(2)]
    pub function_mask: u8,
    #[bits(14)]
    __: u16,
}

/// IOTLB invalidation, low half.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Iotlb {
    /// [`kind::IOTLB`].
    #[bits(4)]
    pub kind: u8,
    /// [`granularity`].
    #[bits(2)]
    pub granularity: u8,
    /// DW: writes that were translated before are done when it completes.
    pub drain_writes: bool,
    /// DR: the same for reads.
    pub drain_reads: bool,
    #[bits(8)]
    __: u8,
    /// DID: which domain.
    pub domain: u16,
    #[bits(32)]
    __: u32,
}

/// IOTLB invalidation, high half, of pages: bits 63:12 are the address.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct IotlbPages {
    /// AM, n: 2^n pages of 4 KiB, aligned to as much.
    #[bits(6)]
    pub mask: u8,
    /// IH: only entries that are pages have changed, not what leads there.
    pub leaves_only: bool,
    #[bits(5)]
    __: u8,
    /// Page frame number.
    #[bits(52)]
    pub frame: u64,
}

/// Interrupt entry cache invalidation, low half; the high half is zero.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Interrupt {
    /// [`kind::INTERRUPT`].
    #[bits(4)]
    pub kind: u8,
    /// G: 0 is everything, 1 the entries from `index` on.
    pub selective: bool,
    #[bits(22)]
    __: u32,
    /// IM, n: 2^n entries.
    #[bits(5)]
    pub mask: u8,
    /// IIDX: the first.
    pub index: u16,
    #[bits(16)]
    __: u16,
}

/// Wait, low half. The high half is the host physical address, a multiple of 4, that the status is written to.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Wait {
    /// [`kind::WAIT`].
    #[bits(4)]
    pub kind: u8,
    /// IF: raise the invalidation event.
    pub interrupt: bool,
    /// SW: write the status.
    pub write: bool,
    /// FN: what follows waits, too.
    pub fence: bool,
    #[bits(25)]
    __: u32,
    /// What to write.
    pub status: u32,
}
