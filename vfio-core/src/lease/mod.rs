//! Opening whole cohorts, and the leases that prove it.
//!
//! ```text
//! Quarantined -> Opening -> Open(owner) -> Closing -> Quarantined
//!                   |                         |
//!                   +--------> Broken <-------+
//! ```

mod domain;
mod guard;
mod open;
mod platform;
mod state;
mod table;
#[cfg(all(test, not(loom)))]
mod tests;

pub use domain::{Domain, DomainError, DomainInUse};
pub use guard::{CloseFailure, Lease};
pub use open::OpenFailure;
pub use platform::{DeviceOps, DmaDomains, Interrupts, Platform, Quiesce, Reset};
pub use state::CohortState;
pub use table::CohortTable;
