//! Why a request is refused, so that a person knows what to do about it.

use alloc::vec::Vec;
use core::fmt;

use super::{Link, NotAssignable};
use crate::fault::Failure;
use crate::id::{DeviceId, Owner};
use crate::lease::CohortState;

/// A device that a request left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The device.
    pub device: DeviceId,
    /// Why it belongs.
    pub link: Link,
}

/// Why a request to open devices is refused. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request names no device.
    #[error("no device is named")]
    NoDevices,
    /// There is no such device.
    #[error("{0} is not there, or is no device that can be assigned")]
    NotFound(DeviceId),
    /// A device is named twice.
    #[error("{0} is listed twice")]
    ListedTwice(DeviceId),
    /// A device, or one that would have to come with it, can be given to nobody.
    #[error("{device} cannot be assigned: {reason}{}", BecauseOf(*.device, *.because_of))]
    NotAssignable {
        /// The device that cannot be assigned.
        device: DeviceId,
        /// Why.
        reason: NotAssignable,
        /// The device in the request that it belongs to; the same one, if it was asked for itself.
        because_of: DeviceId,
    },
    /// Part of a cohort; `missing` is never empty.
    #[error("{}", HalfCohort(.missing))]
    HalfCohort {
        /// What is missing, and why it belongs.
        missing: Vec<Missing>,
    },
    /// Somebody else holds the device's cohort.
    #[error("{device} belongs to {owner}")]
    OwnedByAnother {
        /// The device.
        device: DeviceId,
        /// Who holds it.
        owner: Owner,
    },
    /// The owner has the cohort already, or is opening or closing it at this moment.
    #[error("{device} is {state} already")]
    NotQuarantined {
        /// The device.
        device: DeviceId,
        /// What its cohort is in the middle of.
        state: CohortState,
    },
    /// Nothing resets the device, so that it cannot go from one owner to another.
    #[error("{device} has been used by {last_owner} and has no reset method, so nobody else can have it")]
    NoReset {
        /// The device.
        device: DeviceId,
        /// Who had it.
        last_owner: Owner,
    },
    /// The platform does not isolate interrupts, and the owner was not allowed to go without.
    #[error(
        "{device} could raise any interrupt: the platform has no interrupt remapping; \
         write allow-unsafe-interrupts = true to accept that"
    )]
    UnsafeInterrupts {
        /// The first device of the request.
        device: DeviceId,
    },
    /// The device's cohort is out of service.
    #[error("{device} is out of service: {failure}")]
    Broken {
        /// The device.
        device: DeviceId,
        /// What put it there.
        failure: Failure,
    },
    /// Somebody else holds a virtual function of the device: its reset would take that along.
    #[error("{device} cannot be opened: its virtual function {virtual_function} belongs to {owner}")]
    VirtualFunctionHeld {
        /// The physical function.
        device: DeviceId,
        /// The virtual function.
        virtual_function: DeviceId,
        /// Who holds it.
        owner: Owner,
    },
    /// Somebody else holds the device's physical function, which can reset it and turn it off.
    #[error("{device} cannot be opened: its physical function {physical_function} belongs to {owner}")]
    PhysicalFunctionHeld {
        /// The virtual function.
        device: DeviceId,
        /// The physical function.
        physical_function: DeviceId,
        /// Who holds it.
        owner: Owner,
    },
    /// The device's cohort is being reset, repaired, or changed at this moment.
    #[error("{device} is {state}; try again when that is done")]
    Busy {
        /// The device.
        device: DeviceId,
        /// What its cohort is in the middle of.
        state: CohortState,
    },
    /// The device was removed from the machine, or is about to be.
    #[error("{0} has been removed")]
    Removed(DeviceId),
    /// The plan was made for another machine.
    #[error("the plan was made for other cohorts")]
    ForeignPlan,
    /// The domain is another owner's, or another table's.
    #[error("the domain belongs to {0}")]
    DomainOfAnother(Owner),
}

struct BecauseOf(DeviceId, DeviceId);

impl fmt::Display for BecauseOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(device, because_of) = self;
        if device == because_of {
            Ok(())
        } else {
            write!(f, " (and it must come with {because_of})")
        }
    }
}

struct HalfCohort<'a>(&'a [Missing]);

impl fmt::Display for HalfCohort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for missing in self.0 {
            write!(f, "{separator}{}", missing.link)?;
            separator = "; ";
        }
        Ok(())
    }
}
