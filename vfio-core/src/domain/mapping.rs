//! One piece of memory that a domain lets devices reach.

use super::{IovaRange, RangeError};
use crate::addr::{HostPhys, Iova};

bitflags::bitflags! {
    /// What devices may do to memory.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Access: u8 {
        /// Read from memory.
        const READ = 1 << 0;
        /// Write to memory.
        const WRITE = 1 << 1;
    }
}

/// One contiguous piece of host memory as devices see it, however large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where devices see it.
    pub iova: Iova,
    /// Where it is.
    pub host: HostPhys,
    /// Bytes, at least 1.
    pub size: u64,
    /// What devices may do.
    pub access: Access,
}

impl Mapping {
    /// The last byte, as devices see it; `None` if it is empty or too long.
    #[must_use]
    pub const fn last(&self) -> Option<Iova> {
        match self.range() {
            Ok(range) => Some(range.last()),
            Err(_) => None,
        }
    }

    /// The addresses at which devices see it.
    ///
    /// # Errors
    /// It is empty, or goes past the end of the address space.
    pub const fn range(&self) -> Result<IovaRange, RangeError> {
        IovaRange::new(self.iova, self.size)
    }

    /// Where the byte is in the host that devices see at `iova`; `None` outside.
    #[must_use]
    pub const fn host_of(&self, iova: Iova) -> Option<HostPhys> {
        match iova.0.checked_sub(self.iova.0) {
            Some(offset) if offset < self.size => self.host.checked_add(offset),
            _ => None,
        }
    }
}
