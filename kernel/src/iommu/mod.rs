//! I/O memory management units: what keeps a device inside the memory of whoever holds it.
//!
//! A driver is a value: a machine may have several units. What they have in common is here: the faults that they
//! report, and the [`Storm`] that keeps a device from drowning the console in them.

pub mod amdvi;
mod fault;
mod storm;
pub mod virtio;

pub use crate::acpi::EndpointId;
pub use fault::{FaultAccess, FaultReason, FaultRecord};
pub use storm::{Storm, StormLimits, Verdict};
