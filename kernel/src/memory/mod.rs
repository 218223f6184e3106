//! Memory: the heap, the map of what is free, the hypervisor's own page tables and stacks.

pub mod regions;

#[cfg(target_os = "none")]
pub mod heap;
#[cfg(target_os = "none")]
pub mod paging;
#[cfg(target_os = "none")]
pub mod stack;
