//! Memory: the heap, the map of what is free, the hypervisor's own page tables and stacks.

pub mod regions;
pub mod tables;
pub mod zero;

#[cfg(target_os = "none")]
pub mod frames;
#[cfg(target_os = "none")]
pub mod heap;
#[cfg(target_os = "none")]
pub mod paging;
#[cfg(target_os = "none")]
pub mod stack;

/// Bytes of host memory that the hypervisor holds for itself: its image, in which heap and stacks lie.
#[cfg(target_os = "none")]
#[must_use]
pub fn resident_bytes() -> u64 {
    let image = paging::image();
    image.end - image.start
}
