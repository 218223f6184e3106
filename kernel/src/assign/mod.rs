//! Assignment: `vfio-core`'s platform, made of this machine's PCI functions and its IOMMU.
//!
//! `vfio-core` decides what is opened and in which order; here is how each step is done. Everything goes through
//! the narrow traits of `pci` and `iommu`, so that host tests can put a machine there that misbehaves.

mod anew;
mod hooks;
mod interrupts;
#[cfg(target_os = "none")]
mod machine;
mod owner;
mod platform;
mod recovery;
#[cfg(test)]
#[cfg(not(loom))]
pub(crate) mod tests;

pub use anew::{NotAnew, anew};
#[cfg(target_os = "none")]
pub use machine::{MachineAssigner, TakeOverError, cohorts, take_over};
pub use platform::Assigner;
pub use recovery::{Repaired, repair};
