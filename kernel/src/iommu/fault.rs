//! A blocked access, as any IOMMU reports it.

use crate::addr::Iova;
use core::fmt;
use vfio_core::Requester;

/// A memory access of a device that the IOMMU blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRecord {
    /// Who tried, if the unit names somebody who can be.
    pub requester: Option<Requester>,
    /// Where, if the unit says so.
    pub address: Option<Iova>,
    /// What was tried.
    pub access: FaultAccess,
    /// Why it was blocked.
    pub reason: FaultReason,
}

/// The kind of a blocked access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultAccess {
    /// The device wanted to read memory.
    Read,
    /// The device wanted to write memory.
    Write,
    /// The unit does not say, or says both.
    Unknown,
}

/// Why an access was blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultReason {
    /// The endpoint is in no domain.
    NoDomain,
    /// Nothing is mapped there, or the mapping forbids the access.
    NoMapping,
    /// It was a message for an interrupt that was not routed for the device.
    Interrupt,
    /// The unit does not say.
    Unknown,
}

impl fmt::Display for FaultAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Unknown => "access",
        })
    }
}

impl fmt::Display for FaultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDomain => "the device is in no domain",
            Self::NoMapping => "no mapping allows it",
            Self::Interrupt => "an interrupt that was not routed for the device",
            Self::Unknown => "no reason given",
        })
    }
}
