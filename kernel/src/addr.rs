//! A type for each address space, so that none can pass for another.
//!
//! I/O virtual addresses and host physical ones have theirs in `vfio-core`, which speaks of both; a guest's
//! physical addresses exist only here. Guest physical address = IOVA for RAM, and [`GuestPhys::iova`] is the
//! one place that says so.

use core::fmt;

pub use vfio_core::addr::{HostPhys, Iova};

/// A guest physical address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPhys(pub u64);

impl GuestPhys {
    /// The I/O virtual address at which a device of the guest finds the same byte.
    #[must_use]
    pub const fn iova(self) -> Iova {
        Iova(self.0)
    }

    /// The address `bytes` further on, or `None` past the end of the address space.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }
}

impl fmt::Debug for GuestPhys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guest {:#x}", self.0)
    }
}

impl fmt::Display for GuestPhys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
