//! Commands (section 2.4): two words of 64 bits, the code in bits 63:60 of the first.

/// Lowest bit of the code.
pub const CODE_SHIFT: u32 = 60;

/// Codes.
pub mod code {
    /// COMPLETION_WAIT (2.4.1): what came before is done.
    pub const COMPLETION_WAIT: u64 = 1;
    /// INVALIDATE_DEVTAB_ENTRY (2.4.2): bits 15:0 the requester id.
    pub const INVALIDATE_DEVTAB_ENTRY: u64 = 2;
    /// INVALIDATE_IOMMU_PAGES (2.4.3): bits 47:32 the domain id; the second word the address.
    pub const INVALIDATE_IOMMU_PAGES: u64 = 3;
    /// INVALIDATE_IOTLB_PAGES (2.4.4).
    pub const INVALIDATE_IOTLB_PAGES: u64 = 4;
    /// INVALIDATE_INTERRUPT_TABLE (2.4.5): bits 15:0 the requester id.
    pub const INVALIDATE_INTERRUPT_TABLE: u64 = 5;
    /// INVALIDATE_IOMMU_ALL (2.4.8), where the unit has it.
    pub const INVALIDATE_IOMMU_ALL: u64 = 8;
}

/// COMPLETION_WAIT: the unit stores the second word at the address in bits 51:3 of the first.
pub const WAIT_STORE: u64 = 1 << 0;
/// COMPLETION_WAIT, F: no later command begins before the earlier ones are done.
pub const WAIT_FLUSH: u64 = 1 << 2;
/// COMPLETION_WAIT: the address.
pub const WAIT_ADDRESS: u64 = 0x000f_ffff_ffff_fff8;

/// Lowest bit of the domain id in the first word of INVALIDATE_IOMMU_PAGES.
pub const DOMAIN_SHIFT: u32 = 32;
/// INVALIDATE_IOMMU_PAGES, second word, S: more than one page. The lowest bit from 12 up that is 0 says how much: with bit 12
/// clear 8 KiB, with bit 12 set and 13 clear 16 KiB, and so on.
pub const PAGES_SIZE: u64 = 1 << 0;
/// INVALIDATE_IOMMU_PAGES, second word, PDE: links to tables are forgotten too.
pub const PAGES_DIRECTORY: u64 = 1 << 1;
/// The address of everything (table 2.4.3: bits 62:12 set, with S).
pub const PAGES_ALL: u64 = 0x7fff_ffff_ffff_f000;
