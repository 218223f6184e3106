//! Which BAR of an owner's functions answers at a bus address. No two overlap, whatever the owner programs.

use crate::pci::config::Bar;
use alloc::vec::Vec;

/// A BAR that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The owner's number of the function.
    pub function: usize,
    /// 0 to 5, or [`ROM`](crate::pci::vconfig::ROM).
    pub bar: u8,
    /// How far into the BAR.
    pub offset: u64,
}

/// A BAR cannot answer where its owner has put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overlap {
    /// Another one answers there.
    #[error("BAR {bar} of function {function} answers there")]
    Bar {
        /// The other's function.
        function: usize,
        /// The other.
        bar: u8,
    },
    /// It goes past the end of the address space, is empty, or answers elsewhere already.
    #[error("the BAR cannot answer there")]
    Range,
    /// More BARs than the map was made for.
    #[error("more BARs answer than there are")]
    Full,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    first: u64,
    last: u64,
    function: usize,
    bar: u8,
}

/// The BARs that answer, by address. Made once with room for all BARs that there are: it allocates no memory afterwards.
#[derive(Clone, Debug, Default)]
pub struct AddressMap {
    /// In order of address, apart.
    entries: Vec<Entry>,
    room: usize,
}

impl AddressMap {
    /// An empty map with room for so many BARs.
    #[must_use]
    pub fn new(bars: usize) -> Self {
        Self {
            entries: Vec::with_capacity(bars),
            room: bars,
        }
    }

    /// How many BARs answer.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none answers.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The first entry that ends at `address` or after it.
    fn after(&self, address: u64) -> usize {
        self.entries.partition_point(|entry| entry.last < address)
    }

    /// Lets `bar` of the owner's function number `function` answer from `address` on.
    ///
    /// # Errors
    /// [`Overlap`]; nothing has changed.
    pub fn place(&mut self, function: usize, bar: &Bar, address: u64) -> Result<(), Overlap> {
        let last = bar.size.checked_sub(1).and_then(|size| address.checked_add(size));
        let last = last.ok_or(Overlap::Range)?;
        let mut entries = self.entries.iter();
        if entries.any(|entry| entry.function == function && entry.bar == bar.index) {
            return Err(Overlap::Range);
        }
        let at = self.after(address);
        if let Some(other) = self.entries.get(at).filter(|entry| entry.first <= last) {
            return Err(Overlap::Bar {
                function: other.function,
                bar: other.bar,
            });
        }
        if self.entries.len() >= self.room {
            return Err(Overlap::Full);
        }
        let entry = Entry {
            first: address,
            last,
            function,
            bar: bar.index,
        };
        self.entries.insert(at, entry);
        Ok(())
    }

    /// `bar` of `function` answers no more. Whether it did.
    pub fn remove(&mut self, function: usize, bar: u8) -> bool {
        let before = self.entries.len();
        self.entries
            .retain(|entry| entry.function != function || entry.bar != bar);
        self.entries.len() != before
    }

    /// What answers at `address`.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<Answer> {
        let entry = self.entries.get(self.after(address))?;
        let offset = address.checked_sub(entry.first)?;
        Some(Answer {
            function: entry.function,
            bar: entry.bar,
            offset,
        })
    }
}
