//! Nested page tables in the AMD64 format: which host memory stands behind a guest's physical addresses.
//!
//! Built from ranges of the guest's memory and of its devices, and changed while the guest runs: what is taken out counts as gone when
//! its processors were flushed ([`super::gate`]), and only then are the frames that it freed given back. The engine is
//! [`crate::memory::tables`]; here is what the entries mean.

use crate::addr::{GuestPhys, HostPhys};
use crate::memory::tables::{Format, FrameSource, TableError, Tables};
use spec::page_table::Entry;

/// What a guest may do with a range. Reading is always allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Write.
    pub write: bool,
    /// Fetch instructions.
    pub execute: bool,
    /// Not cached, whatever the guest's tables say: device memory.
    pub uncacheable: bool,
}

impl Rights {
    /// RAM.
    pub const RAM: Self = Self {
        write: true,
        execute: true,
        uncacheable: false,
    };
    /// Read-only memory.
    pub const ROM: Self = Self {
        write: false,
        execute: true,
        uncacheable: false,
    };
    /// Registers of a device.
    pub const DEVICE: Self = Self {
        write: true,
        execute: false,
        uncacheable: true,
    };

    fn leaf(self) -> Entry {
        let mut entry = Entry::PRESENT | Entry::USER;
        entry.set(Entry::WRITABLE, self.write);
        entry.set(Entry::NO_EXECUTE, !self.execute);
        entry.set(Entry::NO_CACHE | Entry::WRITE_THROUGH, self.uncacheable);
        entry
    }
}

/// Why a range could not be mapped. The tables are as they were before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// An address or the size is not a multiple of 4 KiB, or the size is zero.
    #[error("a mapping at guest {gpa}, host {hpa}, of {size:#x} bytes is not made of whole pages")]
    Alignment {
        /// Start in the guest.
        gpa: GuestPhys,
        /// Start in the host.
        hpa: HostPhys,
        /// Bytes.
        size: u64,
    },
    /// Beyond the 48 bits of a guest's, or the 52 bits of a host's, physical address.
    #[error("a mapping at guest {gpa}, host {hpa}, of {size:#x} bytes reaches beyond the address space")]
    Range {
        /// Start in the guest.
        gpa: GuestPhys,
        /// Start in the host.
        hpa: HostPhys,
        /// Bytes.
        size: u64,
    },
    /// Something is mapped in the range already.
    #[error("guest {gpa} is mapped already")]
    Overlap {
        /// The first address that is mapped.
        gpa: GuestPhys,
    },
    /// No frame left for a table.
    #[error("no memory left for nested page tables")]
    OutOfFrames,
}

const fn refused(error: TableError, gpa: GuestPhys, hpa: HostPhys, size: u64) -> MapError {
    match error {
        TableError::Alignment => MapError::Alignment { gpa, hpa, size },
        TableError::Range => MapError::Range { gpa, hpa, size },
        TableError::Overlap { at } | TableError::Split { at, .. } => MapError::Overlap { gpa: GuestPhys(at) },
        TableError::OutOfFrames => MapError::OutOfFrames,
    }
}

/// What stands behind a guest physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The byte in the host.
    pub hpa: HostPhys,
    /// What the guest may do with it.
    pub rights: Rights,
    /// Bytes of the page that maps it: 4 KiB, 2 MiB or 1 GiB.
    pub page: u64,
}

/// The nested page tables of one guest.
#[derive(Debug)]
pub struct NestedTables<F: FrameSource>(Tables<F>);

impl<F: FrameSource> NestedTables<F> {
    /// Empty tables: every access faults. `gigabyte_pages` where the processor has them (CPUID 8000_0001, EDX
    /// bit 26).
    ///
    /// # Errors
    /// [`MapError::OutOfFrames`].
    pub fn new(frames: F, gigabyte_pages: bool) -> Result<Self, MapError> {
        let tables = Tables::new(frames, Format::nested(gigabyte_pages));
        tables.map(Self).map_err(|_| MapError::OutOfFrames)
    }

    /// Host physical address of the top table, what nCR3 takes.
    #[must_use]
    pub const fn root(&self) -> HostPhys {
        self.0.root()
    }

    /// Lets the guest reach `size` bytes of the host at `hpa` through `gpa`.
    ///
    /// # Errors
    /// [`MapError`]; nothing is mapped then. Tables that it made and took out again wait for [`release`](Self::release).
    pub fn map(&mut self, gpa: GuestPhys, hpa: HostPhys, size: u64, rights: Rights) -> Result<(), MapError> {
        let mapped = self.0.map(gpa.0, hpa, size, rights.leaf().bits());
        mapped.map_err(|error| refused(error, gpa, hpa, size))
    }

    /// Takes back what is mapped of `size` bytes at `gpa`; holes are fine. The guest may reach it until its processors are flushed;
    /// the tables that this empties wait for [`release`](Self::release).
    ///
    /// # Errors
    /// [`MapError::Alignment`], [`MapError::Range`], or [`MapError::Overlap`] with a page that would have to be cut; nothing is
    /// taken back.
    pub fn unmap(&mut self, gpa: GuestPhys, size: u64) -> Result<(), MapError> {
        let done = self.0.unmap(gpa.0, size);
        done.map_err(|error| refused(error, gpa, HostPhys(0), size))
    }

    /// Gives back the frames of tables that were emptied: every processor was flushed since, or the guest does not run.
    pub fn release(&mut self) {
        self.0.release();
    }

    /// What stands behind `gpa`, if anything.
    #[must_use]
    pub fn translate(&self, gpa: GuestPhys) -> Option<Translation> {
        let found = self.0.find(gpa.0)?;
        let flags = Entry::from_bits_retain(found.entry);
        Some(Translation {
            hpa: found.to,
            rights: Rights {
                write: flags.contains(Entry::WRITABLE),
                execute: !flags.contains(Entry::NO_EXECUTE),
                uncacheable: flags.contains(Entry::NO_CACHE),
            },
            page: found.page,
        })
    }
}

#[cfg(test)]
#[path = "nested_tests.rs"]
mod tests;
