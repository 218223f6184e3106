//! What can go wrong with an AMD-Vi unit, by whose fault it is: the caller's, firmware's, or a unit that does not keep to the
//! specification.

use crate::addr::Iova;
use crate::memory::tables::TableError;
use vfio_core::pci::Bdf;
use vfio_core::{DomainId, Fault};

/// How a unit failed. It is not talked to again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// COMPLETION_WAIT was not answered, and the log does not say why.
    #[error("it does not carry out commands: head {head:#x}, tail {tail:#x} of the command buffer")]
    Timeout {
        /// What the unit would read next.
        head: u64,
        /// What was written last.
        tail: u64,
    },
    /// ILLEGAL_COMMAND_ERROR: it does not know a command that it must know.
    #[error("it calls the command at {at:#x} illegal")]
    IllegalCommand {
        /// Host physical address of the command.
        at: u64,
    },
    /// COMMAND_HARDWARE_ERROR: it could not read a command.
    #[error("it cannot access {at:#x} for its commands (type {kind})")]
    CommandHardware {
        /// Host physical address of the attempt.
        at: u64,
        /// 1 master abort, 2 target abort, 3 data error.
        kind: u8,
    },
    /// The event log's tail is outside the log.
    #[error("the tail of its event log, {tail:#x}, is outside the log")]
    EventTail {
        /// What the register holds.
        tail: u64,
    },
    /// The event log does not stop or start.
    #[error("its event log overflowed and does not start again")]
    EventLog,
}

/// Why a call to the driver failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The unit failed, now or earlier. What is in quarantine stays there; nothing else can be vouched for, so whatever was
    /// attached must be stopped by other means (bus mastering off).
    #[error("the AMD-Vi unit is out of service: {0}")]
    Broken(Misbehaviour),
    /// A requester that the unit does not translate for.
    #[error("requester {0} is none of this AMD-Vi unit's")]
    UnknownRequester(Bdf),
    /// A requester that is in another domain.
    #[error("requester {requester} is in {domain} already")]
    Attached {
        /// Which.
        requester: Bdf,
        /// Where it is.
        domain: DomainId,
    },
    /// A requester whose entry firmware has claims on.
    #[error("requester {0} can be given to nobody: firmware has claims on it")]
    Claimed(Bdf),
    /// A domain that has no requester here.
    #[error("{0} has no requester behind this AMD-Vi unit")]
    UnknownDomain(DomainId),
    /// No domain number is left.
    #[error("all domain numbers of the AMD-Vi unit are in use")]
    NoDomains,
    /// The page table refuses.
    #[error("at {at}: {error}")]
    Table {
        /// Where.
        at: Iova,
        /// Why.
        error: TableError,
    },
    /// No memory for a table.
    #[error("no memory left for tables of the AMD-Vi unit")]
    NoMemory,
    /// An interrupt for a requester in quarantine.
    #[error("requester {0} is in quarantine and can raise no interrupt")]
    Quarantined(Bdf),
    /// All entries of an interrupt table are in use.
    #[error("all interrupts of requester {0} are in use")]
    NoInterrupts(Bdf),
    /// A vector below 16, or an APIC id of more than 8 bits.
    #[error(
        "vector {vector:#x} of local APIC {apic:#x} cannot be routed to: interrupt entries have ids of 8 bits here, and vectors from 0x10"
    )]
    Target {
        /// Local APIC.
        apic: u32,
        /// Vector.
        vector: u8,
    },
}

impl From<Error> for Fault {
    /// What `vfio-core` can say of it; log the error itself before.
    fn from(error: Error) -> Self {
        match error {
            Error::Broken(Misbehaviour::Timeout { .. }) => Self::TimedOut,
            Error::Broken(_) | Error::Claimed(_) | Error::Quarantined(_) => Self::Rejected,
            Error::UnknownRequester(_) | Error::UnknownDomain(_) => Self::Unknown,
            Error::Attached { .. } => Self::Busy,
            Error::NoDomains
            | Error::NoMemory
            | Error::NoInterrupts(_)
            | Error::Table {
                error: TableError::OutOfFrames,
                ..
            } => Self::NoResources,
            Error::Table { .. } | Error::Target { .. } => Self::BadAddress,
        }
    }
}

/// Why a unit cannot be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// IVRS names a capability that is none of an IOMMU.
    #[error(
        "AMD-Vi: IVRS says that the capability at {offset:#x} of {function} is an IOMMU's, but it reads {header:#x}"
    )]
    NoCapability {
        /// The unit's function.
        function: Bdf,
        /// Where the capability would be.
        offset: u16,
        /// What is there.
        header: u32,
    },
    /// The capability says that the registers are elsewhere.
    #[error(
        "AMD-Vi: IVRS says that the registers of {function} are at {table:#x}, and its capability says {capability:#x}"
    )]
    Base {
        /// The unit's function.
        function: Bdf,
        /// What the table says.
        table: u64,
        /// What the capability says.
        capability: u64,
    },
    /// The registers read as all ones.
    #[error("AMD-Vi: the registers of {0} do not answer")]
    NoAnswer(Bdf),
    /// A reserved number of levels.
    #[error(
        "AMD-Vi: {function} reports a number of page table levels that does not exist (extended features {features:#x})"
    )]
    Levels {
        /// The unit's function.
        function: Bdf,
        /// The register.
        features: u64,
    },
    /// No memory for its tables.
    #[error("AMD-Vi: no memory for the device table of {0}")]
    NoMemory(Bdf),
    /// A register does not keep what is written; firmware has locked it, or there is no unit.
    #[error("AMD-Vi: register {register:#x} of {function} reads {found:#x} after {written:#x} was written")]
    Register {
        /// The unit's function.
        function: Bdf,
        /// Its offset.
        register: u16,
        /// What was written.
        written: u64,
        /// What it reads.
        found: u64,
    },
    /// It does not stop or start its command buffer or event log.
    #[error("AMD-Vi: {function} does not {what}")]
    State {
        /// The unit's function.
        function: Bdf,
        /// What it does not do.
        what: &'static str,
    },
    /// It fails at the first commands.
    #[error("AMD-Vi: {function} fails at its first commands: {cause}")]
    Commands {
        /// The unit's function.
        function: Bdf,
        /// How.
        cause: Misbehaviour,
    },
}
