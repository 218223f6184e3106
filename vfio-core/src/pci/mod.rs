//! PCI functions: how they are named and found, how they form sets and isolation groups, how they are reset, and what of them a
//! guest sees: configuration space, regions, interrupts.

mod acs;
mod bdf;
pub mod config;
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

pub use acs::{Acs, AcsCapability};
pub use bdf::{Bdf, ParseBdfError};
pub use function::{BusRange, Function, FunctionReset, NotAssignable, PortKind, ResetMethods};
pub use group::{GroupCause, GroupLink, Groups};
pub use topology::{Topology, TopologyError};
