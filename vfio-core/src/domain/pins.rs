//! Pages that software holds by their host address: an unmap must not take them away under it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{DmaError, IovaRange, RangeError, SMALLEST};
use crate::addr::{HostPhys, Iova};
use crate::mediated::MediatedId;

/// The most pages in one call, as VFIO's `vfio_pin_pages`; what is done under a lock is bounded by it.
pub const MOST_AT_ONCE: u64 = 512;

/// The most pinned pages of a domain, counted for each device, unless something else is said: 256 MiB.
pub const DEFAULT_PINNED: usize = 65_536;

/// Host memory that is pinned, in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedPiece {
    /// Where.
    pub host: HostPhys,
    /// Bytes, a multiple of [`SMALLEST`].
    pub size: u64,
}

/// Why pages were not pinned, or not unpinned. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// It is no range.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// It is not made of whole pages.
    #[error("{0} does not consist of whole pages of {SMALLEST:#x}")]
    Unaligned(IovaRange),
    /// Too many at once.
    #[error("{pages} pages are too many for one call; {MOST_AT_ONCE} may be pinned at a time")]
    TooLong {
        /// How many.
        pages: u64,
    },
    /// The domain's limit would be passed.
    #[error("{pinned} pages are pinned, and the domain's limit is {limit}; unpin some first")]
    Full {
        /// How many are.
        pinned: usize,
        /// How many may be.
        limit: usize,
    },
    /// It was pinned 2^32 - 1 times.
    #[error("the page at {0} is pinned too often")]
    TooOften(Iova),
    /// It is not mapped so that it could be pinned.
    #[error(transparent)]
    Dma(#[from] DmaError),
    /// It is being unmapped.
    #[error("{0} is being unmapped")]
    Unmapping(IovaRange),
    /// This device has not pinned it.
    #[error("the device has not pinned the page at {0}")]
    NotPinned(Iova),
}

/// How often each device has pinned each page: by device, so that an unmap finds whom it concerns without looking at pages.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    devices: BTreeMap<MediatedId, BTreeMap<Iova, u32>>,
    /// Pages, counted for each device.
    pinned: usize,
    limit: usize,
}

fn pages(range: IovaRange) -> impl Iterator<Item = Iova> {
    let count = (range.last().0 - range.first().0) / SMALLEST;
    (0..=count).map(move |page| Iova(range.first().0 + page * SMALLEST))
}

/// Checks what a device wants to pin or unpin.
pub(crate) fn check(start: Iova, size: u64) -> Result<IovaRange, PinError> {
    let range = IovaRange::new(start, size)?;
    if !(start.0 | size).is_multiple_of(SMALLEST) {
        return Err(PinError::Unaligned(range));
    }
    let pages = size / SMALLEST;
    if pages > MOST_AT_ONCE {
        return Err(PinError::TooLong { pages });
    }
    Ok(range)
}

impl Pins {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            devices: BTreeMap::new(),
            pinned: 0,
            limit,
        }
    }

    /// How many pages are pinned, counted for each device.
    pub(crate) const fn len(&self) -> usize {
        self.pinned
    }

    /// Counts one more for each page of a range that [`check`] let pass.
    pub(crate) fn pin(&mut self, device: MediatedId, range: IovaRange) -> Result<(), PinError> {
        let own = self.devices.entry(device).or_default();
        let mut new = 0;
        for page in pages(range) {
            match own.get(&page) {
                Some(&u32::MAX) => return Err(PinError::TooOften(page)),
                Some(_) => {}
                None => new += 1,
            }
        }
        if self.pinned.saturating_add(new) > self.limit {
            let (pinned, limit) = (self.pinned, self.limit);
            return Err(PinError::Full { pinned, limit });
        }
        for page in pages(range) {
            *own.entry(page).or_insert(0) += 1;
        }
        self.pinned += new;
        Ok(())
    }

    /// Counts one less for each page of a range that [`check`] let pass.
    pub(crate) fn unpin(&mut self, device: MediatedId, range: IovaRange) -> Result<(), PinError> {
        let own = self
            .devices
            .get_mut(&device)
            .ok_or(PinError::NotPinned(range.first()))?;
        if let Some(page) = pages(range).find(|page| !own.contains_key(page)) {
            return Err(PinError::NotPinned(page));
        }
        for page in pages(range) {
            if let Some(count) = own.get_mut(&page) {
                *count -= 1;
                if *count == 0 {
                    own.remove(&page);
                    self.pinned -= 1;
                }
            }
        }
        Ok(())
    }

    /// Forgets pins of a device in a range, however often it has pinned: [`MOST_AT_ONCE`] pages at most. Says whether there
    /// may be more.
    pub(crate) fn release(&mut self, device: MediatedId, range: IovaRange) -> bool {
        let Some(own) = self.devices.get_mut(&device) else {
            return false;
        };
        for _ in 0..MOST_AT_ONCE {
            let next = own.range(range.first()..=range.last()).next();
            let Some(page) = next.map(|(page, _)| *page) else {
                return false;
            };
            own.remove(&page);
            self.pinned -= 1;
        }
        true
    }

    /// Forgets a device that has pinned nothing any more.
    pub(crate) fn forget(&mut self, device: MediatedId) {
        if self.devices.get(&device).is_some_and(BTreeMap::is_empty) {
            self.devices.remove(&device);
        }
    }

    /// A device that has pinned pages in the range, and the first of them.
    pub(crate) fn first_in(&self, range: IovaRange) -> Option<(Iova, MediatedId)> {
        self.within(range).next()
    }

    /// Who has pinned pages in the range, each once.
    pub(crate) fn devices_in(&self, range: IovaRange) -> Vec<MediatedId> {
        self.within(range).map(|(_, device)| device).collect()
    }

    fn within(&self, range: IovaRange) -> impl Iterator<Item = (Iova, MediatedId)> {
        let first = move |own: &BTreeMap<Iova, u32>| {
            own.range(range.first()..=range.last())
                .next()
                .map(|(page, _)| *page)
        };
        let each = self.devices.iter();
        each.filter_map(move |(device, own)| Some((first(own)?, *device)))
    }
}
