//! Where things are in a guest's physical address space.

use crate::addr::{GuestPhys, HostPhys};
use crate::virt::nested::Rights;

/// End of low RAM; nothing is RAM from here to [`HIGH_RAM`].
pub const LOW_RAM_END: u64 = 0xa_0000;
/// The read-only region with boot information and ACPI tables.
pub const ROM: u64 = 0xe_0000;
/// Bytes of the read-only region.
pub const ROM_SIZE: u64 = 0x2_0000;
/// Where RAM goes on.
pub const HIGH_RAM: u64 = 0x10_0000;
/// End of the window for base address registers, and so of RAM at most: where BARs begin.
pub const BAR_WINDOW: u64 = 0xc000_0000;
/// First address after that window.
pub const BAR_WINDOW_END: u64 = 0xe000_0000;
/// The window above 4 GiB, for 64-bit base address registers that the guest moves: 64 GiB that every processor's 40 bits of
/// physical address reach, and no RAM does.
pub const HIGH_BAR_WINDOW: u64 = 64 << 30;
/// First address after that window.
pub const HIGH_BAR_WINDOW_END: u64 = 128 << 30;
/// Configuration space of bus 0.
pub const ECAM: u64 = 0xe000_0000;
/// Bytes of it: one bus.
pub const ECAM_SIZE: u64 = 0x10_0000;
/// Least RAM of a guest.
pub const MIN_RAM: u64 = 2 << 20;

// Whatever a guest puts into a window for BARs lies over nothing else: RAM ends before the first one.
const _: () = assert!(BAR_WINDOW < BAR_WINDOW_END && BAR_WINDOW_END <= ECAM);
const _: () = assert!(HIGH_BAR_WINDOW >= 1 << 32 && HIGH_BAR_WINDOW_END <= 1 << 40);

/// A range of memory, in the guest and in the host. IOVA is the guest physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Start in the guest.
    pub gpa: GuestPhys,
    /// Start in the host.
    pub hpa: HostPhys,
    /// Bytes.
    pub size: u64,
    /// What processors may do with it; devices get the same right to write.
    pub rights: Rights,
}

/// The ranges of a guest whose memory is `size` bytes of the host from `hpa`: one host range, at the offsets of
/// the guest's addresses, with the hole left out and the read-only region in its place.
#[must_use]
pub fn memory_regions(hpa: HostPhys, size: u64) -> [MemoryRegion; 3] {
    let region = |start: u64, end: u64, rights| MemoryRegion {
        gpa: GuestPhys(start),
        hpa: HostPhys(hpa.0 + start),
        size: end - start,
        rights,
    };
    [
        region(0, LOW_RAM_END, Rights::RAM),
        region(ROM, ROM + ROM_SIZE, Rights::ROM),
        region(HIGH_RAM, size.max(HIGH_RAM), Rights::RAM),
    ]
}
