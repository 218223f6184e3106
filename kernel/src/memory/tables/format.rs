//! Formats of page tables, as data: what the engine must know of each.

use spec::{amdvi_table, page_table, second_level};

/// How an entry above level 1 says whether it is a page or leads to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A page has this bit, the link to a table has not.
    LargePage(u64),
    /// A field of three bits from this one up: the level of the table that the entry leads to, 0 for a page.
    NextLevel(u32),
}

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Levels of tables, 1 to 6.
    pub levels: u8,
    /// Level of the largest page, 1 (4 KiB) to `levels`.
    pub largest: u8,
    /// Bits of an entry that hold an address.
    pub address: u64,
    /// An entry with none of these bits is not present.
    pub present: u64,
    /// Bits of a link to a table, beside its address and mark.
    pub link: u64,
    /// How pages are told from tables.
    pub mark: Mark,
}

impl Format {
    /// Nested paging of AMD processors; pages of 1 GiB where `gigabyte_pages`.
    #[must_use]
    pub const fn nested(gigabyte_pages: bool) -> Self {
        use page_table::Entry;
        Self {
            levels: page_table::LEVELS,
            largest: if gigabyte_pages { 3 } else { 2 },
            address: page_table::ADDRESS,
            present: Entry::PRESENT.bits(),
            // Rights are the page's.
            link: Entry::PRESENT.bits() | Entry::WRITABLE.bits() | Entry::USER.bits(),
            mark: Mark::LargePage(Entry::LARGE.bits()),
        }
    }

    /// VT-d's second level, with as many levels and as large pages as the unit has.
    #[must_use]
    pub const fn vtd(levels: u8, largest: u8) -> Self {
        use second_level::Entry;
        Self {
            levels,
            largest,
            address: second_level::ADDRESS,
            present: Entry::READ.bits() | Entry::WRITE.bits(),
            link: Entry::READ.bits() | Entry::WRITE.bits(),
            mark: Mark::LargePage(Entry::LARGE.bits()),
        }
    }

    /// AMD-Vi's own tables. Every level may have pages.
    #[must_use]
    pub const fn amdvi(levels: u8) -> Self {
        use amdvi_table::Entry;
        Self {
            levels,
            largest: levels,
            address: amdvi_table::ADDRESS,
            present: Entry::PRESENT.bits(),
            link: Entry::PRESENT.bits() | Entry::READ.bits() | Entry::WRITE.bits(),
            mark: Mark::NextLevel(amdvi_table::NEXT_LEVEL_SHIFT),
        }
    }

    /// The last address that the tables translate.
    #[must_use]
    pub const fn last(&self) -> u64 {
        let bits = 12 + 9 * self.levels as u32;
        if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
    }

    /// The last address that a page may reach.
    pub(super) const fn last_target(&self) -> u64 {
        self.address | (page_table::PAGE - 1)
    }

    pub(super) const fn is_present(&self, entry: u64) -> bool {
        entry & self.present != 0
    }

    /// Whether a present entry of a table of `level` is a page.
    pub(super) const fn is_page(&self, entry: u64, level: u8) -> bool {
        level == 1
            || match self.mark {
                Mark::LargePage(bit) => entry & bit != 0,
                Mark::NextLevel(shift) => entry >> shift & 0b111 == 0,
            }
    }

    /// The bits that make an entry of `level` a page.
    pub(super) const fn page_mark(&self, level: u8) -> u64 {
        match self.mark {
            Mark::LargePage(bit) if level > 1 => bit,
            Mark::LargePage(_) | Mark::NextLevel(_) => 0,
        }
    }

    /// The entry in a table of `level` that leads to the table at `frame`.
    pub(super) const fn link_to(&self, frame: u64, level: u8) -> u64 {
        let mark = match self.mark {
            Mark::LargePage(_) => 0,
            Mark::NextLevel(shift) => (level as u64 - 1) << shift,
        };
        frame | self.link | mark
    }
}
