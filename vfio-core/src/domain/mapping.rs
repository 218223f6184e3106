//! The memory that a domain lets devices reach.

use crate::addr::{HostPhys, Iova};

bitflags::bitflags! {
    /// What devices may do to a region.
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

/// What is wrong with the regions of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// A mapping of no bytes, or that allows nothing.
    #[error("the mapping at {0} is empty")]
    Empty(Iova),
    /// A mapping that ends past the end of an address space.
    #[error("the mapping at {0} ends past the end of the address space")]
    TooLong(Iova),
    /// Two mappings that devices would see at the same address.
    #[error("the regions at {0} and {1} overlap")]
    Overlap(Iova, Iova),
}

impl Mapping {
    /// The last byte, as devices see it; `None` if it is empty or too long.
    #[must_use]
    pub const fn last(&self) -> Option<Iova> {
        match self.size.checked_sub(1) {
            Some(above) => self.iova.checked_add(above),
            None => None,
        }
    }
}

/// Checks that `regions`, which are in order of `iova`, can be one domain.
///
/// # Errors
/// [`MappingError`] names the first mapping that does not fit.
pub fn check_mappings(regions: &[Mapping]) -> Result<(), MappingError> {
    let mut before: Option<(Iova, Iova)> = None;
    for region in regions {
        let start = region.iova;
        if region.size == 0 || region.access.is_empty() {
            return Err(MappingError::Empty(start));
        }
        let fits = region
            .last()
            .filter(|_| region.host.checked_add(region.size - 1).is_some());
        let last = fits.ok_or(MappingError::TooLong(start))?;
        if let Some((other, _)) = before.filter(|(_, end)| *end >= start) {
            return Err(MappingError::Overlap(other, start));
        }
        before = Some((start, last));
    }
    Ok(())
}
