//! One partition: everything that a guest's CPU works on, built before the guest runs.
#![expect(unsafe_code, reason = "takes RAM that the memory map calls free")]

use super::anew::{Again, Failed};
use super::backend::{self, MachineBackend};
use super::backing::Backing;
use super::prepare::Ready;
use crate::addr::HostPhys;
use crate::guest::devices::{AssignedFunctions, BusError, Wiring};
use crate::guest::dispatch::Platform;
use crate::guest::loader::{self, BootParameters, Entry, LoadError};
use crate::guest::policy::direct_msrs;
use crate::guest::{GuestEnd, GuestMemory, MemoryError};
use crate::memory::frames::HeapFrames;
use crate::pci::Function;
use crate::steps;
use crate::survey::Table;
use crate::virt::nested::{MapError, NestedTables};
use crate::virt::svm::{EntryState, Features, IoPermissions, MsrPermissions, SvmVcpu};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use cohort_abi::end::{EndReason, FaultKind};
use core::ptr::NonNull;
use vfio_core::{Access, Mapping};

/// Why a partition cannot be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    /// Its memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Its image or boot information.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its devices do not make a bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Its nested page tables.
    #[error("nested page tables: {0}")]
    Map(#[from] MapError),
}

/// How a partition's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The guest ended, by itself or by its own fault.
    Guest(GuestEnd),
    /// The hypervisor stopped it: its time was over.
    Deadline,
    /// The hypervisor stopped it: a device of its was blocked, and the configuration says so.
    Blocked,
    /// The hypervisor stopped it: its memory could not be mapped.
    Backing(MapError),
    /// It has not run to an end.
    None,
}

/// A guest with all that its CPU needs.
pub(super) struct Partition {
    pub(super) name: String,
    pub(super) vcpu: SvmVcpu,
    pub(super) platform: Platform,
    pub(super) functions: AssignedFunctions,
    pub(super) backend: MachineBackend,
    pub(super) ending: Ending,
    pub(super) started: u64,
    pub(super) entry_ticks: u64,
    /// Of its first life, where this is a later one.
    pub(super) first_start: Option<u64>,
    /// How often it was started again.
    pub(super) restarts: u32,
    /// It is to be started again, by the CPU that runs it next.
    pub(super) again: Option<Again>,
    /// It was to be started again, and that failed.
    pub(super) failed: Option<Failed>,
}

impl Partition {
    /// Loads the guest's memory and builds its tables. What devices will reach is wiped here, anything else when it is
    /// used for the first time.
    pub(super) fn build(
        ready: &Ready,
        table: Option<&'static Table>,
        features: Features,
        entry_ticks: u64,
    ) -> Result<Box<Self>, BuildError> {
        let (grant, config) = (ready.grant, &ready.guest);
        let base = NonNull::new(grant.ram as *mut u8).ok_or(MemoryError::Size { size: grant.bytes })?;
        // SAFETY: the memory map calls the range free RAM, it is mapped one to one, and it was granted to this guest
        // alone; nothing of the hypervisor lies there.
        let memory = unsafe { GuestMemory::new(base, HostPhys(grant.ram), grant.bytes) }?;
        let functions: Vec<&Function> = match table {
            Some(table) => config
                .devices
                .iter()
                .filter_map(|bdf| table.platform().function(*bdf))
                .collect(),
            None => Vec::new(),
        };
        let wiring = Wiring {
            cpus: 1,
            lines: false,
        };
        let mut assigned = AssignedFunctions::new(backend::config(table), &functions, wiring)?;
        steps::done("bus of the guest");
        if !config.devices.is_empty() {
            memory.wipe_all();
        }
        steps::done("wiping");
        let parameters = BootParameters {
            command_line: &config.cmdline,
            cpus: 1,
            initrd: ready.initrd,
            tsc_khz: crate::cpu::clock::khz(),
        };
        let entry = loader::load(ready.image, parameters, &memory)?;
        steps::done("loading");
        let mut backing = Backing::new(NestedTables::new(HeapFrames, features.page1g)?);
        backing.map_wiped(&memory)?;
        let root = backing.root();
        let mut backend = MachineBackend::new(table, grant.cpu, backing);
        assigned.show(&mut backend);
        steps::done("nested tables");
        let mut msrs = MsrPermissions::deny_all();
        direct_msrs().for_each(|msr| msrs.allow(msr));
        let ports = Arc::from(IoPermissions::deny_all());
        let mut vcpu = SvmVcpu::new(root, ports, Arc::from(msrs), features.nrip_save);
        match entry {
            Entry::Protected(entry) => vcpu.reset(EntryState {
                eip: entry.eip,
                ebx: entry.ebx,
            }),
            Entry::Long(entry) => vcpu.reset_long(entry),
        }
        for place in assigned.placements() {
            log::info!("{} finds {} at {}", config.name, place.physical, place.guest);
        }
        steps::done("vCPU");
        Ok(Box::new(Self {
            name: config.name.clone(),
            vcpu,
            platform: Platform::new(memory).answering(config.denied),
            functions: assigned,
            backend,
            ending: Ending::None,
            started: 0,
            entry_ticks,
            first_start: None,
            restarts: 0,
            again: None,
            failed: None,
        }))
    }

    /// What the guest's devices may reach: its memory, at the addresses that the guest knows.
    pub(super) fn dma_regions(&self) -> Vec<Mapping> {
        let regions = self.platform.memory().regions();
        let used = regions.iter().filter(|region| region.size != 0);
        used.map(|region| Mapping {
            iova: region.gpa.iova(),
            host: region.hpa,
            size: region.size,
            access: if region.rights.write {
                Access::READ | Access::WRITE
            } else {
                Access::READ
            },
        })
        .collect()
    }

    /// Whether it succeeded, and how it ended, for people.
    pub(super) fn ending(&self) -> (bool, String) {
        match self.ending {
            Ending::Guest(end) => (end.success(), end.to_string()),
            Ending::Deadline => (
                false,
                String::from("stopped: it still ran when the deadline passed"),
            ),
            Ending::Blocked => (
                false,
                String::from("was stopped because its device was blocked (on-fault is \"stop\")"),
            ),
            Ending::Backing(error) => (false, alloc::format!("stopped: nested page tables: {error}")),
            Ending::None => (false, String::from("never ran")),
        }
    }

    /// How it ended, for programs.
    pub(super) const fn reason(&self) -> EndReason {
        match self.ending {
            Ending::Guest(end) => end.reason(),
            Ending::Deadline => EndReason::Deadline,
            Ending::Blocked => EndReason::Fault(FaultKind::Dma),
            Ending::Backing(_) | Ending::None => EndReason::Hypervisor,
        }
    }

    /// Whether it was stopped for its own fault, or because its time was over.
    pub(super) const fn stopped(&self) -> bool {
        matches!(
            self.ending,
            Ending::Guest(GuestEnd::Fault(_)) | Ending::Deadline | Ending::Blocked
        )
    }

    /// Exits by reason.
    pub(super) fn exits(&self) -> Vec<(String, u64)> {
        self.platform
            .exits()
            .map(|(kind, count)| (kind.name().to_string(), count))
            .collect()
    }

    /// Interrupts of devices.
    pub(super) const fn interrupts(&self) -> u64 {
        self.platform.interrupts()
    }

    /// Ticks from the hypervisor's entry to the guest's first instruction, of its first life.
    pub(super) const fn start_ticks(&self) -> u64 {
        match self.first_start {
            Some(ticks) => ticks,
            None => self.started.saturating_sub(self.entry_ticks),
        }
    }

    /// Zeroes what the guest had of its memory: the next owner finds nothing.
    pub(super) fn wipe(&self) {
        self.platform.memory().erase();
    }
}
