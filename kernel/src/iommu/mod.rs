//! I/O memory management units: what keeps a device inside the memory of whoever holds it.
//!
//! A driver makes values of [`Unit`], of which a machine may have several, of different kinds; the [`Registry`] has them
//! all. What they have in common is here: the faults that they report, and the [`Storm`] that keeps a device from drowning
//! the console in them.

pub mod amdvi;
mod fault;
mod registry;
#[cfg(target_os = "none")]
mod start;
mod storm;
mod unit;
pub mod virtio;
pub mod vtd;

pub use fault::{FaultAccess, FaultReason, FaultRecord};
pub use registry::Registry;
#[cfg(target_os = "none")]
pub use start::{StartError, units};
pub use storm::{Storm, StormLimits, Verdict};
pub use unit::{AnyUnit, Message, Source, Taken, Target, Unit};
