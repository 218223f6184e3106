//! Why two devices come together or not at all.

use core::fmt;

use crate::id::{DeviceId, SetId};
use crate::pci::{GroupCause, GroupLink};

/// What joins two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// They are members of one set.
    Set(SetId),
    /// They are in one isolation group.
    Group(GroupCause),
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

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { a, b, cause } = self;
        match cause {
            Cause::Set(set) => write!(f, "{a} must come with {b}: both are reset by {set}"),
            Cause::Group(cause) => write!(f, "{a} and {b} are one isolation group: {cause}"),
        }
    }
}
