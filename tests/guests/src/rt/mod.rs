//! The runtime: from the PVH entry to a machine that a guest's `run` can use, and the way out.
//!
//! One CPU, or a second that [`smp`] starts, interrupts off except inside [`interrupts::wait`], everything identity-mapped, no SSE.

#[macro_use]
pub mod console;
pub mod apic;
mod boot_info;
pub mod dma;
pub mod entry;
pub mod exit;
mod heap;
pub mod interrupts;
pub mod mmio;
pub mod smp;
pub mod time;

use alloc::string::{String, ToString};
use core::fmt;
use core::ops::Range;

pub use pvh;

use crate::acpi::Platform;
use crate::cmdline::Cmdline;
use crate::pci::Ecam;

/// What a guest finds when it starts.
#[derive(Debug)]
pub struct Machine {
    cmdline: String,
    /// RAM above what the guest itself uses (4 MiB), as guest physical addresses; empty where there is none.
    pub free_ram: Range<u64>,
    /// What ACPI says.
    pub platform: Platform,
    /// PCI configuration space.
    pub pci: Ecam,
}

impl Machine {
    /// The command line.
    #[must_use]
    pub fn cmdline(&self) -> Cmdline<'_> {
        Cmdline::new(&self.cmdline)
    }
}

/// Why a guest gives up: the text of the error that it met.
#[derive(Debug)]
pub struct Failure(String);

impl<E: fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl Failure {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}
