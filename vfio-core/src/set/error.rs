//! Why a set did not do what it was asked for.

use super::{OpenToken, SetPhase};
use crate::fault::Fault;
use crate::id::{DeviceId, Owner};

/// Why a device was not opened. Everything is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The device is not registered here, or is being unregistered.
    #[error("{0} is being unregistered")]
    Unregistering(DeviceId),
    /// Another open or close is running in the set.
    #[error("{0} is being opened or closed, which is in the same set")]
    Busy(DeviceId),
    /// The set, or a device in it, is being reset.
    #[error("the set is being reset")]
    Resetting,
    /// Somebody else has members of the set open.
    #[error("the set belongs to {0}")]
    OwnedByAnother(Owner),
    /// A close failed in this set earlier.
    #[error("the set is out of service since closing {0} failed: {1}")]
    Broken(DeviceId, Fault),
    /// There cannot be that many opens.
    #[error("too many opens")]
    TooMany,
    /// The first open failed.
    #[error("opening the device failed: {0}")]
    Failed(Fault),
}

impl OpenError {
    /// Whether it may be otherwise a moment later.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Busy(_) | Self::Resetting)
    }
}

/// Why a device was not closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// Another open or close, or a reset, is running in the set; here is the token, to try again.
    #[error("the set is busy ({0})")]
    Busy(SetPhase, OpenToken),
    /// The last close failed. The device counts as closed, and the set is out of service.
    #[error("closing the device failed: {0}")]
    Failed(Fault),
}

/// Why nothing was reset, or not with success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    /// An open, a close, or another reset is running in the set. Nothing was done.
    #[error("the set is busy ({0})")]
    Busy(SetPhase),
    /// Somebody else has members of the set open. Nothing was done.
    #[error("the set belongs to {0}")]
    OwnedByAnother(Owner),
    /// A device is no member of the set. Nothing was done.
    #[error("{0} is not in the set")]
    NotMember(DeviceId),
    /// The reset did not work; its devices need one still.
    #[error("the reset failed: {0}")]
    Failed(Fault),
}
