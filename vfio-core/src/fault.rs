//! What went wrong with hardware, in words that any bus and any platform can use, and what it leaves behind.

use core::fmt;

use crate::id::{DeviceId, Requester};

/// Why the platform could not do a step. The platform logs what it knows beyond this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// It did not answer in time.
    #[error("it did not answer in time")]
    TimedOut,
    /// The device is gone: its configuration space reads as all ones.
    #[error("the device does not respond")]
    Gone,
    /// The hardware said no, or answered what makes no sense.
    #[error("the hardware refused")]
    Rejected,
    /// There is not enough of something: memory, domains, vectors, queue entries.
    #[error("out of resources")]
    NoResources,
    /// The IOMMU cannot map this address: outside its range, reserved, or not aligned to its pages.
    #[error("the IOMMU cannot map this address")]
    BadAddress,
    /// The platform does not know what it is asked about.
    #[error("unknown to the platform")]
    Unknown,
    /// Another member of the set is being opened or closed.
    #[error("its set is being opened or closed")]
    Busy,
}

/// A step of opening or closing a cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Bus master off, interrupts masked.
    Quiesce(DeviceId),
    /// Reset of a device, or of the set that the device is in.
    Reset(DeviceId),
    /// Checking that the device came back from its reset.
    CheckAlive(DeviceId),
    /// Attaching a requester to the owner's domain.
    Attach(Requester),
    /// The device's first open.
    OpenDevice(DeviceId),
    /// Giving the device its interrupts.
    EnableInterrupts(DeviceId),
    /// The device's last close.
    CloseDevice(DeviceId),
    /// Taking the device's interrupts away.
    ReleaseInterrupts(DeviceId),
    /// Putting an open device back to work after a reset that its owner asked for.
    Restore(DeviceId),
    /// Attaching a requester to the deny-all domain, and waiting until nothing of the old one is left.
    Quarantine(Requester),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quiesce(device) => write!(f, "quiescing {device}"),
            Self::Reset(device) => write!(f, "resetting {device}"),
            Self::CheckAlive(device) => write!(f, "checking that {device} came back from its reset"),
            Self::Attach(requester) => write!(f, "attaching requester {requester} to its domain"),
            Self::OpenDevice(device) => write!(f, "opening {device}"),
            Self::EnableInterrupts(device) => write!(f, "enabling the interrupts of {device}"),
            Self::CloseDevice(device) => write!(f, "closing {device}"),
            Self::ReleaseInterrupts(device) => write!(f, "releasing the interrupts of {device}"),
            Self::Restore(device) => write!(f, "putting {device} back to work after its reset"),
            Self::Quarantine(requester) => write!(f, "putting requester {requester} into quarantine"),
        }
    }
}

/// A step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{step} failed: {fault}")]
pub struct Failure {
    /// The step.
    pub step: Step,
    /// Why.
    pub fault: Fault,
}
