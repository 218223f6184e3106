//! What can go wrong with a virtio-iommu, by whose fault it is: the caller's, the device's refusal, or a device that
//! does not keep to the specification.

use super::ChannelError;
use crate::acpi::EndpointId;
use crate::addr::Iova;
use core::fmt;
use spec::virtio_iommu::status;
use vfio_core::{DomainId, Fault};

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Puts an endpoint into a domain.
    Attach,
    /// Takes an endpoint out of a domain.
    Detach,
    /// Maps a range.
    Map,
    /// Unmaps a range.
    Unmap,
    /// Asks for an endpoint's properties.
    Probe,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attach => "ATTACH",
            Self::Detach => "DETACH",
            Self::Map => "MAP",
            Self::Unmap => "UNMAP",
            Self::Probe => "PROBE",
        })
    }
}

/// A refusal by the device (virtio 1.2, section 5.13.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Status {
    /// IOERR.
    #[error("virtio communication error (IOERR)")]
    Io,
    /// UNSUPP.
    #[error("unsupported request (UNSUPP)")]
    Unsupported,
    /// DEVERR.
    #[error("internal device error (DEVERR)")]
    Device,
    /// INVAL.
    #[error("invalid parameters (INVAL)")]
    Invalid,
    /// RANGE.
    #[error("parameters out of range (RANGE)")]
    Range,
    /// NOENT.
    #[error("no such endpoint or domain (NOENT)")]
    NoEntry,
    /// FAULT.
    #[error("bad address (FAULT)")]
    Address,
    /// NOMEM.
    #[error("out of resources (NOMEM)")]
    NoMemory,
}

impl Status {
    /// Decodes a status byte; `Ok(None)` is success, `Err` a status that does not exist.
    pub(super) const fn decode(byte: u8) -> Result<Option<Self>, u8> {
        Ok(Some(match byte {
            status::OK => return Ok(None),
            status::IOERR => Self::Io,
            status::UNSUPP => Self::Unsupported,
            status::DEVERR => Self::Device,
            status::INVAL => Self::Invalid,
            status::RANGE => Self::Range,
            status::NOENT => Self::NoEntry,
            status::FAULT => Self::Address,
            status::NOMEM => Self::NoMemory,
            other => return Err(other),
        }))
    }
}

/// How a device broke the specification. It is not talked to again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// The queue failed.
    #[error("{request}: {cause}")]
    Channel {
        /// During which request.
        request: Request,
        /// How.
        cause: ChannelError,
    },
    /// The event queue failed.
    #[error("event queue: {0}")]
    Events(ChannelError),
    /// The answer has the wrong length; 0 is what a device writes that does not know the request.
    #[error("{request}: the device wrote {written} bytes of an answer of {expected}")]
    Length {
        /// To which request.
        request: Request,
        /// What it says it wrote.
        written: usize,
        /// What it had to write.
        expected: usize,
    },
    /// A status that does not exist, or none.
    #[error("{request}: the device answered with the unknown status {status:#x}")]
    Status {
        /// To which request.
        request: Request,
        /// The byte.
        status: u8,
    },
    /// Properties that do not parse.
    #[error("the properties of {endpoint} are malformed at offset {offset:#x}")]
    Properties {
        /// Whose.
        endpoint: EndpointId,
        /// Where.
        offset: usize,
    },
}

/// Why a call to the driver failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The device broke the specification, now or earlier. Endpoints in quarantine stay there; nothing can be attached,
    /// mapped or taken back any more, so whatever was attached must be stopped by other means (bus mastering off).
    #[error("the virtio-iommu is out of service: {0}")]
    Broken(Misbehaviour),
    /// The device said no.
    #[error("the virtio-iommu refused {request}: {status}")]
    Refused {
        /// To which request.
        request: Request,
        /// How.
        status: Status,
    },
    /// An endpoint that was never put into quarantine.
    #[error("{0} is not known to the driver: it was never put into quarantine")]
    UnknownEndpoint(EndpointId),
    /// An endpoint that is in a domain already.
    #[error("{endpoint} is in {domain} already")]
    Attached {
        /// Which endpoint.
        endpoint: EndpointId,
        /// Where it is.
        domain: DomainId,
    },
    /// A domain that does not exist.
    #[error("{0} does not exist")]
    UnknownDomain(DomainId),
    /// A domain with endpoints cannot be destroyed.
    #[error("{0} still has endpoints")]
    DomainInUse(DomainId),
    /// No domain number is left.
    #[error("all domain numbers of the virtio-iommu are in use")]
    NoDomains,
    /// A region without bytes, or that ends past the end of the address space.
    #[error("the region at {0} is empty, or ends past the end of the address space")]
    NoRange(Iova),
}

impl From<Error> for Fault {
    /// What `vfio-core` can say of it; log the error itself before.
    fn from(error: Error) -> Self {
        match error {
            Error::Broken(Misbehaviour::Channel {
                cause: ChannelError::Timeout,
                ..
            }) => Self::TimedOut,
            Error::Broken(_) => Self::Rejected,
            Error::Refused {
                status: Status::NoMemory,
                ..
            }
            | Error::NoDomains => Self::NoResources,
            Error::Refused {
                status: Status::NoEntry,
                ..
            }
            | Error::UnknownEndpoint(_)
            | Error::UnknownDomain(_) => Self::Unknown,
            Error::Refused { .. } => Self::Rejected,
            Error::Attached { .. } | Error::DomainInUse(_) => Self::Busy,
            Error::NoRange(_) => Self::BadAddress,
        }
    }
}

/// Why a virtio-iommu cannot be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// It cannot be talked to.
    #[error("virtio-iommu: {0}")]
    Channel(#[from] ChannelError),
    /// It lacks what Cohort needs.
    #[error("virtio-iommu: the device does not offer {0}")]
    Missing(&'static str),
    /// It lets unattached endpoints pass and does not stop.
    #[error("virtio-iommu: unattached devices bypass it, and it keeps `bypass` on when told to turn it off")]
    Bypass,
    /// No page size, or one that is too large for Cohort's regions.
    #[error("virtio-iommu: the page size mask {0:#x} has no page of 4 KiB or less")]
    PageSize(u64),
    /// A range that ends before it starts, or domain numbers for the quarantine alone.
    #[error("virtio-iommu: the range {start:#x} to {end:#x} in its configuration is empty or too small")]
    Range {
        /// First.
        start: u64,
        /// Last, inclusive.
        end: u64,
    },
    /// More properties than fit.
    #[error("virtio-iommu: it wants {0} bytes for an endpoint's properties")]
    ProbeSize(u32),
}
