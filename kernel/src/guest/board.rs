//! What the vCPUs of a guest share beside its assigned functions: memory, messages between local APICs, I/O APIC, console.
//!
//! Every vCPU works on the board at any time. Locks are taken in this order, and each for a few instructions: the functions'
//! (`partition::machine`), the nested tables', the console's, the I/O APIC's. None is held while a vCPU is in the guest.

use super::apic::ApicBus;
use super::console::Console;
use super::ioapic::IoApic;
use super::lines::{CONSOLE_LINE, CONSOLE_SOURCE, INTX, Lines};
use super::{GuestFault, GuestMemory};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use cohort_abi::bundle::Denied;
use spin::Mutex;

/// The board of one guest.
#[derive(Debug)]
pub struct Board {
    pub(super) memory: GuestMemory,
    pub(super) bus: ApicBus,
    pub(super) console: Mutex<Console>,
    pub(super) ioapic: Mutex<IoApic>,
    pub(super) denied: Denied,
    /// Ticks of the time-stamp counter in a millisecond; 0 where it is not known.
    pub(super) tsc_khz: u64,
    /// INTx lines whose interrupt has ended since the last look, a bit each.
    ended: AtomicU32,
    /// Where one last halted with interrupts off.
    stopped_at: AtomicU64,
}

impl Board {
    /// The board of a guest with this memory and `cpus` vCPUs, 1 to [`MAX_CPUS`](super::apic::MAX_CPUS).
    #[must_use]
    pub fn new(memory: GuestMemory, cpus: u8) -> Self {
        Self {
            memory,
            bus: ApicBus::new(cpus),
            console: Mutex::new(Console::default()),
            ioapic: Mutex::new(IoApic::default()),
            denied: Denied::Stop,
            tsc_khz: 0,
            ended: AtomicU32::new(0),
            stopped_at: AtomicU64::new(0),
        }
    }

    /// What no table allows is answered as `denied` says; without this, it ends the guest.
    #[must_use]
    pub const fn answering(mut self, denied: Denied) -> Self {
        self.denied = denied;
        self
    }

    /// The guest is told that its time-stamp counter counts `khz` ticks in a millisecond.
    #[must_use]
    pub const fn ticking(mut self, khz: u64) -> Self {
        self.tsc_khz = khz;
        self
    }

    /// The guest's memory.
    #[must_use]
    pub const fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// vCPUs.
    #[must_use]
    pub fn cpus(&self) -> u8 {
        self.bus.cpus()
    }

    /// The interrupt lines.
    #[must_use]
    pub const fn lines(&self) -> Lines<'_> {
        Lines::new(&self.ioapic, &self.bus)
    }

    /// The vCPUs that something was left for and that may be in the guest, a bit each. Whoever runs a vCPU asks after each exit and
    /// kicks them.
    pub fn take_kicks(&self) -> u64 {
        self.bus.take_kicks()
    }

    /// Ends the guest's unfinished line of output.
    pub fn flush(&self, emit: impl FnOnce(&str)) {
        self.console.lock().flush(emit);
    }

    /// A vCPU halts with interrupts off at `rip`.
    pub(super) fn note_stop(&self, rip: u64) {
        self.stopped_at.store(rip, Ordering::Relaxed);
    }

    /// Every vCPU of the guest sleeps for good.
    pub(super) fn all_asleep(&self) -> GuestFault {
        let rip = self.stopped_at.load(Ordering::Relaxed);
        GuestFault::HaltForever { rip }
    }

    /// A level-triggered interrupt is over at a local APIC.
    pub(super) fn end_of_level(&self, vector: u8) {
        let mut send = |message, level| self.bus.send(None, message, level);
        let mut ioapic = self.ioapic.lock();
        let intx = ioapic.in_hand(vector) & INTX;
        ioapic.forget_sources(intx);
        ioapic.end(vector, &mut send);
        self.ended.fetch_or(intx, Ordering::AcqRel);
    }

    /// The INTx lines whose interrupt has ended since the last call, a bit each. Whoever runs a vCPU asks after each exit, and has the
    /// functions look whether they still assert them.
    pub fn take_ended(&self) -> u32 {
        match self.ended.load(Ordering::Acquire) {
            0 => 0,
            _ => self.ended.swap(0, Ordering::AcqRel),
        }
    }

    /// Works on the console, and passes its line on.
    pub(super) fn with_console<R>(&self, work: impl FnOnce(&mut Console) -> R) -> R {
        let mut console = self.console.lock();
        let result = work(&mut console);
        // With the lock held: else an older level could come after a newer one.
        self.lines()
            .set(CONSOLE_LINE, CONSOLE_SOURCE, console.interrupts());
        result
    }
}
