//! The narrow way to a unit: its registers, and the memory that it walks.
//!
//! The machine's is in [`super::machine`]; host tests put a unit there that walks the tables itself, and misbehaves.

use crate::addr::HostPhys;
use crate::memory::tables::FrameSource;

/// Registers of a unit, by the offsets in `spec::vtd::register`. Accesses are made in order, each as one.
pub trait Registers {
    /// Reads 32 bits.
    fn read32(&mut self, offset: u32) -> u32;
    /// Reads 64 bits.
    fn read64(&mut self, offset: u32) -> u64;
    /// Writes 32 bits, after everything that was written to memory before.
    fn write32(&mut self, offset: u32, value: u32);
    /// Writes 64 bits, after everything that was written to memory before.
    fn write64(&mut self, offset: u32, value: u64);
}

/// Memory for what a unit walks.
pub trait Memory: FrameSource + Clone {
    /// This many frames in one piece, a power of two, aligned to their size and all zeros, never given back; `None` when there
    /// is no such piece.
    fn contiguous(&mut self, frames: usize) -> Option<HostPhys>;

    /// Has `words` entries from `index` on of a frame reach memory past the processor's caches, before anything that is done
    /// later.
    fn write_back(&self, frame: HostPhys, index: usize, words: usize);
}

/// Memory as one unit walks it: written back at each change where the unit does not look into the processor's caches.
#[derive(Clone, Debug)]
pub(super) struct Walked<M> {
    pub(super) memory: M,
    /// ECAP.C: the unit snoops.
    pub(super) coherent: bool,
}

impl<M: Memory> Walked<M> {
    /// Has a frame that was written past this type, or never, reach the unit.
    pub(super) fn written(&self, frame: HostPhys) {
        if !self.coherent {
            self.memory.write_back(frame, 0, spec::page_table::ENTRIES);
        }
    }
}

impl<M: Memory> FrameSource for Walked<M> {
    fn allocate(&mut self) -> Option<HostPhys> {
        let frame = self.memory.allocate()?;
        self.written(frame);
        Some(frame)
    }

    fn free(&mut self, frame: HostPhys) {
        self.memory.free(frame);
    }

    fn read(&self, frame: HostPhys, index: usize) -> u64 {
        self.memory.read(frame, index)
    }

    fn write(&mut self, frame: HostPhys, index: usize, entry: u64) {
        self.memory.write(frame, index, entry);
        if !self.coherent {
            self.memory.write_back(frame, index, 1);
        }
    }
}
