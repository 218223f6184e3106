//! What can go wrong with a VT-d unit, by whose fault it is: the caller's, or a unit that does not keep to the specification.

use core::fmt;
use vfio_core::Fault;

use crate::memory::tables::TableError;

/// What the unit was told through its command register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// To stop what firmware had it do.
    Stop,
    /// To take a root table.
    RootTable,
    /// To take an interrupt remapping table.
    InterruptTable,
    /// To work on the invalidation queue.
    Queue,
    /// To remap interrupts.
    Interrupts,
    /// To translate.
    Translation,
    /// To flush its write buffers.
    WriteBuffers,
    /// To protect no memory by range.
    ProtectedMemory,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "stopping what firmware left on",
            Self::RootTable => "taking the root table",
            Self::InterruptTable => "taking the interrupt remapping table",
            Self::Queue => "turning queued invalidation on",
            Self::Interrupts => "turning interrupt remapping on",
            Self::Translation => "turning translation on",
            Self::WriteBuffers => "flushing the write buffers",
            Self::ProtectedMemory => "turning the protected memory regions off",
        })
    }
}

/// How the unit broke the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// A command had no effect in time.
    #[error("no answer in time to {0}")]
    Command(Act),
    /// An invalidation did not end in time.
    #[error("an invalidation did not complete in time")]
    Invalidation,
    /// It does not understand a descriptor, or cannot read the queue (IQE).
    #[error("it reports an invalidation queue error (IQE)")]
    Queue,
    /// A device did not answer an invalidation, although none was sent to a device (ITE).
    #[error("it reports an invalidation time-out (ITE)")]
    TimeOut,
    /// A device answered an invalidation that it was not sent (ICE).
    #[error("it reports an invalidation completion error (ICE)")]
    Completion,
    /// Its registers read as all ones.
    #[error("its registers do not answer")]
    Gone,
}

/// Why a call to the driver failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The unit broke the specification, now or earlier. Requesters in quarantine stay there; nothing can be attached, mapped
    /// or taken back any more, so whatever was attached must be stopped by other means (bus mastering off).
    #[error("out of service: {0}")]
    Broken(Misbehaviour),
    /// A requester that another unit translates for, or none.
    #[error("the requester is not behind this unit")]
    UnknownRequester,
    /// A requester that is in another domain.
    #[error("the requester is in another domain already")]
    Attached,
    /// A domain without requesters here.
    #[error("the domain has no requester behind this unit")]
    UnknownDomain,
    /// No domain id is left.
    #[error("all domain ids of the unit are in use")]
    NoDomains,
    /// No memory for tables.
    #[error("no memory left for tables")]
    NoMemory,
    /// The page tables refuse.
    #[error(transparent)]
    Tables(TableError),
    /// Host memory that no DMA reaches.
    #[error("the host address has more bits than DMA can use")]
    HostAddress,
    /// All entries of the interrupt remapping table are in use.
    #[error("all entries of the interrupt remapping table are in use")]
    NoEntries,
    /// A local APIC or a vector that the unit cannot send to.
    #[error("the unit cannot send to this local APIC and vector")]
    Target,
}

impl From<TableError> for Error {
    fn from(error: TableError) -> Self {
        match error {
            TableError::OutOfFrames => Self::NoMemory,
            other => Self::Tables(other),
        }
    }
}

impl From<Error> for Fault {
    /// What `vfio-core` can say of it; log the error itself before.
    fn from(error: Error) -> Self {
        match error {
            Error::Broken(Misbehaviour::Command(_) | Misbehaviour::Invalidation) => Self::TimedOut,
            Error::Broken(Misbehaviour::Gone) => Self::Gone,
            Error::Broken(_) => Self::Rejected,
            Error::UnknownRequester | Error::UnknownDomain => Self::Unknown,
            Error::Attached => Self::Busy,
            Error::NoDomains | Error::NoMemory | Error::NoEntries => Self::NoResources,
            Error::Tables(_) | Error::HostAddress | Error::Target => Self::BadAddress,
        }
    }
}

/// Why a unit cannot be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitErrorKind {
    /// It lacks what Cohort needs.
    #[error("it does not have {0}")]
    Missing(&'static str),
    /// No number of levels that Cohort has tables for.
    #[error("its page tables have none of the widths of 39, 48 and 57 bits (SAGAW {0:#x})")]
    Widths(u8),
    /// Its registers are not where its capabilities say, or not there at all.
    #[error("its registers are not inside the window that the DMAR names")]
    Window,
    /// It does not obey.
    #[error(transparent)]
    Misbehaviour(#[from] Misbehaviour),
    /// No memory for tables.
    #[error("no memory left for its tables")]
    NoMemory,
}

/// The same, and which unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the VT-d unit at {base:#x}: {kind}")]
pub struct InitError {
    /// Where its registers are.
    pub base: u64,
    /// Why.
    pub kind: InitErrorKind,
}
