//! Platform devices: fixed registers and interrupts, found by nothing but a description.

use core::fmt;

/// The number of a platform device in the list that the hypervisor made of its firmware's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlatformId(pub u32);

impl fmt::Display for PlatformId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "platform.{}", self.0)
    }
}
