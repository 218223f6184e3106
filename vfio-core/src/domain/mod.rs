//! Domains: what memory devices reach, and at which addresses. Rules only; [`lease::Domain`](crate::lease::Domain) applies
//! them to hardware.

mod error;
mod limits;
mod mapping;
mod mappings;
mod memory;
mod pins;
mod range;
#[cfg(test)]
mod tests;

pub use error::{DmaError, MapError, Misfit, Split};
pub use limits::{Limits, ReservedKind, ReservedRegion, SMALLEST, UnitId, UnitLimits};
pub use mapping::{Access, Mapping};
pub use mappings::{DEFAULT_LIMIT, Mappings, UnmapPlan};
pub use memory::HostMemory;
pub use pins::{DEFAULT_PINNED, MOST_AT_ONCE, PinError, PinnedPiece};
pub(crate) use pins::{Pins, check as check_pin};
pub use range::{IovaRange, RangeError};
