//! What stands behind a guest's physical addresses: its nested page tables, and RAM that comes in when it is touched.

use super::frames::HeapFrames;
use crate::addr::{GuestPhys, HostPhys};
use crate::guest::GuestMemory;
use crate::guest::layout::MemoryRegion;
use crate::memory::regions::LARGE;
use crate::virt::NestedFault;
use crate::virt::nested::{MapError, NestedTables};

/// A guest's nested page tables, which the processor walks as long as it runs.
pub(super) struct Backing {
    pub(super) tables: NestedTables<HeapFrames>,
}

impl Backing {
    pub(super) const fn new(tables: NestedTables<HeapFrames>) -> Self {
        Self { tables }
    }

    /// Host physical address of the top table.
    pub(super) const fn root(&self) -> u64 {
        self.tables.root().0
    }

    /// Maps all of `memory` that has been wiped: with the largest pages where that is all of it.
    pub(super) fn map_wiped(&mut self, memory: &GuestMemory) -> Result<(), MapError> {
        let pieces = || (0..memory.size().div_ceil(LARGE)).map(|number| GuestPhys(number * LARGE));
        if pieces().all(|piece| memory.is_wiped(piece)) {
            return self.map(memory, 0, memory.size());
        }
        for piece in pieces().filter(|piece| memory.is_wiped(*piece)) {
            self.map(memory, piece.0, piece.0 + LARGE)?;
        }
        Ok(())
    }

    /// Brings in the RAM that `fault` wants, if it does. Says whether that is so.
    ///
    /// # Errors
    /// No memory for tables; the guest cannot go on.
    pub(super) fn bring_in(&mut self, memory: &GuestMemory, fault: NestedFault) -> Result<bool, MapError> {
        let of_memory = memory
            .regions()
            .iter()
            .any(|region| fault.gpa.0.wrapping_sub(region.gpa.0) < region.size);
        if fault.present || !of_memory {
            return Ok(false);
        }
        let piece = fault.gpa.0 & !(LARGE - 1);
        memory.wipe_piece(fault.gpa);
        self.map(memory, piece, piece + LARGE)?;
        Ok(true)
    }

    /// Maps what of `memory` lies from `start` to `end`.
    fn map(&mut self, memory: &GuestMemory, start: u64, end: u64) -> Result<(), MapError> {
        for region in memory.regions() {
            if let Some(part) = clip(region, start, end) {
                self.tables.map(part.gpa, part.hpa, part.size, part.rights)?;
            }
        }
        Ok(())
    }
}

/// What of `region` lies from `start` to `end`.
fn clip(region: MemoryRegion, start: u64, end: u64) -> Option<MemoryRegion> {
    let first = region.gpa.0.max(start);
    let size = end.min(region.gpa.0 + region.size).checked_sub(first)?;
    (size > 0).then_some(MemoryRegion {
        gpa: GuestPhys(first),
        hpa: HostPhys(region.hpa.0 + (first - region.gpa.0)),
        size,
        ..region
    })
}
