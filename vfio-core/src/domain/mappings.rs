//! The mappings of a domain: what may be mapped and unmapped, by the rules of VFIO's type 1 IOMMU, version 2.
//!
//! Pure: no hardware, no locks. A `BTreeMap` by first address does all that disjoint ranges need, in O(log n): of the
//! mappings that begin at or before an address only the last can hold it. Libraries of range maps merge neighbours or
//! overwrite what is there; here both are errors.

use alloc::collections::BTreeMap;

use super::{Access, DmaError, IovaRange, Limits, MapError, Mapping, Misfit, RangeError, Split};
use crate::addr::{HostPhys, Iova};

/// The most mappings of a domain unless something else is said, as VFIO's `dma_entry_limit`.
pub const DEFAULT_LIMIT: usize = 65_535;

/// How many mappings and gaps are looked at to say in an error where there is room.
const NEARBY: usize = 64;

/// Disjoint mappings, with a limit to how many.
#[derive(Clone, Debug)]
pub struct Mappings {
    tree: BTreeMap<Iova, Entry>,
    limit: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    last: Iova,
    host: HostPhys,
    access: Access,
    /// An IOMMU failed to map or unmap it: perhaps it is mapped, perhaps not.
    poisoned: bool,
}

/// What an unmap removes: everything between two addresses, which splits nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a plan removes nothing"]
pub struct UnmapPlan(Option<IovaRange>);

impl UnmapPlan {
    /// From the first to the last byte that is mapped in the range; `None` if nothing is.
    #[must_use]
    pub const fn span(self) -> Option<IovaRange> {
        self.0
    }
}

impl Default for Mappings {
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

fn mapping((first, entry): (&Iova, &Entry)) -> Mapping {
    Mapping {
        iova: *first,
        host: entry.host,
        // One less than all there is: a mapping is made with a size of 64 bits.
        size: (entry.last.0 - first.0).saturating_add(1),
        access: entry.access,
    }
}

fn range((first, entry): (&Iova, &Entry)) -> Option<IovaRange> {
    IovaRange::inclusive(*first, entry.last)
}

impl Mappings {
    /// None yet, and `limit` at most.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            tree: BTreeMap::new(),
            limit,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// How many more there can be.
    #[must_use]
    pub fn left(&self) -> usize {
        self.limit.saturating_sub(self.tree.len())
    }

    /// All of them in order, poisoned ones too.
    pub fn iter(&self) -> impl Iterator<Item = Mapping> {
        self.tree.iter().map(mapping)
    }

    /// Whether `new` can be mapped, in the order of VFIO's checks, and where.
    ///
    /// # Errors
    /// [`MapError`].
    pub fn check(&self, new: &Mapping, limits: &Limits) -> Result<IovaRange, MapError> {
        if new.access.is_empty() {
            return Err(MapError::NoAccess(new.iova));
        }
        let range = new.range();
        if let Err(error @ RangeError::Empty(_)) = range {
            return Err(error.into());
        }
        let granule = limits.granule();
        if !(new.iova.0 | new.host.0 | new.size).is_multiple_of(granule) {
            let Mapping { iova, host, size, .. } = *new;
            return Err(MapError::Unaligned {
                iova,
                host,
                size,
                granule,
            });
        }
        let wanted = range?;
        if new.host.checked_add(new.size - 1).is_none() {
            return Err(MapError::HostWraps {
                host: new.host,
                size: new.size,
            });
        }
        if let Some(existing) = self.meets(wanted) {
            let free = self.free(wanted, limits);
            return Err(MapError::Overlap {
                wanted,
                existing,
                free,
            });
        }
        if self.tree.len() >= self.limit {
            return Err(MapError::Full { limit: self.limit });
        }
        if limits.home(wanted).is_some() {
            return Ok(wanted);
        }
        Err(match limits.reservation(wanted) {
            Some((requester, region)) => {
                let free = self.free(wanted, limits);
                MapError::Reserved {
                    wanted,
                    requester,
                    region,
                    free,
                }
            }
            None => MapError::NotAllowed {
                wanted,
                nearest: limits.nearest(wanted),
            },
        })
    }

    /// Maps `new`, if it can be.
    ///
    /// # Errors
    /// [`MapError`]; nothing was mapped.
    pub fn map(&mut self, new: Mapping, limits: &Limits) -> Result<(), MapError> {
        let wanted = self.check(&new, limits)?;
        self.insert(&new, wanted, false);
        Ok(())
    }

    /// Notes what [`check`](Self::check) has found to fit.
    pub(crate) fn insert(&mut self, new: &Mapping, at: IovaRange, poisoned: bool) {
        let Mapping { host, access, .. } = *new;
        let last = at.last();
        self.tree.insert(
            at.first(),
            Entry {
                last,
                host,
                access,
                poisoned,
            },
        );
    }

    /// What unmapping `range` removes. Holes are fine, and so is nothing at all.
    ///
    /// # Errors
    /// An edge of the range lies within a mapping.
    pub fn plan_unmap(&self, range: IovaRange) -> Result<UnmapPlan, Split> {
        let (first, last) = (range.first(), range.last());
        let Some((start, entry)) = self.tree.range(..=last).next_back() else {
            return Ok(UnmapPlan(None));
        };
        if entry.last < first {
            return Ok(UnmapPlan(None));
        }
        // Only the mapping that begins last can reach beyond the range. If it begins with the range, it is all there is.
        if entry.last > last || *start < first {
            return Err(self.split(range, (start, entry)));
        }
        if *start == first {
            return Ok(UnmapPlan(IovaRange::inclusive(first, entry.last)));
        }
        match self.tree.range(..first).next_back() {
            Some(before) if before.1.last >= first => Err(self.split(range, before)),
            _ => {
                let lowest = self
                    .tree
                    .range(first..)
                    .next()
                    .map_or(*start, |(lowest, _)| *lowest);
                Ok(UnmapPlan(IovaRange::inclusive(lowest, entry.last)))
            }
        }
    }

    /// The same for a start and a size that the caller was given.
    ///
    /// # Errors
    /// It is no range, its edges are no multiples of the granule, or one lies within a mapping.
    pub fn plan_unmap_at(&self, start: Iova, size: u64, limits: &Limits) -> Result<UnmapPlan, Split> {
        let range = IovaRange::new(start, size)?;
        let granule = limits.granule();
        if !(start.0 | size).is_multiple_of(granule) {
            return Err(Split::Unaligned { range, granule });
        }
        self.plan_unmap(range)
    }

    /// Removes what is in the plan, and says how many bytes that was.
    pub fn unmap(&mut self, mut plan: UnmapPlan) -> u64 {
        let mut bytes = 0u64;
        while plan.0.is_some() {
            bytes = bytes.saturating_add(self.unmap_some(&mut plan, usize::MAX));
        }
        bytes
    }

    /// Removes `most` mappings of the plan, which holds the others afterwards; says how many bytes that was.
    pub(crate) fn unmap_some(&mut self, plan: &mut UnmapPlan, most: usize) -> u64 {
        let Some(span) = plan.0.take() else { return 0 };
        let (mut bytes, mut removed) = (0u64, 0);
        let mut next = Some(span.first());
        while let Some(first) = next {
            if removed == most {
                *plan = UnmapPlan(IovaRange::inclusive(first, span.last()));
                break;
            }
            let Some(entry) = self.tree.remove(&first) else {
                break;
            };
            removed += 1;
            bytes = bytes.saturating_add((entry.last.0 - first.0).saturating_add(1));
            next = None;
            if entry.last < span.last() {
                next = self
                    .tree
                    .range(first..=span.last())
                    .next()
                    .map(|(first, _)| *first);
            }
        }
        bytes
    }

    /// Notes that nobody knows what of the plan is still mapped. It stays, so that nothing else is mapped there, until it
    /// is unmapped again.
    pub(crate) fn poison(&mut self, plan: UnmapPlan) {
        if let Some(span) = plan.0 {
            for (_, entry) in self.tree.range_mut(span.first()..=span.last()) {
                entry.poisoned = true;
            }
        }
    }

    /// The mapping at `iova`, unless it is poisoned.
    #[must_use]
    pub fn find(&self, iova: Iova) -> Option<Mapping> {
        self.at(iova).ok()
    }

    fn at(&self, iova: Iova) -> Result<Mapping, DmaError> {
        match self.tree.range(..=iova).next_back() {
            Some((_, entry)) if entry.last < iova => Err(DmaError::NotMapped(iova)),
            Some((_, entry)) if entry.poisoned => Err(DmaError::Poisoned(iova)),
            Some(found) => Ok(mapping(found)),
            None => Err(DmaError::NotMapped(iova)),
        }
    }

    /// The mappings that are not poisoned, from `iova` on: the first one and no more.
    pub(crate) fn next_from(&self, iova: Iova) -> Option<Mapping> {
        let mut from = self.tree.range(iova..);
        from.find(|(_, entry)| !entry.poisoned).map(mapping)
    }

    /// Where `len` bytes at `iova` begin in the host, and how many of them are there in one piece.
    ///
    /// # Errors
    /// Nothing is mapped there, or not with this access.
    pub fn piece(&self, iova: Iova, len: u64, wanted: Access) -> Result<(HostPhys, u64), DmaError> {
        let mapping = self.at(iova)?;
        if !mapping.access.contains(wanted) {
            return Err(DmaError::Denied {
                at: iova,
                mapping,
                wanted,
            });
        }
        let host = mapping.host_of(iova).ok_or(DmaError::NotMapped(iova))?;
        Ok((host, len.min(mapping.size - (iova.0 - mapping.iova.0))))
    }

    /// The first mapping that does not keep to `limits`. O(log n) for each gap and reserved region; all mappings are looked
    /// at only if the granule is larger than `granule`, which they kept to so far.
    pub(crate) fn misfit(&self, limits: &Limits, granule: u64) -> Option<Misfit> {
        for (requester, region) in limits.reserved().iter().copied() {
            if let Some(mapping) = self.meets(region.range) {
                return Some(Misfit::Reserved {
                    mapping,
                    requester,
                    region,
                });
            }
        }
        if let Some(mapping) = limits.gaps().find_map(|gap| self.meets(gap)) {
            return Some(Misfit::NotAllowed {
                mapping,
                nearest: limits.nearest(mapping),
            });
        }
        if limits.granule() <= granule {
            return None;
        }
        let granule = limits.granule();
        let odd = self
            .iter()
            .find(|own| !(own.iova.0 | own.host.0 | own.size).is_multiple_of(granule))?;
        let (mapping, host) = (odd.range().ok()?, odd.host);
        Some(Misfit::Granule {
            mapping,
            host,
            granule,
        })
    }

    /// The mapping that meets `wanted` and begins last.
    fn meets(&self, wanted: IovaRange) -> Option<IovaRange> {
        let found = self.tree.range(..=wanted.last()).next_back()?;
        range(found).filter(|existing| existing.last() >= wanted.first())
    }

    fn split(&self, range: IovaRange, (first, entry): (&Iova, &Entry)) -> Split {
        let within = |at: Iova| self.meets(IovaRange::inclusive(at, at)?);
        let low = within(range.first()).map_or(range.first(), IovaRange::first);
        let high = within(range.last()).map_or(range.last(), IovaRange::last);
        let mapping = IovaRange::inclusive(*first, entry.last).unwrap_or(range);
        let whole = IovaRange::inclusive(low, high).unwrap_or(range);
        Split::Mapping {
            range,
            mapping,
            whole,
        }
    }

    /// The first place from `wanted` on, going round once, where it would fit; looks at what is nearby only.
    fn free(&self, wanted: IovaRange, limits: &Limits) -> Option<Iova> {
        let size = wanted.bytes();
        let mut at = wanted.first();
        for _ in 0..NEARBY {
            let Ok(here) = IovaRange::new(at, size) else { break };
            let behind = match (limits.home(here), self.meets(here)) {
                (Some(_), None) => return Some(at),
                (_, Some(other)) => other.last(),
                (None, None) => limits.gaps().find(|gap| gap.meets(here))?.last(),
            };
            let granule = limits.granule();
            let next = behind
                .checked_add(1)
                .and_then(|next| next.0.checked_next_multiple_of(granule));
            let Some(next) = next else { break };
            at = Iova(next);
        }
        None
    }
}
