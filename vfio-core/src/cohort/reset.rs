//! How devices and whole sets are reset, on any bus, and what a reset of a set would reach beside it.

use alloc::vec::Vec;
use core::fmt;

use crate::fsl_mc::ObjectId;
use crate::id::{DeviceId, SetId};
use crate::pci::{Bdf, FunctionReset};

/// A reset that touches one device and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceReset {
    /// Of a PCI function.
    Function(FunctionReset),
    /// Of an fsl-mc object: it is opened, told to reset, and closed. Of a container that is an object itself: the
    /// container alone, not what is in it.
    Object,
    /// Of a platform device, by whatever its description names.
    Platform,
    /// Of a mediated device: its software starts anew.
    Software,
}

impl From<FunctionReset> for DeviceReset {
    fn from(reset: FunctionReset) -> Self {
        Self::Function(reset)
    }
}

impl fmt::Display for DeviceReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Function(FunctionReset::Flr) => "flr",
            Self::Function(FunctionReset::AfFlr) => "afflr",
            Self::Function(FunctionReset::Pm) => "pm",
            Self::Object => "object reset",
            Self::Platform => "platform reset",
            Self::Software => "software",
        })
    }
}

/// What resets all members of a set at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetReset {
    /// A secondary bus reset of this port or bridge.
    Port(Bdf),
    /// A reset of this fsl-mc container, with what is directly in it.
    Container(ObjectId),
}

impl fmt::Display for SetReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "bus reset by {port}"),
            Self::Container(container) => write!(f, "container reset of {container}"),
        }
    }
}

/// What keeps a reset of a set from reaching all of its members and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// A device of another set would be reset as well.
    Outside(DeviceId),
    /// A bridge with no devices below, or what is no device at all, would lose its configuration.
    Bridge(Bdf),
    /// A member that the reset leaves as it was, or that must not be reset in this way.
    NoPart(DeviceId),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside(device) => write!(f, "{device} is in its scope and not in the set"),
            Self::Bridge(bridge) => write!(f, "{bridge} is in its scope and would lose its configuration"),
            Self::NoPart(device) => write!(f, "{device} takes no part in it"),
        }
    }
}

/// The reset of a whole set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SetScope {
    /// What does it.
    pub by: SetReset,
    /// Why it cannot be used, if so.
    pub obstacle: Option<Obstacle>,
}

/// A reset, at the largest scope that stays within one cohort.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ResetAction {
    /// Reset one device and nothing else.
    Device {
        /// The device.
        device: DeviceId,
        /// How.
        method: DeviceReset,
    },
    /// Reset all members of a set at once.
    Set {
        /// The set.
        set: SetId,
        /// What does it.
        by: SetReset,
        /// The members, which lose their configuration; at least one, in order.
        members: Vec<DeviceId>,
    },
}

impl ResetAction {
    /// The devices that it resets.
    #[must_use]
    pub fn devices(&self) -> &[DeviceId] {
        match self {
            Self::Device { device, .. } => core::slice::from_ref(device),
            Self::Set { members, .. } => members,
        }
    }
}

impl fmt::Display for ResetAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device { method, .. } => method.fmt(f),
            Self::Set { by, .. } => by.fmt(f),
        }
    }
}
