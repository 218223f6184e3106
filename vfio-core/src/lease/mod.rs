//! Opening whole cohorts, and the leases that prove it.

mod platform;
mod state;

pub use platform::{DeviceOps, DmaDomains, Interrupts, Platform, Quiesce, Reset};
pub use state::CohortState;
