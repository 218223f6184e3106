//! Why a domain was not made or not changed, or does not take a cohort.

use crate::addr::Iova;
use crate::domain::{IovaRange, MapError, Mapping, Misfit, Split, UnitId};
use crate::fault::Fault;
use crate::id::Requester;
use crate::mediated::MediatedId;

/// Why there is no domain. Nothing was left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// The mappings cannot be one domain.
    #[error(transparent)]
    Mapping(#[from] MapError),
    /// There is no domain to be had.
    #[error("creating a domain failed: {0}")]
    Create(Fault),
}

/// Why a mapping was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapFailure {
    /// It cannot be. Nothing was done.
    #[error(transparent)]
    Refused(#[from] MapError),
    /// Another change of the domain goes on. Nothing was done; try again.
    #[error("the domain is being changed by another CPU; try again")]
    Busy,
    /// A unit failed. Nothing is mapped.
    #[error("mapping at {} failed: {unit}: {fault}", .mapping.iova)]
    Fault {
        /// What was to be mapped.
        mapping: Mapping,
        /// The unit.
        unit: UnitId,
        /// Why.
        fault: Fault,
    },
    /// A unit failed, and so did the way back: devices may reach the memory. The range stays in use until it is unmapped,
    /// or the domain closed.
    #[error("mapping at {} failed: {unit}: {fault}; undoing it failed as well ({undo}), so devices may reach it until it is unmapped", .mapping.iova)]
    Poisoned {
        /// What was to be mapped.
        mapping: Mapping,
        /// The unit that failed first.
        unit: UnitId,
        /// Why.
        fault: Fault,
        /// Why it could not be undone.
        undo: Fault,
    },
}

/// Why a range was not unmapped. Its memory must not be used for anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnmapFailure {
    /// It cannot be. Nothing was done.
    #[error(transparent)]
    Refused(#[from] Split),
    /// Another change of the domain goes on. Nothing was done; try again.
    #[error("the domain is being changed by another CPU; try again")]
    Busy,
    /// A mediated device does not let go of a page. Nothing was unmapped.
    #[error(
        "{device} still has the page at {page} pinned, after it was told {told} times that {range} is unmapped"
    )]
    Pinned {
        /// Who.
        device: MediatedId,
        /// The first page.
        page: Iova,
        /// What was to be unmapped.
        range: IovaRange,
        /// How often it was told.
        told: u32,
    },
    /// A unit failed: what of the range is still mapped is not known. It stays in use until unmapping it works, or the
    /// domain is closed.
    #[error("unmapping {range} failed: {unit}: {fault}; devices may still reach it until unmapping it works")]
    Poisoned {
        /// What was to be unmapped.
        range: IovaRange,
        /// The unit that failed first.
        unit: UnitId,
        /// Why.
        fault: Fault,
    },
}

/// Why a domain does not take a requester. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// The platform does not say which unit translates for the requester, or what its limits are.
    #[error("what translates for {requester} cannot be found out: {fault}")]
    Unknown {
        /// Who.
        requester: Requester,
        /// Why.
        fault: Fault,
    },
    /// What is mapped does not fit the requester or its unit.
    #[error("{requester}, behind {unit}, cannot be in the domain: {misfit}; unmap that first")]
    Misfit {
        /// Who.
        requester: Requester,
        /// What translates for it.
        unit: UnitId,
        /// What does not fit.
        misfit: Misfit,
    },
    /// Another change of the domain goes on; try again.
    #[error("the domain is being changed by another CPU; try again")]
    Busy,
}

/// Why a domain does not take a mediated device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoftwareRefusal {
    /// It is in the domain already.
    #[error("{0} is in the domain already")]
    There(MediatedId),
}
