//! How the machine hands itself over, whichever boot loader does it: one [`BootInfo`].

#![expect(unsafe_code, reason = "the binary's two functions are found by name")]

mod pvh;

use crate::addr::HostPhys;
use crate::memory::regions::{Kind, Region};
use alloc::string::String;
use alloc::vec::Vec;

unsafe extern "Rust" {
    /// The binary's main function, on the boot CPU: what the loader told, and the time-stamp counter at entry.
    pub(crate) safe fn kernel_main(boot: BootInfo, entry_ticks: u64) -> !;
    /// The binary's main function on every other CPU.
    pub(crate) safe fn cpu_main(cpu: crate::cpu::CpuIndex) -> !;
}

/// What the boot loader tells.
#[derive(Debug)]
pub struct BootInfo {
    /// The memory map, as told: untrusted, unsorted.
    pub memory: Vec<Region>,
    /// The first boot module: the bundle.
    pub bundle: Option<Region>,
    /// ACPI's root pointer, where the loader knows it.
    pub rsdp: Option<HostPhys>,
    /// The kernel's command line.
    pub cmdline: String,
}

impl BootInfo {
    /// A region of `kind`; one that wraps is cut at the top of the address space.
    fn region(start: u64, len: u64, kind: Kind) -> Region {
        Region {
            start,
            end: start.saturating_add(len),
            kind,
        }
    }
}
