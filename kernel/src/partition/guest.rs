//! One partition: everything that a guest's CPUs work on, built before the guest runs.
#![expect(unsafe_code, reason = "takes RAM that the memory map calls free")]

use super::backend::{self, Leases, MachineBackend};
use super::backing::Backing;
use super::cpus::Cpus;
use super::prepare::Ready;
use super::routes::Routes;
use super::space::Space;
use super::vcpu::Vcpu;
use crate::addr::{GuestPhys, HostPhys};
use crate::console;
use crate::guest::board::Board;
use crate::guest::devices::{self, AssignedFunctions, BusError, Wiring};
use crate::guest::dispatch::{Devices, Platform};
use crate::guest::lines::{Line, LineSource, intx_line, intx_source};
use crate::guest::loader::{self, BootParameters, Entry, LoadError};
use crate::guest::policy::direct_msrs;
use crate::guest::{GuestEnd, GuestMemory, MemoryError};
use crate::memory::frames::HeapFrames;
use crate::pci::Function;
use crate::steps;
use crate::survey::Table;
use crate::virt::nested::{MapError, NestedTables};
use crate::virt::svm::{EntryState, Features, IoPermissions, MsrPermissions, SvmVcpu};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use cohort_abi::end::{EndReason, FaultKind};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;
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

/// The assigned functions and the machine behind them.
pub(super) struct Assigned {
    pub(super) functions: AssignedFunctions,
    pub(super) backend: MachineBackend,
}

/// A guest with all that its CPUs share.
pub(super) struct Partition {
    pub(super) name: String,
    pub(super) board: Arc<Board>,
    pub(super) cpus: Arc<Cpus>,
    pub(super) space: Arc<Space>,
    pub(super) routes: Arc<Routes>,
    /// Held by one vCPU at a time, also while it resets a function: the others wait outside the guest if they need it.
    pub(super) assigned: Mutex<Assigned>,
    ending: Mutex<Ending>,
    started: AtomicU64,
    pub(super) entry_ticks: u64,
}

/// A partition's assigned functions, locked for each access.
pub(super) struct Registers<'a>(pub(super) &'a Mutex<Assigned>);

impl Devices for Registers<'_> {
    fn has(&self, gpa: GuestPhys) -> bool {
        self.0.lock().functions.has(gpa)
    }

    fn read(&mut self, gpa: GuestPhys, bytes: u8) -> Option<u64> {
        let Assigned { functions, backend } = &mut *self.0.lock();
        functions.with(backend).read(gpa, bytes)
    }

    fn write(&mut self, gpa: GuestPhys, bytes: u8, value: u64) -> bool {
        let Assigned { functions, backend } = &mut *self.0.lock();
        functions.with(backend).write(gpa, bytes, value)
    }
}

/// The input of the I/O APIC that a function's line is, and what stands for the function there.
const fn line_of(line: devices::Line) -> (Line, LineSource) {
    let (slot, pin) = (line.devfn >> 3, line.pin.saturating_sub(1));
    (intx_line(slot, pin), intx_source(slot, pin))
}

impl Partition {
    /// Loads the guest's memory and builds its tables and its vCPUs. What devices will reach is wiped here, anything else when it is
    /// used for the first time.
    pub(super) fn build(
        ready: &Ready,
        table: Option<&'static Table>,
        features: Features,
        entry_ticks: u64,
    ) -> Result<(Arc<Self>, Vec<Vcpu>), BuildError> {
        let (grant, config) = (&ready.grant, &ready.guest);
        let cpus = Arc::new(Cpus::new(grant.cpus.clone()));
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
            cpus: cpus.count(),
            lines: true,
        };
        let mut assigned = AssignedFunctions::new(backend::config(table), &functions, wiring)?;
        steps::done("bus of the guest");
        if !config.devices.is_empty() {
            memory.wipe_all();
        }
        steps::done("wiping");
        let parameters = BootParameters {
            command_line: &config.cmdline,
            cpus: cpus.count(),
            initrd: ready.initrd,
            tsc_khz: crate::cpu::clock::khz(),
        };
        let entry = loader::load(ready.image, parameters, &memory)?;
        steps::done("loading");
        let mut backing = Backing::new(NestedTables::new(HeapFrames, features.page1g)?);
        backing.map_wiped(&memory)?;
        let space = Arc::new(Space::new(backing, cpus.clone()));
        let routes = Arc::new(Routes::new());
        let mut backend = MachineBackend::new(table, cpus.clone(), routes.clone(), space.clone());
        assigned.show(&mut backend);
        steps::done("nested tables");
        let mut msrs = MsrPermissions::deny_all();
        direct_msrs().for_each(|msr| msrs.allow(msr));
        let (ports, msrs) = (Arc::from(IoPermissions::deny_all()), Arc::from(msrs));
        let board = Board::new(memory, cpus.count())
            .answering(config.denied)
            .ticking(crate::cpu::clock::khz());
        for place in assigned.placements() {
            log::info!("{} finds {} at {}", config.name, place.physical, place.guest);
        }
        let partition = Arc::new(Self {
            name: config.name.clone(),
            board: Arc::new(board),
            cpus: cpus.clone(),
            space,
            routes,
            assigned: Mutex::new(Assigned {
                functions: assigned,
                backend,
            }),
            ending: Mutex::new(Ending::None),
            started: AtomicU64::new(0),
            entry_ticks,
        });
        let vcpu = |id| {
            let (ports, msrs) = (Arc::clone(&ports), Arc::clone(&msrs));
            let mut vcpu = SvmVcpu::new(partition.space.root(), ports, msrs, features.nrip_save);
            match entry {
                _ if id != 0 => {}
                Entry::Protected(entry) => vcpu.reset(EntryState {
                    eip: entry.eip,
                    ebx: entry.ebx,
                }),
                Entry::Long(entry) => vcpu.reset_long(entry),
            }
            let platform = Platform::new(partition.board.clone(), id);
            Vcpu::new(partition.clone(), id, vcpu, platform)
        };
        let vcpus = (0..cpus.count()).map(vcpu).collect();
        steps::done("vCPUs");
        Ok((partition, vcpus))
    }

    /// Looks which functions assert their INTx lines. A vCPU that works on the functions now makes this wait for the next time.
    pub(super) fn poll_lines(&self) {
        if let Some(mut assigned) = self.assigned.try_lock() {
            let Assigned { functions, backend } = &mut *assigned;
            functions.poll_lines(backend, &mut |line| self.raise(line));
        }
        self.cpus.kick_all(self.board.take_kicks());
    }

    /// The guest has ended the interrupts of these lines, a bit each: functions that still assert them interrupt again.
    pub(super) fn end_lines(&self, ended: u32) {
        let Assigned { functions, backend } = &mut *self.assigned.lock();
        let concerned = |line: devices::Line| ended >> line_of(line).0.0 & 1 != 0;
        functions.end_of_interrupt(backend, &concerned, &mut |line| self.raise(line));
    }

    fn raise(&self, line: devices::Line) {
        let (line, source) = line_of(line);
        self.board.lines().raise(line, source);
    }

    /// vCPU 0 begins.
    pub(super) fn begin(&self, now: u64) {
        self.started.store(now, Ordering::Relaxed);
    }

    /// The guest ends like this, unless it has ended already, on all its vCPUs.
    pub(super) fn end(&self, how: Ending) {
        {
            let mut ending = self.ending.lock();
            if *ending == Ending::None {
                *ending = how;
            }
        }
        self.cpus.stop();
    }

    /// What the guest's devices may reach: its memory, at the addresses that the guest knows.
    pub(super) fn dma_regions(&self) -> Vec<Mapping> {
        let regions = self.board.memory().regions();
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
        match *self.ending.lock() {
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
    pub(super) fn reason(&self) -> EndReason {
        match *self.ending.lock() {
            Ending::Guest(end) => end.reason(),
            Ending::Deadline => EndReason::Deadline,
            Ending::Blocked => EndReason::Fault(FaultKind::Dma),
            Ending::Backing(_) | Ending::None => EndReason::Hypervisor,
        }
    }

    /// All vCPUs have left: what the guest has printed of a line is a line, and nothing interrupts for it any more.
    pub(super) fn quiet(&self) {
        self.board
            .flush(|line| console::line(format_args!("[{}] {line}", self.name)));
        let Assigned { functions, backend } = &mut *self.assigned.lock();
        functions.release(backend);
    }

    /// Gives it `leases`, whose functions are open, and has their lines seen.
    pub(super) fn hold(&self, leases: Leases) {
        let Assigned { functions, backend } = &mut *self.assigned.lock();
        backend.leases = leases;
        functions.listen(backend);
    }

    /// Takes its leases from it.
    pub(super) fn take_leases(&self) -> Leases {
        core::mem::take(&mut self.assigned.lock().backend.leases)
    }

    /// Whether it was stopped for its own fault, or because its time was over.
    pub(super) fn stopped(&self) -> bool {
        matches!(
            *self.ending.lock(),
            Ending::Guest(GuestEnd::Fault(_)) | Ending::Deadline | Ending::Blocked
        )
    }

    /// Ticks from the hypervisor's entry to the guest's first instruction.
    pub(super) fn start_ticks(&self) -> u64 {
        self.started
            .load(Ordering::Relaxed)
            .saturating_sub(self.entry_ticks)
    }

    /// Zeroes what the guest had of its memory: the next owner finds nothing.
    pub(super) fn wipe(&self) {
        self.board.memory().erase();
    }
}
