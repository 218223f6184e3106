//! The narrow way to a unit: its registers, memory that it reads and writes, and time.
//!
//! The machine's is [`MachineUnit`](super::MachineUnit); host tests put a unit there that walks tables by itself and misbehaves.

use crate::addr::HostPhys;
use crate::memory::tables::FrameSource;
use core::fmt;

/// A unit, and memory that it shares with the driver.
///
/// `at` is always inside what [`allocate`](Self::allocate) returned and [`free`](Self::free) has not taken back, and aligned to what
/// is read or written. What one call writes is in memory before what a later one writes, be it to memory or to a register.
pub trait Hardware {
    /// Frames for page tables.
    type Frames: FrameSource + fmt::Debug;

    /// Where page tables come from.
    fn frames(&self) -> Self::Frames;

    /// Reads a register (`spec::amdvi::registers`).
    fn read(&mut self, register: u16) -> u64;
    /// Writes a register.
    fn write(&mut self, register: u16, value: u64);

    /// `bytes` of memory in one piece, a multiple of 4 KiB and aligned to that, all zeros; `None` when there is none left.
    fn allocate(&mut self, bytes: u64) -> Option<HostPhys>;
    /// Takes back what `allocate` has returned for as many bytes.
    fn free(&mut self, at: HostPhys, bytes: u64);
    /// Reads 8 bytes, in one load.
    fn load(&self, at: HostPhys) -> u64;
    /// Writes 8 bytes, in one store: the unit may be reading.
    fn store(&mut self, at: HostPhys, value: u64);
    /// Writes 4 bytes, in one store.
    fn store_half(&mut self, at: HostPhys, value: u32);

    /// Returns `nanoseconds` later.
    fn wait(&self, nanoseconds: u64);
}

/// Looks that are taken without a pause: a unit is done after a few, most of the time.
const AT_ONCE: u32 = 1000;
/// The first pause after that, in nanoseconds. Each is twice the one before, up to [`LONGEST`].
const SHORTEST: u64 = 1_000;
/// The longest pause.
const LONGEST: u64 = 1_000_000;
/// All pauses together: a second.
const PATIENCE: u64 = 1_000_000_000;

/// Looks until `done` has something, for about a second.
pub(super) fn poll<H: Hardware, R>(hardware: &mut H, mut done: impl FnMut(&mut H) -> Option<R>) -> Option<R> {
    for _ in 0..AT_ONCE {
        if let Some(result) = done(hardware) {
            return Some(result);
        }
        core::hint::spin_loop();
    }
    let (mut pause, mut waited) = (SHORTEST, 0);
    while waited < PATIENCE {
        hardware.wait(pause);
        if let Some(result) = done(hardware) {
            return Some(result);
        }
        waited += pause;
        pause = (2 * pause).min(LONGEST);
    }
    None
}
