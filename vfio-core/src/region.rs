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

/// One contiguous piece of host memory as devices see it. One region is one mapping, however large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
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
pub enum RegionError {
    /// A region of no bytes, or that allows nothing.
    #[error("the region at {0} is empty")]
    Empty(Iova),
    /// A region that ends past the end of an address space.
    #[error("the region at {0} ends past the end of the address space")]
    TooLong(Iova),
    /// Two regions that devices would see at the same address.
    #[error("the regions at {0} and {1} overlap")]
    Overlap(Iova, Iova),
}

impl Region {
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
/// [`RegionError`] names the first region that does not fit.
pub fn check_regions(regions: &[Region]) -> Result<(), RegionError> {
    let mut before: Option<(Iova, Iova)> = None;
    for region in regions {
        let start = region.iova;
        if region.size == 0 || region.access.is_empty() {
            return Err(RegionError::Empty(start));
        }
        let fits = region
            .last()
            .filter(|_| region.host.checked_add(region.size - 1).is_some());
        let last = fits.ok_or(RegionError::TooLong(start))?;
        if let Some((other, _)) = before.filter(|(_, end)| *end >= start) {
            return Err(RegionError::Overlap(other, start));
        }
        before = Some((start, last));
    }
    Ok(())
}
