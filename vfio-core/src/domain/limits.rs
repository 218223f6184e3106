//! What mappings of a domain must keep to: the pages and apertures of the units that translate for it, and what its
//! requesters cannot use as memory.

use alloc::vec::Vec;
use core::fmt;

use super::IovaRange;
use crate::addr::Iova;
use crate::id::Requester;

/// An IOMMU unit, as the platform numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub u32);

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IOMMU {}", self.0)
    }
}

/// What one unit can map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitLimits {
    /// Bit n is set if the unit has pages of 2^n bytes. 0 is a unit that can map nothing.
    pub page_sizes: u64,
    /// What it translates: in order, without overlaps.
    pub apertures: Vec<IovaRange>,
}

impl UnitLimits {
    /// A unit that translates every address, with pages of 4 KiB and everything above.
    #[must_use]
    pub fn any() -> Self {
        Self {
            page_sizes: !(SMALLEST - 1),
            apertures: Vec::from([IovaRange::ALL]),
        }
    }

    /// Bytes of its smallest page; `None` if it has none.
    #[must_use]
    pub const fn granule(&self) -> Option<u64> {
        1u64.checked_shl(self.page_sizes.trailing_zeros())
    }
}

/// Every mapping consists of whole pages of this many bytes, however small a unit's pages are: hosts hand out no less,
/// and what software pins is counted in them.
pub const SMALLEST: u64 = 4096;

/// What a reserved region is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReservedKind {
    /// Accesses have no defined effect, or one that is no memory's.
    Reserved,
    /// Writes are interrupts, which the unit does not translate.
    Msi,
}

/// A range that a requester cannot use as memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReservedRegion {
    /// What for.
    pub kind: ReservedKind,
    /// Where.
    pub range: IovaRange,
}

impl fmt::Display for ReservedRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ReservedKind::Reserved => "reserved",
            ReservedKind::Msi => "interrupt",
        };
        write!(f, "{kind} region {}", self.range)
    }
}

/// The limits of all units and requesters of a domain, together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    granule: u64,
    /// In order, apart from one another by at least one address that is not allowed.
    allowed: Vec<IovaRange>,
    reserved: Vec<(Requester, ReservedRegion)>,
}

impl Default for Limits {
    /// No unit, no requester: everything is allowed, in pages of [`SMALLEST`].
    fn default() -> Self {
        Self {
            granule: SMALLEST,
            allowed: Vec::from([IovaRange::ALL]),
            reserved: Vec::new(),
        }
    }
}

impl Limits {
    /// Adds a unit. The granule becomes the largest of the units' smallest pages: a multiple of it is a multiple of
    /// every unit's, so that each can map it, if need be with more and smaller pages than another. (VFIO takes the
    /// smallest page that all have, and so has none for units that have only 4 KiB and only 64 KiB.)
    pub(crate) fn add_unit(&mut self, unit: &UnitLimits) {
        match unit.granule() {
            Some(granule) => self.granule = self.granule.max(granule),
            None => self.allowed.clear(),
        }
        let both = |own: &IovaRange| {
            unit.apertures
                .iter()
                .filter_map(|other| own.and(*other))
                .collect()
        };
        self.allowed = self
            .allowed
            .iter()
            .flat_map(|own| -> Vec<IovaRange> { both(own) })
            .collect();
        self.allowed.sort_unstable();
        join(&mut self.allowed);
    }

    /// Adds a requester's reserved region.
    pub(crate) fn add_reserved(&mut self, requester: Requester, region: ReservedRegion) {
        self.reserved.push((requester, region));
        self.allowed = self
            .allowed
            .iter()
            .flat_map(|own| own.without(region.range))
            .flatten()
            .collect();
    }

    /// Bytes that addresses and sizes must be multiples of; a power of two, at least [`SMALLEST`].
    #[must_use]
    pub const fn granule(&self) -> u64 {
        self.granule
    }

    /// Where mappings may be, each inside one of them: apertures without what is reserved, in order.
    #[must_use]
    pub fn allowed(&self) -> &[IovaRange] {
        &self.allowed
    }

    /// The reserved regions, each with whose it is.
    #[must_use]
    pub fn reserved(&self) -> &[(Requester, ReservedRegion)] {
        &self.reserved
    }

    /// The allowed range that all of `range` is in.
    pub(super) fn home(&self, range: IovaRange) -> Option<IovaRange> {
        let at = self
            .allowed
            .partition_point(|allowed| allowed.last() < range.first());
        self.allowed
            .get(at)
            .copied()
            .filter(|allowed| allowed.holds(range))
    }

    /// The reserved region that `range` meets.
    pub(super) fn reservation(&self, range: IovaRange) -> Option<(Requester, ReservedRegion)> {
        let mut all = self.reserved.iter().copied();
        all.find(|(_, region)| region.range.meets(range))
    }

    /// What lies between the allowed ranges, before the first and behind the last.
    pub(super) fn gaps(&self) -> impl Iterator<Item = IovaRange> {
        let starts =
            core::iter::once(Some(Iova(0))).chain(self.allowed.iter().map(|own| own.last().checked_add(1)));
        let before = |own: &IovaRange| own.first().0.checked_sub(1).map(Iova);
        let ends = self
            .allowed
            .iter()
            .map(before)
            .chain(core::iter::once(Some(Iova(u64::MAX))));
        let gap = |(start, end): (Option<Iova>, Option<Iova>)| IovaRange::inclusive(start?, end?);
        starts.zip(ends).filter_map(gap)
    }

    /// The allowed range nearest to `range`: one that it meets, else the next one, else the last.
    pub(super) fn nearest(&self, range: IovaRange) -> Option<IovaRange> {
        let at = self
            .allowed
            .partition_point(|allowed| allowed.last() < range.first());
        self.allowed.get(at).or(self.allowed.last()).copied()
    }
}

/// Makes one range of those that touch or overlap; `ranges` are in order of their first address.
fn join(ranges: &mut Vec<IovaRange>) {
    ranges.dedup_by(|next, before| {
        let apart = before.last().checked_add(1).is_some_and(|end| end < next.first());
        if !apart && let Some(both) = IovaRange::inclusive(before.first(), before.last().max(next.last())) {
            *before = both;
        }
        !apart
    });
}
