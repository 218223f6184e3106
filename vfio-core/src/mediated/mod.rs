//! Mediated devices: software that looks like a device, and reaches its owner's memory through the owner's domain.

use core::fmt;

/// The number of a mediated device, which whoever made it gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediatedId(pub u32);

impl fmt::Display for MediatedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mediated.{}", self.0)
    }
}
