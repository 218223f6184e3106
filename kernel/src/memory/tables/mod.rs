//! Page tables for hardware that is not this processor's own walk: one engine, formats as data.
//!
//! Pages are the largest that alignment and size allow, and are never split: an unmap that would cut one is refused.
//! There are no empty tables but the root. A table that becomes empty is unlinked at once and kept aside, since hardware may
//! still have the link in a cache; [`Tables::release`] gives it back once the caches are known to be clean.
//! Nothing is allocated but frames, from a [`FrameSource`], and nothing at all by unmapping.
//!
//! [`crate::virt::nested`] and the drivers of IOMMUs are the users.

mod format;
#[cfg(test)]
pub(crate) mod tests;

pub use format::{Format, Mark};

use crate::addr::HostPhys;
use spec::page_table::{ENTRIES, PAGE, span};

/// Where frames for tables come from, and how their entries are reached.
///
/// `frame` is always one that `allocate` returned and `free` has not taken back; `index` is below 512.
pub trait FrameSource {
    /// A frame of 4 KiB, all zeros, that nobody else uses, never the one at address 0; `None` when there is none left.
    fn allocate(&mut self) -> Option<HostPhys>;
    /// Takes a frame back.
    fn free(&mut self, frame: HostPhys);
    /// Reads one entry.
    fn read(&self, frame: HostPhys, index: usize) -> u64;
    /// Writes one entry, in one store: hardware may be walking.
    fn write(&mut self, frame: HostPhys, index: usize, entry: u64);
}

/// Why tables are as they were before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// An address or the size is not a multiple of 4 KiB, or the size is zero.
    #[error("the range is not made of whole pages")]
    Alignment,
    /// Beyond what the tables translate, or what an entry can hold.
    #[error("the range reaches beyond the address space")]
    Range,
    /// Something is mapped in the range already.
    #[error("{at:#x} is mapped already")]
    Overlap {
        /// The first address that is mapped.
        at: u64,
    },
    /// The range cuts a page.
    #[error("the range cuts the page of {page:#x} bytes at {at:#x}")]
    Split {
        /// Where the page begins.
        at: u64,
        /// Its bytes.
        page: u64,
    },
    /// No frame left for a table.
    #[error("no memory left for page tables")]
    OutOfFrames,
}

/// A page that translates an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The byte in the host.
    pub to: HostPhys,
    /// The page's entry.
    pub entry: u64,
    /// Bytes of the page.
    pub page: u64,
}

/// Tables of one format. They go back to their source when dropped, when no hardware walks them any more.
#[derive(Debug)]
pub struct Tables<F: FrameSource> {
    frames: F,
    format: Format,
    root: HostPhys,
    /// The first table that was unlinked. The first entry of each holds the address of the next, or 0: without any of
    /// the low bits, which is not present in every format.
    retired: u64,
}

enum Step {
    Absent,
    Table(HostPhys),
    Page,
}

const fn index(at: u64, level: u8) -> usize {
    (at / span(level)) as usize % ENTRIES
}

impl<F: FrameSource> Tables<F> {
    /// Empty tables: nothing is translated.
    ///
    /// # Errors
    /// [`TableError::OutOfFrames`].
    pub fn new(mut frames: F, format: Format) -> Result<Self, TableError> {
        let root = frames.allocate().ok_or(TableError::OutOfFrames)?;
        Ok(Self {
            frames,
            format,
            root,
            retired: 0,
        })
    }

    /// Host physical address of the top table.
    #[must_use]
    pub const fn root(&self) -> HostPhys {
        self.root
    }

    /// Translates `size` bytes from `from` to the host's from `to`. `rights` are the bits of a page's entry that say what is
    /// allowed; at least one of them makes it present.
    ///
    /// # Errors
    /// [`TableError`]; nothing is mapped then, but call [`release`](Self::release) all the same.
    pub fn map(&mut self, from: u64, to: HostPhys, size: u64, rights: u64) -> Result<(), TableError> {
        let last = self.last_of(from, size)?;
        let last_target = to.0.checked_add(size - 1).ok_or(TableError::Range)?;
        if !to.0.is_multiple_of(PAGE) {
            return Err(TableError::Alignment);
        }
        if last_target > self.format.last_target() {
            return Err(TableError::Range);
        }
        self.check_free(from, last)?;
        let mut done = 0;
        while done < size {
            match self.place(from + done, to.0 + done, size - done, rights) {
                Ok(more) => done += more,
                Err(error) => {
                    // Nothing else is mapped there, so all that is found is this call's.
                    self.clear(self.root, self.format.levels, from, last);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Takes back everything between `from` and `from + size`; holes are fine. Hardware may go on translating until its
    /// caches are clean.
    ///
    /// # Errors
    /// The range is not one, or cuts a page; nothing is taken back then.
    pub fn unmap(&mut self, from: u64, size: u64) -> Result<(), TableError> {
        let last = self.last_of(from, size)?;
        for edge in [from, last] {
            if let Some(found) = self.find(edge) {
                let start = edge & !(found.page - 1);
                if start < from || start + (found.page - 1) > last {
                    return Err(TableError::Split {
                        at: start,
                        page: found.page,
                    });
                }
            }
        }
        self.clear(self.root, self.format.levels, from, last);
        Ok(())
    }

    /// Gives unlinked tables back to their source. No hardware has a translation of what was unmapped in a cache any more, nor
    /// of the way there.
    pub fn release(&mut self) {
        while self.retired != 0 {
            let frame = HostPhys(self.retired);
            self.retired = self.frames.read(frame, 0);
            self.frames.free(frame);
        }
    }

    /// The page that translates `at`, if there is one.
    #[must_use]
    pub fn find(&self, at: u64) -> Option<Found> {
        if at > self.format.last() {
            return None;
        }
        let (entry, level, _) = self.lowest(at);
        let Step::Page = self.step(entry, level) else {
            return None;
        };
        let page = span(level);
        Some(Found {
            to: HostPhys((entry & self.format.address & !(page - 1)) + at % page),
            entry,
            page,
        })
    }

    /// The last byte of a range that the tables may translate.
    fn last_of(&self, from: u64, size: u64) -> Result<u64, TableError> {
        if size == 0 || !(from | size).is_multiple_of(PAGE) {
            return Err(TableError::Alignment);
        }
        let last = from.checked_add(size - 1).ok_or(TableError::Range)?;
        if last > self.format.last() {
            return Err(TableError::Range);
        }
        Ok(last)
    }

    const fn step(&self, entry: u64, level: u8) -> Step {
        if !self.format.is_present(entry) {
            Step::Absent
        } else if self.format.is_page(entry, level) {
            Step::Page
        } else {
            Step::Table(HostPhys(entry & self.format.address))
        }
    }

    /// The lowest entry on the way to `at` (absent or a page), its level and the table that it is in.
    fn lowest(&self, at: u64) -> (u64, u8, HostPhys) {
        let (mut table, mut level) = (self.root, self.format.levels);
        loop {
            let entry = self.frames.read(table, index(at, level));
            match self.step(entry, level) {
                Step::Table(next) => (table, level) = (next, level - 1),
                Step::Absent | Step::Page => return (entry, level, table),
            }
        }
    }

    fn check_free(&self, mut at: u64, last: u64) -> Result<(), TableError> {
        loop {
            let (mut entry, level, table) = self.lowest(at);
            // On through the same table as long as nothing is there.
            let mut slot = index(at, level);
            loop {
                match self.step(entry, level) {
                    Step::Page => return Err(TableError::Overlap { at }),
                    Step::Table(_) => break,
                    Step::Absent => {}
                }
                let end = at | (span(level) - 1);
                if end >= last {
                    return Ok(());
                }
                (at, slot) = (end + 1, slot + 1);
                if slot == ENTRIES {
                    break;
                }
                entry = self.frames.read(table, slot);
            }
        }
    }

    /// Maps the largest page that fits at `from`, and as many of that size behind it as one table takes. Says how many
    /// bytes that were.
    fn place(&mut self, from: u64, to: u64, size: u64, rights: u64) -> Result<u64, TableError> {
        let (mut table, mut level) = (self.root, self.format.levels);
        loop {
            let (slot, page) = (index(from, level), span(level));
            let entry = self.frames.read(table, slot);
            let absent = !self.format.is_present(entry);
            let fits = level <= self.format.largest && (from | to).is_multiple_of(page) && size >= page;
            if absent && fits {
                let leaf = rights | self.format.page_mark(level);
                let (mut slot, mut done) = (slot, 0);
                loop {
                    self.frames.write(table, slot, (to + done) | leaf);
                    (slot, done) = (slot + 1, done + page);
                    let room = slot < ENTRIES && size - done >= page;
                    if !room || self.format.is_present(self.frames.read(table, slot)) {
                        return Ok(done);
                    }
                }
            }
            table = if absent {
                let frame = self.frames.allocate().ok_or(TableError::OutOfFrames)?;
                self.frames
                    .write(table, slot, self.format.link_to(frame.0, level));
                frame
            } else {
                HostPhys(entry & self.format.address)
            };
            level -= 1;
        }
    }

    /// Clears what `table`, of `level`, has between `first` and `last`, both in its reach, and sets tables aside that become
    /// empty. Goes no deeper than there are levels.
    fn clear(&mut self, table: HostPhys, level: u8, first: u64, last: u64) {
        for slot in index(first, level)..=index(last, level) {
            // What the slot translates, cut to the range.
            let start = (first & !(span(level) - 1)) + (slot - index(first, level)) as u64 * span(level);
            let entry = self.frames.read(table, slot);
            match self.step(entry, level) {
                Step::Absent => {}
                Step::Page => self.frames.write(table, slot, 0),
                Step::Table(next) => {
                    let end = start | (span(level) - 1);
                    self.clear(next, level - 1, first.max(start), last.min(end));
                    if (0..ENTRIES).all(|slot| self.frames.read(next, slot) == 0) {
                        self.frames.write(table, slot, 0);
                        self.frames.write(next, 0, self.retired);
                        self.retired = next.0;
                    }
                }
            }
        }
    }

    fn free_table(&mut self, table: HostPhys, level: u8) {
        for slot in 0..ENTRIES {
            if let Step::Table(next) = self.step(self.frames.read(table, slot), level) {
                self.free_table(next, level - 1);
            }
        }
        self.frames.free(table);
    }
}

impl<F: FrameSource> Drop for Tables<F> {
    fn drop(&mut self) {
        self.release();
        self.free_table(self.root, self.format.levels);
    }
}
