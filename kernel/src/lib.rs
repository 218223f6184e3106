//! The Cohort hypervisor: a library whose logic also builds and tests on the host, and a bare-metal binary.
//!
//! Modules that need the bare machine are behind `cfg(target_os = "none")` where they are declared, here and in the folders
//! that have both kinds.

#![cfg_attr(any(not(test), target_os = "none"), no_std)]
#![cfg_attr(target_os = "none", no_main)]
// Unit tests run on the host. Built for bare metal they are an image that says so (`kernel/harness`).
#![cfg(not(all(test, target_os = "none")))]

extern crate alloc;

pub use cohort_acpi as acpi;

pub mod addr;
pub mod assign;
pub mod calibration;
pub mod checksum;
pub mod guest;
pub mod iommu;
pub mod memory;
pub mod partition;
pub mod pci;
pub mod report;
mod sync;
pub mod virt;

#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod cpu;
#[cfg(target_os = "none")]
pub mod discovery;
#[cfg(target_os = "none")]
pub mod entry;
#[cfg(target_os = "none")]
pub mod start;
#[cfg(target_os = "none")]
pub mod steps;
#[cfg(target_os = "none")]
pub mod survey;
