//! PCI functions: how they are named, and how they form sets and isolation groups.

mod acs;
mod bdf;
mod function;
mod group;
#[cfg(test)]
mod tests;
mod topology;

pub use acs::{Acs, AcsCapability};
pub(crate) use bdf::BdfText;
pub use bdf::{Bdf, ParseBdfError};
pub use function::{BusRange, Function, FunctionReset, NotAssignable, PortKind, ResetMethods};
pub use group::{GroupCause, GroupLink};
pub use topology::{Topology, TopologyError};
