//! Why a command was not carried out.

use crate::Fault;
use crate::fsl_mc::spec::{CommandWord, Malformed, Refused};

/// Why a command was not carried out, or not known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PortalError {
    /// No answer within the bound. The command may still be carried out.
    #[error("command {command} was not answered within {milliseconds} ms")]
    NoAnswer {
        /// The command that was waiting.
        command: CommandWord,
        /// How long it waited.
        milliseconds: u64,
    },
    /// The registers read as all ones.
    #[error("the portal does not respond")]
    Gone,
    /// An earlier command was lost.
    #[error("the portal lost an earlier command and is out of use")]
    OutOfUse,
    /// The answer is to another command.
    #[error("the answer to command {sent} is to command {answered}")]
    Stale {
        /// What was sent.
        sent: CommandWord,
        /// What the answer is to.
        answered: CommandWord,
    },
    /// The complex said no.
    #[error("command {command} was refused: {why}")]
    Refused {
        /// The command.
        command: CommandWord,
        /// Why.
        why: Refused,
    },
    /// The answer makes no sense.
    #[error("the answer to command {command} makes no sense: {what}")]
    Malformed {
        /// The command.
        command: CommandWord,
        /// What is wrong with it.
        what: Malformed,
    },
    /// Somebody else's commands took too long.
    #[error("the portal is in use")]
    InUse,
}

impl PortalError {
    pub(super) const fn refused(command: CommandWord, why: Refused) -> Self {
        Self::Refused { command, why }
    }

    /// Whether nobody knows what became of the command and of the portal. The set whose command it was is then
    /// out of service.
    #[must_use]
    pub const fn unknown_state(&self) -> bool {
        matches!(
            self,
            Self::NoAnswer { .. } | Self::Gone | Self::OutOfUse | Self::Stale { .. }
        )
    }
}

impl From<PortalError> for Fault {
    fn from(error: PortalError) -> Self {
        match error {
            PortalError::NoAnswer { .. }
            | PortalError::OutOfUse
            | PortalError::Refused {
                why: Refused::TimedOut,
                ..
            } => Self::TimedOut,
            PortalError::Gone => Self::Gone,
            PortalError::InUse
            | PortalError::Refused {
                why: Refused::Busy, ..
            } => Self::Busy,
            PortalError::Refused {
                why: Refused::NoResource | Refused::NoMemory,
                ..
            } => Self::NoResources,
            PortalError::Stale { .. } | PortalError::Refused { .. } | PortalError::Malformed { .. } => {
                Self::Rejected
            }
        }
    }
}
