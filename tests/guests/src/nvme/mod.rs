//! A driver for one NVMe controller (NVM Express Base Specification 2.0), small but as on hardware: bounded waits,
//! PRP lists, completion by polling and by MSI-X.

#[cfg(target_os = "none")]
mod controller;
#[cfg(target_os = "none")]
mod error;
pub mod prp;
#[cfg(target_os = "none")]
mod queue;
#[cfg(target_os = "none")]
mod spec;

#[cfg(target_os = "none")]
pub use controller::{Controller, Wait};
#[cfg(target_os = "none")]
pub use error::NvmeError;
#[cfg(target_os = "none")]
pub use spec::CLASS;
