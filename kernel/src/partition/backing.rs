//! What stands behind a guest's physical addresses: its nested page tables, and RAM that comes in when it is touched.

use crate::addr::{GuestPhys, HostPhys};
use crate::guest::GuestMemory;
use crate::guest::layout::MemoryRegion;
use crate::memory::frames::HeapFrames;
use crate::virt::NestedFault;
use crate::virt::nested::{MapError, NestedTables};
use core::ops::Range;

/// A guest's nested page tables, which its processors walk as long as it runs.
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

    /// Maps all of `memory` that has been wiped, in as few and so as large pieces as can be.
    pub(super) fn map_wiped(&mut self, memory: &GuestMemory) -> Result<(), MapError> {
        let mut run = 0..0;
        for piece in memory.wiped() {
            if piece.start != run.end {
                self.map(memory, run)?;
                run = piece.start..piece.start;
            }
            run.end = piece.end;
        }
        self.map(memory, run)
    }

    /// Maps `region`, which nothing is mapped in.
    ///
    /// # Errors
    /// No memory for tables.
    pub(super) fn map_region(&mut self, region: MemoryRegion) -> Result<(), MapError> {
        self.tables
            .map(region.gpa, region.hpa, region.size, region.rights)
    }

    /// Takes `region` back. Processors that run the guest must be flushed, and then [`release`](Self::release) be called.
    ///
    /// # Errors
    /// It is not made of whole pages.
    pub(super) fn unmap_region(&mut self, region: MemoryRegion) -> Result<(), MapError> {
        self.tables.unmap(region.gpa, region.size)
    }

    /// Gives back the frames of tables that were emptied: every processor was flushed since.
    pub(super) fn release(&mut self) {
        self.tables.release();
    }

    /// The piece of RAM that `fault` wants, if it does, wiped.
    pub(super) fn wipe_for(memory: &GuestMemory, fault: NestedFault) -> Option<Range<u64>> {
        let of_memory = memory
            .regions()
            .iter()
            .any(|region| fault.gpa.0.wrapping_sub(region.gpa.0) < region.size);
        if fault.present || !of_memory {
            return None;
        }
        memory.wipe_piece(fault.gpa)
    }

    /// Maps the `piece` that `fault` wanted, unless another vCPU was faster.
    ///
    /// # Errors
    /// No memory for tables; the guest cannot go on.
    pub(super) fn bring_in(
        &mut self,
        memory: &GuestMemory,
        fault: NestedFault,
        piece: Range<u64>,
    ) -> Result<(), MapError> {
        match self.tables.translate(fault.gpa) {
            Some(_) => Ok(()),
            None => self.map(memory, piece),
        }
    }

    /// Maps what of `memory` lies in `piece`.
    fn map(&mut self, memory: &GuestMemory, piece: Range<u64>) -> Result<(), MapError> {
        for region in memory.regions() {
            if let Some(part) = clip(region, &piece) {
                self.tables.map(part.gpa, part.hpa, part.size, part.rights)?;
            }
        }
        Ok(())
    }
}

/// What of `region` lies in `piece`.
fn clip(region: MemoryRegion, piece: &Range<u64>) -> Option<MemoryRegion> {
    let first = region.gpa.0.max(piece.start);
    let size = piece.end.min(region.gpa.0 + region.size).checked_sub(first)?;
    (size > 0).then_some(MemoryRegion {
        gpa: GuestPhys(first),
        hpa: HostPhys(region.hpa.0 + (first - region.gpa.0)),
        size,
        ..region
    })
}
