//! What can go wrong in the life of a function.

use super::{HotResetError, NoScope, NoSetReset, PowerError};
use crate::fault::Fault;
use crate::pci::Bdf;
use crate::pci::reset::ResetError;

/// Why something was not done to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FunctionError {
    /// There is no such function.
    #[error("there is no function {0}")]
    Unknown(Bdf),
    /// Somebody is working on it: it is being opened, closed or reset. Nothing was done.
    #[error("{0} is being opened, closed or reset")]
    Busy(Bdf),
    /// It is open already.
    #[error("{0} is enabled already")]
    Enabled(Bdf),
    /// It is not open.
    #[error("{0} is not enabled")]
    NotEnabled(Bdf),
    /// It has no reset of its own, or none that works.
    #[error("{0} has no reset of its own that works; a reset of its whole set may")]
    NoReset(Bdf),
    /// It does not stop mastering the bus.
    #[error("{0} does not stop mastering the bus")]
    KeepsMastering(Bdf),
    /// Its MSI-X table is not where discovery found it.
    #[error("{0} has moved its MSI-X table")]
    MsixMoved(Bdf),
    /// Its registers could not be taken from its owner, and nothing was done.
    #[error("the registers of {function} could not be taken from its owner: {fault}")]
    Exposed {
        /// Which.
        function: Bdf,
        /// Why.
        fault: Fault,
    },
    /// It does not go to the power state.
    #[error(transparent)]
    Power(#[from] PowerError),
    /// It is not there, is not itself, or its reset did not work.
    #[error(transparent)]
    Reset(#[from] ResetError),
    /// No bridge resets it.
    #[error(transparent)]
    NoScope(#[from] NoScope),
    /// Its set is not reset.
    #[error(transparent)]
    NoSetReset(#[from] NoSetReset),
    /// The hot reset did not happen.
    #[error(transparent)]
    HotReset(#[from] HotResetError),
}

impl From<FunctionError> for Fault {
    fn from(error: FunctionError) -> Self {
        match error {
            FunctionError::Unknown(_)
            | FunctionError::NoReset(_)
            | FunctionError::NotEnabled(_)
            | FunctionError::NoScope(_) => Self::Unknown,
            FunctionError::Busy(_) | FunctionError::Enabled(_) => Self::Busy,
            FunctionError::KeepsMastering(_)
            | FunctionError::MsixMoved(_)
            | FunctionError::NoSetReset(_)
            | FunctionError::HotReset(HotResetError::Refused(_)) => Self::Rejected,
            FunctionError::Exposed { fault, .. }
            | FunctionError::HotReset(HotResetError::Exposed { fault, .. }) => fault,
            FunctionError::Power(error) | FunctionError::HotReset(HotResetError::Power(error)) => {
                error.into()
            }
            FunctionError::Reset(error) | FunctionError::HotReset(HotResetError::Reset(error)) => {
                error.into()
            }
            FunctionError::HotReset(HotResetError::Busy(_)) => Self::Busy,
        }
    }
}
