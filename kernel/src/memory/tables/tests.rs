//! Each format against a walker that knows nothing of the builder, and against a plain list of pages.

use super::*;
use proptest::prelude::*;
use spec::{amdvi_table, page_table, second_level};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Frames by address.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    pub(crate) frames: BTreeMap<u64, Vec<u64>>,
    next: u64,
    left: usize,
}

/// A source whose frames a test can look at.
#[derive(Clone, Debug)]
pub(crate) struct Fake(pub(crate) Rc<RefCell<Pool>>);

impl Fake {
    pub(crate) fn new(left: usize) -> Self {
        Self(Rc::new(RefCell::new(Pool {
            next: 0x1000,
            left,
            ..Pool::default()
        })))
    }
}

impl FrameSource for Fake {
    fn allocate(&mut self) -> Option<HostPhys> {
        let mut pool = self.0.borrow_mut();
        pool.left = pool.left.checked_sub(1)?;
        let at = pool.next;
        pool.next += 0x1000;
        pool.frames.insert(at, vec![0; 512]);
        Some(HostPhys(at))
    }
    fn free(&mut self, frame: HostPhys) {
        assert!(self.0.borrow_mut().frames.remove(&frame.0).is_some());
    }
    fn read(&self, frame: HostPhys, index: usize) -> u64 {
        self.0.borrow().frames[&frame.0][index]
    }
    fn write(&mut self, frame: HostPhys, index: usize, entry: u64) {
        self.0.borrow_mut().frames.get_mut(&frame.0).unwrap()[index] = entry;
    }
}

const GIB: u64 = 1 << 30;
const MIB2: u64 = 2 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nested,
    /// With this many levels, and pages up to 2^n bytes.
    Vtd(u8, u32),
    Amdvi(u8),
}

const KINDS: [Kind; 8] = [
    Kind::Nested,
    Kind::Vtd(3, 30),
    Kind::Vtd(4, 21),
    Kind::Vtd(4, 12),
    Kind::Vtd(5, 30),
    Kind::Amdvi(3),
    Kind::Amdvi(4),
    Kind::Amdvi(6),
];

impl Kind {
    fn format(self) -> Format {
        match self {
            Self::Nested => Format::nested(true),
            Self::Vtd(levels, bits) => Format::vtd(levels, ((bits - 12) / 9 + 1) as u8),
            Self::Amdvi(levels) => Format::amdvi(levels),
        }
    }

    /// Read-only, or not.
    fn rights(self, write: bool) -> u64 {
        match self {
            Self::Nested => {
                use page_table::Entry;
                (Entry::PRESENT | Entry::USER).bits() | if write { Entry::WRITABLE.bits() } else { 0 }
            }
            Self::Vtd(..) => {
                use second_level::Entry;
                Entry::READ.bits() | if write { Entry::WRITE.bits() } else { 0 }
            }
            Self::Amdvi(_) => {
                use amdvi_table::Entry;
                (Entry::PRESENT | Entry::READ).bits() | if write { Entry::WRITE.bits() } else { 0 }
            }
        }
    }

    fn largest(self) -> u64 {
        match self {
            Self::Nested => GIB,
            Self::Vtd(_, bits) => 1 << bits,
            Self::Amdvi(levels) => 1 << (12 + 9 * (u32::from(levels) - 1)),
        }
    }

    /// The manuals' walks, with plain numbers: host address and whether writes are allowed.
    fn walk(self, pool: &Fake, root: HostPhys, at: u64) -> Option<(u64, bool)> {
        let pool = pool.0.borrow();
        let levels = match self {
            Self::Nested => 4,
            Self::Vtd(levels, _) | Self::Amdvi(levels) => levels,
        };
        let (mut table, mut level, mut write) = (root.0, u32::from(levels), true);
        loop {
            let shift = 12 + 9 * (level - 1);
            let entry = pool.frames[&table][(at >> shift & 0x1ff) as usize];
            let (present, allows, page) = match self {
                Self::Nested => (entry & 1 != 0, entry & 2 != 0, level == 1 || entry >> 7 & 1 != 0),
                Self::Vtd(..) => (entry & 3 != 0, entry & 2 != 0, level == 1 || entry >> 7 & 1 != 0),
                Self::Amdvi(_) => (entry & 1 != 0, entry >> 62 & 1 != 0, entry >> 9 & 7 == 0),
            };
            if !present {
                return None;
            }
            if let Self::Amdvi(_) = self {
                assert_ne!(entry >> 61 & 1, 0, "reads are allowed on the way");
                assert!(
                    page || entry >> 9 & 7 == u64::from(level - 1),
                    "no level is skipped"
                );
            }
            write &= allows;
            let address = entry & 0x000f_ffff_ffff_f000;
            if page {
                let mask = (1u64 << shift) - 1;
                assert_eq!(address & mask, 0, "reserved bits of a large page");
                return Some((address | at & mask, write));
            }
            (table, level) = (address, level - 1);
        }
    }
}

/// A page of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    size: u64,
    to: u64,
    write: bool,
}

/// The reference: pages by address, each found by trying sizes from the largest down.
#[derive(Debug)]
struct Naive {
    largest: u64,
    pages: BTreeMap<u64, Page>,
}

impl Naive {
    fn overlapping(&self, from: u64, size: u64) -> Vec<u64> {
        let meets = |(at, page): &(&u64, &Page)| **at < from + size && from < **at + page.size;
        self.pages.iter().filter(meets).map(|(at, _)| *at).collect()
    }

    fn map(&mut self, from: u64, to: u64, size: u64, write: bool) -> bool {
        if !self.overlapping(from, size).is_empty() {
            return false;
        }
        let mut done = 0;
        while done < size {
            let mut page = self.largest;
            while !(from + done).is_multiple_of(page)
                || !(to + done).is_multiple_of(page)
                || size - done < page
            {
                page /= 512;
            }
            self.pages.insert(
                from + done,
                Page {
                    size: page,
                    to: to + done,
                    write,
                },
            );
            done += page;
        }
        true
    }

    fn unmap(&mut self, from: u64, size: u64) -> bool {
        let pages = self.overlapping(from, size);
        if pages
            .iter()
            .any(|at| *at < from || at + self.pages[at].size > from + size)
        {
            return false;
        }
        for at in pages {
            self.pages.remove(&at);
        }
        true
    }

    /// Tables that the pages need: one for each level above each page, shared.
    fn tables(&self, levels: u8) -> usize {
        let mut tables = std::collections::BTreeSet::from([(levels, 0)]);
        for (at, page) in &self.pages {
            let own = (page.size.trailing_zeros() - 12) / 9 + 1;
            for level in own..u32::from(levels) {
                let shift = 12 + 9 * level;
                tables.insert((level as u8, if shift < 64 { at >> shift } else { 0 }));
            }
        }
        tables.len()
    }
}

#[test]
fn the_whole_address_space_can_be_mapped_and_taken_back() {
    let pool = Fake::new(1);
    // AMD-Vi with three levels: 512 pages of 1 GiB in the root.
    let kind = Kind::Amdvi(3);
    let mut tables = Tables::new(pool.clone(), kind.format()).unwrap();
    tables.map(0, HostPhys(0), 512 * GIB, kind.rights(true)).unwrap();
    assert_eq!(
        tables.map(0, HostPhys(0), 513 * GIB, kind.rights(true)),
        Err(TableError::Range)
    );
    assert_eq!(tables.find(512 * GIB - 1).unwrap().to, HostPhys(512 * GIB - 1));
    tables.unmap(0, 512 * GIB).unwrap();
    assert_eq!(tables.find(0), None);
    // With six the last address is the last of all.
    let mut tables = Tables::new(Fake::new(9), Format::amdvi(6)).unwrap();
    let top = u64::MAX - (PAGE - 1);
    tables
        .map(top, HostPhys(0x5000), PAGE, kind.rights(true))
        .unwrap();
    assert_eq!(tables.find(u64::MAX).unwrap().to, HostPhys(0x5fff));
    assert_eq!(
        tables.map(top, HostPhys(0), 2 * PAGE, kind.rights(true)),
        Err(TableError::Range)
    );
    tables.unmap(top, PAGE).unwrap();
    assert_eq!(tables.find(top), None);
}

#[test]
fn ranges_that_are_none_change_nothing() {
    for kind in KINDS {
        let pool = Fake::new(9);
        let mut tables = Tables::new(pool.clone(), kind.format()).unwrap();
        let limit = kind.format().last();
        for (from, to, size) in [(1, 0, PAGE), (0, 1, PAGE), (0, 0, 5), (0, 0, 0)] {
            let refused = tables.map(from, HostPhys(to), size, kind.rights(true));
            assert_eq!(refused, Err(TableError::Alignment), "{kind:?}");
        }
        for (from, to, size) in [
            (0, 1 << 52, PAGE),
            (0, u64::MAX - 0xfff, PAGE),
            (limit - 0xfff, 0, 2 * PAGE),
        ] {
            let refused = tables.map(from, HostPhys(to), size, kind.rights(true));
            assert_eq!(refused, Err(TableError::Range), "{kind:?}");
        }
        for (from, size, why) in [
            (1, PAGE, TableError::Alignment),
            (0, 0, TableError::Alignment),
            (limit - 0xfff, 2 * PAGE, TableError::Range),
        ] {
            assert_eq!(tables.unmap(from, size), Err(why), "{kind:?}");
        }
        assert_eq!(pool.0.borrow().frames.len(), 1);
    }
}

#[test]
fn a_page_is_never_cut() {
    for kind in [Kind::Nested, Kind::Vtd(3, 30), Kind::Vtd(4, 21), Kind::Amdvi(4)] {
        let mut tables = Tables::new(Fake::new(9), kind.format()).unwrap();
        tables.map(MIB2, HostPhys(0), MIB2, kind.rights(true)).unwrap();
        let cut = Err(TableError::Split { at: MIB2, page: MIB2 });
        assert_eq!(tables.unmap(MIB2, PAGE), cut);
        assert_eq!(tables.unmap(2 * MIB2 - PAGE, GIB), cut);
        assert_eq!(tables.unmap(MIB2 + PAGE, PAGE), cut);
        assert!(tables.find(2 * MIB2 - 1).is_some());
        assert_eq!(tables.unmap(0, GIB), Ok(()));
        assert_eq!(tables.find(MIB2), None);
    }
}

#[test]
fn tables_wait_for_release_and_are_not_present_meanwhile() {
    for kind in KINDS {
        let pool = Fake::new(20);
        let mut tables = Tables::new(pool.clone(), kind.format()).unwrap();
        tables
            .map(5 * PAGE, HostPhys(PAGE), PAGE, kind.rights(true))
            .unwrap();
        let held = pool.0.borrow().frames.len();
        tables.unmap(5 * PAGE, PAGE).unwrap();
        assert_eq!(
            pool.0.borrow().frames.len(),
            held,
            "{kind:?}: hardware may still walk them"
        );
        for frame in pool.0.borrow().frames.values() {
            assert!(
                frame.iter().all(|entry| !kind.format().is_present(*entry)),
                "{kind:?}"
            );
        }
        tables.release();
        assert_eq!(pool.0.borrow().frames.len(), 1, "{kind:?}");
        // A dropped builder gives back what waits, too.
        tables
            .map(5 * PAGE, HostPhys(PAGE), PAGE, kind.rights(true))
            .unwrap();
        tables.unmap(5 * PAGE, PAGE).unwrap();
        drop(tables);
        assert!(pool.0.borrow().frames.is_empty());
    }
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Map {
        from: u64,
        to: u64,
        size: u64,
        write: bool,
    },
    Unmap {
        from: u64,
        size: u64,
    },
}

/// Calls on the first 8 GiB in units of every page's size, a little askew now and then.
fn calls() -> impl Strategy<Value = Call> {
    let unit = prop_oneof![Just(PAGE), Just(MIB2), Just(GIB)];
    let skew = prop_oneof![4 => Just(0u64), 1 => 1u64..3];
    (unit, 0u64..5, 0u64..6, skew, 1u64..4, any::<bool>(), 0u8..5).prop_map(
        |(unit, from, to, skew, size, write, which)| {
            let from = from * unit + skew * PAGE;
            let to = to * unit + if which == 2 { 0 } else { skew * PAGE };
            // Small pages for gibibytes would take long.
            let large = (from ^ to).is_multiple_of(MIB2) || which < 2;
            let size = if large { size * unit } else { size * 300 * PAGE };
            match which {
                0 | 1 => Call::Unmap { from, size },
                _ => Call::Map {
                    from,
                    to,
                    size,
                    write,
                },
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Any sequence of calls, also where frames run out: answers, pages, the hardware's walk and the number of tables agree.
    #[test]
    fn tables_agree_with_the_reference(
        kind in prop::sample::select(&KINDS[..]), calls in prop::collection::vec(calls(), 1..24), short in prop_oneof![3 => Just(usize::MAX), 1 => 1usize..12],
    ) {
        // Without large pages a gibibyte is half a million entries; mebibytes do as well.
        let scale = if kind.largest() == PAGE { 512 } else { 1 };
        let pool = Fake::new(short);
        let mut tables = Tables::new(pool.clone(), kind.format()).unwrap();
        let mut naive = Naive { largest: kind.largest(), pages: BTreeMap::new() };
        let fit = |n: u64| if n >= MIB2 { n / scale / PAGE * PAGE } else { n };
        let mut edges = vec![0];
        for call in calls {
            match call {
                Call::Map { from, to, size, write } => {
                    let (from, to, size) = (fit(from), fit(to), fit(size));
                    let answer = tables.map(from, HostPhys(to), size, kind.rights(write));
                    if answer == Err(TableError::OutOfFrames) {
                        prop_assert!(short != usize::MAX && naive.overlapping(from, size).is_empty());
                    } else if let Err(TableError::Overlap { at }) = answer {
                        prop_assert!(naive.overlapping(from, size).first().is_some_and(|first| at == (*first).max(from)));
                    } else {
                        prop_assert_eq!(answer, Ok(()));
                        prop_assert!(naive.map(from, to, size, write));
                    }
                    edges.extend([from, from + size]);
                }
                Call::Unmap { from, size } => {
                    let (from, size) = (fit(from), fit(size));
                    let answer = tables.unmap(from, size);
                    prop_assert_eq!(answer.is_ok(), naive.unmap(from, size), "{:?}", answer);
                    edges.extend([from, from + size]);
                }
            }
            tables.release();
            prop_assert_eq!(pool.0.borrow().frames.len(), naive.tables(kind.format().levels));
            for edge in &edges {
                for at in [edge.saturating_sub(1), *edge] {
                    let expected = naive.pages.range(..=at).next_back().filter(|(start, page)| at - **start < page.size);
                    let bytes = expected.map(|(start, page)| (page.to + (at - start), page.write));
                    prop_assert_eq!(kind.walk(&pool, tables.root(), at), bytes);
                    prop_assert_eq!(tables.find(at).map(|found| (found.to.0, found.page)), expected.map(|(start, page)| (page.to + (at - start), page.size)));
                }
            }
        }
        drop(tables);
        prop_assert!(pool.0.borrow().frames.is_empty());
    }
}
