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
    /// An owner holds its lease, and a device or a whole set of it is being reset for that owner.
    Resetting(Owner),
    /// It is being taken back from an owner.
    Closing(Owner),
    /// Its owner starts anew: it is in quarantine, or on its way there, and kept for the owner.
    Resting(Owner),
    /// A step failed and left hardware in a state that nobody knows. It stays so until it is
    /// [repaired](super::CohortTable::repair), or the machine restarts.
    Broken(Failure),
    /// It was out of service, and is being quieted, denied all memory and reset again.
    Repairing,
}

impl CohortState {
    /// Who has it, or is about to have it or to lose it.
    #[must_use]
    pub const fn holder(self) -> Option<Owner> {
        match self {
            Self::Opening(owner)
            | Self::Open(owner)
            | Self::Resetting(owner)
            | Self::Closing(owner)
            | Self::Resting(owner) => Some(owner),
            Self::Quarantined | Self::Broken(_) | Self::Repairing => None,
        }
    }

    /// Whether somebody works on it, so that it will soon be in another state.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        matches!(
            self,
            Self::Opening(_) | Self::Resetting(_) | Self::Closing(_) | Self::Repairing
        )
    }
}

impl fmt::Display for CohortState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarantined => f.write_str("in quarantine"),
            Self::Opening(owner) => write!(f, "being opened for {owner}"),
            Self::Open(owner) => write!(f, "open for {owner}"),
            Self::Resetting(owner) => write!(f, "being reset for {owner}"),
            Self::Closing(owner) => write!(f, "being closed for {owner}"),
            Self::Resting(owner) => write!(f, "kept for {owner}, which starts anew"),
            Self::Broken(failure) => write!(f, "out of service ({failure})"),
            Self::Repairing => f.write_str("being repaired"),
        }
    }
}
