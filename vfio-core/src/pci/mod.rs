//! PCI functions: how they are named and found, how they form sets and isolation groups, how they are reset, and what of them a
//! guest sees: configuration space, regions, interrupts.

mod acs;
pub mod assigned;
mod bdf;
pub mod config;
pub mod device;
mod function;
mod group;
pub mod irq;
pub mod quirk;
pub mod region;
pub mod reset;
pub mod spec;
#[cfg(test)]
mod tests;
mod topology;
pub mod vconfig;

pub use crate::cohort::NotAssignable;
pub use acs::{Acs, AcsCapability};
pub(crate) use bdf::BdfText;
pub use bdf::{Bdf, ParseBdfError};
pub use function::{BusRange, Function, FunctionReset, PortKind, ResetMethods};
pub use group::{GroupCause, GroupLink, Groups};
pub use topology::{Topology, TopologyError};
