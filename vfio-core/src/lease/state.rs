//! The states of a cohort.

use core::fmt;

use crate::fault::Failure;
use crate::id::Owner;

/// Where a cohort is in its life. Waits happen in a state, not under a lock; who comes meanwhile is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CohortState {
    /// Every member is quiet and denied all memory.
    Quarantined,
    /// It is being opened for an owner.
    Opening(Owner),
    /// An owner holds its lease.
    Open(Owner),
    /// It is being taken back from an owner.
    Closing(Owner),
    /// A step failed and left hardware in a state that nobody knows. It stays so until the machine restarts.
    Broken(Failure),
}

impl fmt::Display for CohortState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarantined => f.write_str("in quarantine"),
            Self::Opening(owner) => write!(f, "being opened for {owner}"),
            Self::Open(owner) => write!(f, "open for {owner}"),
            Self::Closing(owner) => write!(f, "being closed for {owner}"),
            Self::Broken(failure) => write!(f, "out of service ({failure})"),
        }
    }
}
