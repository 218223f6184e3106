//! Opening whole cohorts, and the leases that prove it. A cohort that rests is kept for its owner, and opens again for it.
//!
//! ```text
//!                Resting(owner)  Resetting(owner)
//!                   |        ^       ^ |
//!                   v        |       | v
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
mod rest;
mod state;
mod steps;
mod table;
#[cfg(test)]
mod tests;

pub use domain::{
    Domain, DomainError, DomainInUse, DomainOptions, DomainView, JoinRefusal, MapFailure, Release,
    SoftwareDma, SoftwareRefusal, UnmapFailure, UnmapListener,
};
pub use guard::{CloseFailure, Lease};
pub use open::OpenFailure;
pub use platform::{DeviceOps, DmaDomains, Interrupts, Platform, Quiesce, Reset};
pub use repair::{RemoveError, RepairError};
pub use reset::ResetFailure;
pub use rest::Resting;
pub use state::CohortState;
pub use table::CohortTable;
