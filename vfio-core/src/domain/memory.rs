//! Host memory, for software that reaches it through a domain.

use crate::addr::HostPhys;
use crate::fault::Fault;

/// Copies from and to host memory. Guests and devices may change that memory at any time, so there is no reference to it.
///
/// A domain calls it with a lock held, for 4 KiB at most, and only for memory that it maps: it must not wait, and must not
/// call the domain.
pub trait HostMemory {
    /// Copies memory at `from` to `data`.
    ///
    /// # Errors
    /// The host has no such memory, or cannot reach it.
    fn read(&self, from: HostPhys, data: &mut [u8]) -> Result<(), Fault>;

    /// Copies `data` to memory at `to`.
    ///
    /// # Errors
    /// The host has no such memory, or cannot reach it.
    fn write(&self, to: HostPhys, data: &[u8]) -> Result<(), Fault>;
}

impl<M: HostMemory + ?Sized> HostMemory for &M {
    fn read(&self, from: HostPhys, data: &mut [u8]) -> Result<(), Fault> {
        (**self).read(from, data)
    }

    fn write(&self, to: HostPhys, data: &[u8]) -> Result<(), Fault> {
        (**self).write(to, data)
    }
}
