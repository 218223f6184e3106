//! Nested page tables in the AMD64 format: which host memory stands behind a guest's physical addresses.
//!
//! Built once, before the guest runs, from ranges of its memory and of its devices. Pages are the largest that
//! alignment and size allow. Frames come from a [`FrameSource`], so that host tests can walk the tables, and go
//! back to it when the tables are dropped.

use crate::addr::{GuestPhys, HostPhys};
use spec::page_table::{ADDRESS, ADDRESS_BITS, ENTRIES, Entry, LEVELS, PAGE, span};

/// Where frames for tables come from, and how their entries are reached.
///
/// `frame` is always one that `allocate` returned and `free` has not taken back; `index` is below 512.
pub trait FrameSource {
    /// A frame of 4 KiB, all zeros, that nobody else uses; `None` when there is none left.
    fn allocate(&mut self) -> Option<HostPhys>;
    /// Takes a frame back.
    fn free(&mut self, frame: HostPhys);
    /// Reads one entry.
    fn read(&self, frame: HostPhys, index: usize) -> u64;
    /// Writes one entry, in one store: the guest's processors may be walking.
    fn write(&mut self, frame: HostPhys, index: usize, entry: u64);
}

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
pub struct NestedTables<F: FrameSource> {
    frames: F,
    root: HostPhys,
    largest: u8,
}

enum Step {
    Absent,
    Table(HostPhys),
    Page(u64),
}

fn step(entry: u64, level: u8) -> Step {
    let flags = Entry::from_bits_retain(entry);
    if !flags.contains(Entry::PRESENT) {
        Step::Absent
    } else if level == 1 || flags.contains(Entry::LARGE) {
        Step::Page(entry)
    } else {
        Step::Table(HostPhys(entry & ADDRESS))
    }
}

const fn index(gpa: u64, level: u8) -> usize {
    (gpa / span(level)) as usize % ENTRIES
}

impl<F: FrameSource> NestedTables<F> {
    /// Empty tables: every access faults. `gigabyte_pages` where the processor has them (CPUID 8000_0001, EDX
    /// bit 26).
    ///
    /// # Errors
    /// [`MapError::OutOfFrames`].
    pub fn new(mut frames: F, gigabyte_pages: bool) -> Result<Self, MapError> {
        let root = frames.allocate().ok_or(MapError::OutOfFrames)?;
        let largest = if gigabyte_pages { 3 } else { 2 };
        Ok(Self {
            frames,
            root,
            largest,
        })
    }

    /// Host physical address of the top table, what nCR3 takes.
    #[must_use]
    pub const fn root(&self) -> HostPhys {
        self.root
    }

    /// Lets the guest reach `size` bytes of the host at `hpa` through `gpa`.
    ///
    /// # Errors
    /// [`MapError`]; nothing is mapped then.
    pub fn map(&mut self, gpa: GuestPhys, hpa: HostPhys, size: u64, rights: Rights) -> Result<(), MapError> {
        if size == 0 || !(gpa.0 | hpa.0 | size).is_multiple_of(PAGE) {
            return Err(MapError::Alignment { gpa, hpa, size });
        }
        let within = |start: u64, limit: u64| start.checked_add(size).is_some_and(|end| end <= limit);
        if !within(gpa.0, 1 << ADDRESS_BITS) || !within(hpa.0, ADDRESS + PAGE) {
            return Err(MapError::Range { gpa, hpa, size });
        }
        self.check_free(gpa.0, gpa.0 + size)?;
        let (mut from, mut to, end) = (gpa.0, hpa.0, gpa.0 + size);
        while from < end {
            match self.place(from, to, end - from, rights) {
                Ok(done) => (from, to) = (from + done, to + done),
                Err(error) => {
                    self.clear(gpa.0, from);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Takes back what [`map`](Self::map) mapped of `size` bytes at `gpa`, where the same call mapped all of it. Processors may
    /// remember it until they are flushed.
    ///
    /// # Errors
    /// [`MapError::Alignment`]; nothing is taken back.
    pub fn unmap(&mut self, gpa: GuestPhys, size: u64) -> Result<(), MapError> {
        let end = gpa.0.checked_add(size).filter(|end| *end <= 1 << ADDRESS_BITS);
        match end.filter(|end| (gpa.0 | end).is_multiple_of(PAGE)) {
            Some(end) => {
                self.clear(gpa.0, end);
                Ok(())
            }
            None => Err(MapError::Alignment {
                gpa,
                hpa: HostPhys(0),
                size,
            }),
        }
    }

    /// What stands behind `gpa`, if anything.
    #[must_use]
    pub fn translate(&self, gpa: GuestPhys) -> Option<Translation> {
        if gpa.0 >> ADDRESS_BITS != 0 {
            return None;
        }
        let (entry, level, _) = self.find(gpa.0);
        let Step::Page(entry) = step(entry, level) else {
            return None;
        };
        let flags = Entry::from_bits_retain(entry);
        let page = span(level);
        Some(Translation {
            hpa: HostPhys((entry & ADDRESS & !(page - 1)) + gpa.0 % page),
            rights: Rights {
                write: flags.contains(Entry::WRITABLE),
                execute: !flags.contains(Entry::NO_EXECUTE),
                uncacheable: flags.contains(Entry::NO_CACHE),
            },
            page,
        })
    }

    /// The lowest entry on the way to `gpa` (absent or a page), its level and the table that it is in.
    fn find(&self, gpa: u64) -> (u64, u8, HostPhys) {
        let (mut table, mut level) = (self.root, LEVELS);
        loop {
            let entry = self.frames.read(table, index(gpa, level));
            match step(entry, level) {
                Step::Table(next) => (table, level) = (next, level - 1),
                Step::Absent | Step::Page(_) => return (entry, level, table),
            }
        }
    }

    fn check_free(&self, mut gpa: u64, end: u64) -> Result<(), MapError> {
        while gpa < end {
            let (mut entry, level, table) = self.find(gpa);
            // On through the same table as long as nothing is there.
            let mut at = index(gpa, level);
            while let Step::Absent = step(entry, level) {
                gpa = (gpa & !(span(level) - 1)) + span(level);
                at += 1;
                if at == ENTRIES || gpa >= end {
                    break;
                }
                entry = self.frames.read(table, at);
            }
            if let Step::Page(_) = step(entry, level) {
                return Err(MapError::Overlap { gpa: GuestPhys(gpa) });
            }
        }
        Ok(())
    }

    /// Maps the largest page that fits at `gpa`, and as many of that size behind it as one table takes. Says how many
    /// bytes that were.
    fn place(&mut self, gpa: u64, hpa: u64, size: u64, rights: Rights) -> Result<u64, MapError> {
        let (mut table, mut level) = (self.root, LEVELS);
        loop {
            let (at, page) = (index(gpa, level), span(level));
            let entry = self.frames.read(table, at);
            let absent = entry & Entry::PRESENT.bits() == 0;
            if absent && level <= self.largest && (gpa | hpa).is_multiple_of(page) && size >= page {
                let mut leaf = rights.leaf();
                leaf.set(Entry::LARGE, level > 1);
                let (mut at, mut done) = (at, 0);
                loop {
                    self.frames.write(table, at, (hpa + done) | leaf.bits());
                    (at, done) = (at + 1, done + page);
                    let room = at < ENTRIES && size - done >= page;
                    if !room || self.frames.read(table, at) & Entry::PRESENT.bits() != 0 {
                        return Ok(done);
                    }
                }
            }
            table = if absent {
                let frame = self.frames.allocate().ok_or(MapError::OutOfFrames)?;
                let link = Entry::PRESENT | Entry::WRITABLE | Entry::USER;
                self.frames.write(table, at, frame.0 | link.bits());
                frame
            } else {
                HostPhys(entry & ADDRESS)
            };
            level -= 1;
        }
    }

    /// Takes back whole pages between `gpa` and `end`; tables stay for the next mapping.
    fn clear(&mut self, mut gpa: u64, end: u64) {
        while gpa < end {
            let (mut table, mut level) = (self.root, LEVELS);
            while let Step::Table(next) = step(self.frames.read(table, index(gpa, level)), level) {
                (table, level) = (next, level - 1);
            }
            self.frames.write(table, index(gpa, level), 0);
            gpa = (gpa & !(span(level) - 1)) + span(level);
        }
    }

    fn free_table(&mut self, table: HostPhys, level: u8) {
        for at in 0..ENTRIES {
            if let Step::Table(next) = step(self.frames.read(table, at), level) {
                self.free_table(next, level - 1);
            }
        }
        self.frames.free(table);
    }
}

impl<F: FrameSource> Drop for NestedTables<F> {
    fn drop(&mut self) {
        self.free_table(self.root, LEVELS);
    }
}

#[cfg(test)]
#[path = "nested_tests.rs"]
mod tests;
