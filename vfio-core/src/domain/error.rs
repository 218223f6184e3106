//! Why something was not mapped, not unmapped, or not let in: each names what is in the way, and what would fit.

use super::{Access, IovaRange, Mapping, RangeError, ReservedRegion};
use crate::addr::{HostPhys, Iova};
use crate::id::Requester;

/// Why a mapping cannot be. Nothing was mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// It allows neither reading nor writing.
    #[error("the mapping at {0} allows nothing: say READ, WRITE or both")]
    NoAccess(Iova),
    /// It has no bytes, or goes past the end of the address space.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// The host's memory would go past the end of the address space.
    #[error("{size:#x} bytes of host memory at {host} go past the end of the address space")]
    HostWraps {
        /// Where in the host.
        host: HostPhys,
        /// Bytes.
        size: u64,
    },
    /// Address, host address or size is not a multiple of the granule.
    #[error("iova {iova}, host {host} and size {size:#x} must all be multiples of {granule:#x}")]
    Unaligned {
        /// Where devices would see it.
        iova: Iova,
        /// Where it is.
        host: HostPhys,
        /// Bytes.
        size: u64,
        /// What they must be multiples of.
        granule: u64,
    },
    /// Something is mapped there already, perhaps the same.
    #[error("{wanted} overlaps the mapping {existing}{}", FreeAt(*.free))]
    Overlap {
        /// What was to be mapped.
        wanted: IovaRange,
        /// The first mapping in the way.
        existing: IovaRange,
        /// Where as many bytes are free, if that is nearby.
        free: Option<Iova>,
    },
    /// The domain has as many mappings as it may have.
    #[error("the domain has {limit} mappings, which is its limit; unmap some, or map larger pieces")]
    Full {
        /// How many it may have.
        limit: usize,
    },
    /// A requester in the domain cannot use these addresses as memory.
    #[error("{wanted} meets the {region} of {requester}{}", FreeAt(*.free))]
    Reserved {
        /// What was to be mapped.
        wanted: IovaRange,
        /// Whose reservation.
        requester: Requester,
        /// The reservation.
        region: ReservedRegion,
        /// Where as many bytes are free, if that is nearby.
        free: Option<Iova>,
    },
    /// It is not inside one of the ranges that the units translate.
    #[error("{wanted} is not inside one of the allowed ranges{}", Nearest(*.nearest))]
    NotAllowed {
        /// What was to be mapped.
        wanted: IovaRange,
        /// The allowed range that it meets, or else one next to it; none if nothing is allowed.
        nearest: Option<IovaRange>,
    },
}

/// Why a range cannot be unmapped. Nothing was unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Split {
    /// It has no bytes, or goes past the end of the address space.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// Its address or size is not a multiple of the granule.
    #[error("{range} does not begin and end at multiples of {granule:#x}")]
    Unaligned {
        /// The range.
        range: IovaRange,
        /// What it must be multiples of.
        granule: u64,
    },
    /// It would cut a mapping in two.
    #[error("unmapping {range} would split the mapping {mapping}; unmap {whole} instead")]
    Mapping {
        /// The range.
        range: IovaRange,
        /// The mapping.
        mapping: IovaRange,
        /// The smallest range around it that splits none.
        whole: IovaRange,
    },
}

/// A mapping that does not fit what a new requester or its unit brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It lies where the requester has no memory.
    #[error("the mapping {mapping} meets the {region} of {requester}")]
    Reserved {
        /// The mapping.
        mapping: IovaRange,
        /// Whose reservation.
        requester: Requester,
        /// The reservation.
        region: ReservedRegion,
    },
    /// It is not inside one range that the unit translates.
    #[error("the mapping {mapping} is not inside one of the allowed ranges{}", Nearest(*.nearest))]
    NotAllowed {
        /// The mapping.
        mapping: IovaRange,
        /// The allowed range that it meets, or else one next to it; none if nothing is allowed.
        nearest: Option<IovaRange>,
    },
    /// It does not consist of the unit's pages.
    #[error("the mapping {mapping} to host {host} does not consist of whole pages of {granule:#x}")]
    Granule {
        /// The mapping.
        mapping: IovaRange,
        /// Where it is in the host.
        host: HostPhys,
        /// Bytes of a page.
        granule: u64,
    },
}

/// Why software cannot reach memory by an I/O virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DmaError {
    /// The access goes past the end of the address space.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// Nothing is mapped at an address of it.
    #[error("nothing is mapped at {0}")]
    NotMapped(Iova),
    /// The mapping there does not allow it.
    #[error("the mapping at {} allows {:?}, which does not include {wanted:?} at {at}", .mapping.iova, .mapping.access)]
    Denied {
        /// The first address that is denied.
        at: Iova,
        /// What is mapped there.
        mapping: Mapping,
        /// What was to be done.
        wanted: Access,
    },
    /// An IOMMU failed there, and nobody knows what is mapped.
    #[error("unmapping failed at {0} before, and what is mapped there is not known; unmap it again")]
    Poisoned(Iova),
    /// The host's memory could not be read or written.
    #[error("host memory at {at}: {fault}")]
    Host {
        /// Where.
        at: HostPhys,
        /// Why.
        fault: crate::Fault,
    },
}

struct FreeAt(Option<Iova>);

impl core::fmt::Display for FreeAt {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(free) => write!(f, "; as many bytes are free at {free}"),
            None => Ok(()),
        }
    }
}

struct Nearest(Option<IovaRange>);

impl core::fmt::Display for Nearest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(nearest) => write!(f, "; the nearest is {nearest}"),
            None => f.write_str(": there is none"),
        }
    }
}
