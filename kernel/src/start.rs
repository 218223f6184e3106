//! Bringing the processors and memory of the machine up, step by step, each with a refusal that says what to do.
#![expect(unsafe_code, reason = "reads the boot module at its physical address")]

use crate::acpi::Platform;
use crate::cpu::{self, lapic};
use crate::discovery::DiscoveryError;
use crate::entry::BootInfo;
use crate::memory::paging::{self, PagingError};
use crate::memory::regions::{FreeMemory, Kind, Region};
use crate::steps;
use crate::virt::svm::{self, SvmError};
use alloc::vec::Vec;
use cohort_abi::bundle::{Bundle, BundleError};

/// Why the hypervisor does not start anything.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No boot module.
    #[error(
        "no bundle: the boot loader passed no module; pass the file that `cohort` builds (QEMU: -initrd)"
    )]
    NoBundle,
    /// The boot module is none that can be used.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The hypervisor's own page tables.
    #[error("page tables: {0}")]
    Paging(#[from] PagingError),
    /// The machine.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The processors.
    #[error(transparent)]
    Svm(#[from] SvmError),
    /// Each problem was said already.
    #[error("the configuration does not fit this machine; nothing was started")]
    Configuration,
}

/// Page tables, descriptor tables and local APIC on the boot CPU; its clocks begin to be measured.
///
/// # Errors
/// No memory for tables.
pub fn this_cpu(boot: &BootInfo) -> Result<(), Refused> {
    paging::init(&boot.memory)?;
    steps::done("page tables");
    cpu::init_this(0)?;
    steps::done("descriptor tables, stacks");
    cpu::clock::begin();
    Ok(())
}

/// Ends the measurement of the clocks. From here on time is exact.
pub fn clocks() {
    if !cpu::clock::settle() {
        log::warn!("the PIT does not answer; waits may be longer than they need be");
    }
}

/// The bundle, wherever the boot loader put it.
///
/// # Errors
/// There is none, or it is not whole.
pub fn bundle(boot: &BootInfo) -> Result<Bundle<'static>, Refused> {
    let module = boot.bundle.ok_or(Refused::NoBundle)?;
    if module.end > paging::LIMIT || module.start >= module.end {
        return Err(Refused::NoBundle);
    }
    paging::map_device(crate::addr::HostPhys(module.start), module.end - module.start)?;
    // SAFETY: the boot loader's module, mapped one to one; `free_memory` keeps it from being given to anybody, so
    // that nothing writes it.
    let bytes = unsafe {
        core::slice::from_raw_parts(module.start as *const u8, (module.end - module.start) as usize)
    };
    Ok(Bundle::parse_with(bytes, crate::checksum::crc32c)?)
}

/// The APIC ids of the other CPUs that can be used, in the order of the MADT.
#[must_use]
pub fn cpus(acpi: &Platform) -> Vec<u8> {
    let mine = u32::from(lapic::id());
    let usable = acpi.cpus.iter().filter(|cpu| cpu.enabled && cpu.apic_id != mine);
    usable.filter_map(|cpu| u8::try_from(cpu.apic_id).ok()).collect()
}

/// Starts the CPUs with the APIC ids `others`. Says of each CPU, with the boot CPU first, whether it runs.
///
/// # Errors
/// No memory for stacks.
pub fn other_cpus(others: &[u8]) -> Result<Vec<bool>, Refused> {
    let mut up = alloc::vec![true];
    up.extend(cpu::smp::start(others)?);
    for (index, _) in up.iter().enumerate().filter(|(_, up)| !**up) {
        log::warn!("CPU {index} does not start; no guest can have it");
    }
    Ok(up)
}

/// Whether guests can run at all.
///
/// # Errors
/// No SVM, or no nested paging.
pub fn virtualisation() -> Result<svm::Features, Refused> {
    Ok(svm::enable()?)
}

/// RAM that guests can have: all but the first 1 MiB, the image and the bundle.
#[must_use]
pub fn free_memory(boot: &BootInfo) -> FreeMemory {
    let low = Region {
        start: 0,
        end: 1 << 20,
        kind: Kind::Reserved,
    };
    let held: Vec<Region> = [Some(low), Some(paging::image()), boot.bundle]
        .into_iter()
        .flatten()
        .collect();
    FreeMemory::new(&boot.memory, &held)
}
