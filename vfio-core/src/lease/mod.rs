//! Opening whole cohorts, and the leases that prove it.
//!
//! ```text
//!                            Resetting(owner)
//!                                  ^ |
//!                                  | v
//! Quarantined -> Opening -> Open(owner) -> Closing -> Quarantined
//!      ^            |                         |
//!      |            +--------> Broken <-------+
//!      |                         ^ |
//!      |                         | v
//!      +--------------------- Repairing
//! ```

mod crew;
mod domain;
mod guard;
#[cfg(test)]
mod loom_tests;
mod open;
mod platform;
mod repair;
mod reset;
mod state;
mod steps;
mod table;
#[cfg(test)]
mod tests;

pub use domain::{Domain, DomainError, DomainInUse};
pub use guard::{CloseFailure, Lease};
pub use open::OpenFailure;
pub use platform::{DeviceOps, DmaDomains, Interrupts, Platform, Quiesce, Reset};
pub use repair::{RemoveError, RepairError};
pub use reset::ResetFailure;
pub use state::CohortState;
pub use table::CohortTable;
