//! Why two devices come together or not at all, and what was overridden to keep them apart.

use core::fmt;

use crate::fsl_mc::Nesting;
use crate::id::{DeviceId, Requester, SetId};
use crate::pci::{GroupCause, GroupLink};

/// What joins two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// They are members of one set.
    Set(SetId),
    /// They are in one isolation group, by their places in the PCI tree.
    Group(GroupCause),
    /// The IOMMU takes both for this requester: objects of one fsl-mc container, platform devices with one stream.
    Requester(Requester),
    /// The description of the platform says that they reach each other past the IOMMU.
    Description,
    /// The one is an fsl-mc container inside the other, or in one that is.
    Nested(Nesting),
}

/// Two devices that come together or not at all, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// The one; in a refusal, the one that is missing.
    pub a: DeviceId,
    /// The other; in a refusal, the one that is there, or is missing as well but nearer to what is there.
    pub b: DeviceId,
    /// What joins them.
    pub cause: Cause,
}

impl From<GroupLink> for Link {
    fn from(link: GroupLink) -> Self {
        Self {
            a: link.a.into(),
            b: link.b.into(),
            cause: Cause::Group(link.cause),
        }
    }
}

/// Why two devices are one isolation group, as a sentence without a subject.
struct Reason(Cause);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Cause::Set(set) => write!(f, "{set} resets both"),
            Cause::Group(cause) => cause.fmt(f),
            Cause::Requester(requester) => write!(f, "the IOMMU takes both for requester {requester}"),
            Cause::Description => f.write_str("the platform's description says that they reach each other"),
            Cause::Nested(nesting) => nesting.fmt(f),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { a, b, cause } = self;
        match cause {
            Cause::Set(set) => write!(f, "{a} must come with {b}: both are reset by {set}"),
            Cause::Nested(nesting) => write!(f, "{a} must come with {b}: {nesting}"),
            _ => write!(f, "{a} and {b} are one isolation group: {}", Reason(*cause)),
        }
    }
}

/// A device that the user split off from an isolation group, and what would have joined it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cut {
    /// The device.
    pub device: DeviceId,
    /// What would have joined it to others.
    pub cause: Cause,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, cause } = self;
        write!(
            f,
            "{device} is split off by split-unsafe, although {}",
            Reason(*cause)
        )
    }
}
