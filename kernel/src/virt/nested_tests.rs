//! Nested tables against a walker that knows nothing of the builder, and against a plain list of ranges.

use super::*;
use crate::memory::tables::tests::Fake;
use proptest::prelude::*;
use spec::page_table::PAGE;

/// The manual's walk, written with plain numbers: address, writable and executable at every level.
fn walk(pool: &Fake, root: HostPhys, gpa: u64) -> Option<(u64, bool, bool)> {
    let pool = pool.0.borrow();
    let (mut table, mut write, mut execute) = (root.0, true, true);
    for shift in [39, 30, 21, 12] {
        let entry = pool.frames[&table][(gpa >> shift & 0x1ff) as usize];
        if entry & 1 == 0 {
            return None;
        }
        assert_ne!(entry & 4, 0, "nested walks are user accesses");
        write &= entry & 2 != 0;
        execute &= entry >> 63 == 0;
        let address = entry & 0x000f_ffff_ffff_f000;
        if shift == 12 || entry & 0x80 != 0 {
            let mask = (1u64 << shift) - 1;
            assert_eq!(address & mask, 0, "reserved bits of a large page");
            return Some((address | gpa & mask, write, execute));
        }
        table = address;
    }
    None
}

const GIB: u64 = 1 << 30;
const MIB2: u64 = 2 << 20;

#[test]
fn pages_are_the_largest_that_fit() {
    let pool = Fake::new(100);
    let mut tables = NestedTables::new(pool.clone(), true).unwrap();
    tables
        .map(GuestPhys(0), HostPhys(GIB), GIB + MIB2 + PAGE, Rights::RAM)
        .unwrap();
    let page = |gpa| tables.translate(GuestPhys(gpa)).unwrap().page;
    assert_eq!((page(5), page(GIB), page(GIB + MIB2)), (GIB, MIB2, PAGE));
    assert_eq!(pool.0.borrow().frames.len(), 4);
}

#[test]
fn without_gigabyte_pages_two_mebibytes_are_the_largest() {
    let mut tables = NestedTables::new(Fake::new(100), false).unwrap();
    tables.map(GuestPhys(0), HostPhys(GIB), GIB, Rights::RAM).unwrap();
    assert_eq!(tables.translate(GuestPhys(5)).unwrap().page, MIB2);
}

#[test]
fn what_is_not_made_of_pages_is_refused() {
    let mut tables = NestedTables::new(Fake::new(9), true).unwrap();
    for (gpa, hpa, size) in [(1, 0, PAGE), (0, 1, PAGE), (0, 0, 5), (0, 0, 0)] {
        let refused = tables.map(GuestPhys(gpa), HostPhys(hpa), size, Rights::RAM);
        assert!(matches!(refused, Err(MapError::Alignment { .. })));
    }
    for (gpa, hpa) in [(1 << 48, 0), (0, 1 << 52), (u64::MAX - PAGE + 1, 0)] {
        let refused = tables.map(GuestPhys(gpa), HostPhys(hpa), PAGE, Rights::RAM);
        assert!(matches!(refused, Err(MapError::Range { .. })));
    }
}

#[test]
fn running_out_of_frames_leaves_nothing_mapped_and_nothing_leaked() {
    for left in 0..7 {
        let pool = Fake::new(left);
        let Ok(mut tables) = NestedTables::new(pool.clone(), true) else {
            assert_eq!(left, 0);
            continue;
        };
        // Needs seven tables, three below the root on either side of a 512 GiB border.
        let start = (512 * GIB) - PAGE;
        let refused = tables.map(GuestPhys(start), HostPhys(0), 2 * PAGE, Rights::RAM);
        assert_eq!(refused, Err(MapError::OutOfFrames));
        assert_eq!(tables.translate(GuestPhys(start)), None);
        tables.release();
        assert_eq!(pool.0.borrow().frames.len(), 1, "what was built went back");
        drop(tables);
        assert!(pool.0.borrow().frames.is_empty());
    }
}

fn ranges() -> impl Strategy<Value = (u64, u64, u64, Rights)> {
    let unit = prop_oneof![Just(PAGE), Just(MIB2), Just(GIB)];
    (unit, 0u64..6, 0u64..6, 0u64..3, 1u64..4, any::<[bool; 3]>()).prop_map(
        |(unit, gpa, hpa, skew, size, [write, execute, uncacheable])| {
            let rights = Rights {
                write,
                execute,
                uncacheable,
            };
            (
                gpa * unit + skew * PAGE,
                hpa * unit + skew * PAGE,
                size * unit,
                rights,
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn tables_agree_with_the_list_of_ranges(wanted in prop::collection::vec(ranges(), 1..8), probes in prop::collection::vec(0u64..(12 * GIB), 20)) {
        let pool = Fake::new(4000);
        let mut tables = NestedTables::new(pool.clone(), true).unwrap();
        let mut held: Vec<(u64, u64, u64, Rights)> = Vec::new();
        for (gpa, hpa, size, rights) in wanted {
            let overlaps = held.iter().any(|r| gpa < r.0 + r.2 && r.0 < gpa + size);
            let result = tables.map(GuestPhys(gpa), HostPhys(hpa), size, rights);
            prop_assert_eq!(matches!(result, Err(MapError::Overlap { .. })), overlaps);
            prop_assert_eq!(result.is_ok(), !overlaps);
            if !overlaps {
                held.push((gpa, hpa, size, rights));
            }
        }
        let edges = held.iter().flat_map(|r| [r.0.wrapping_sub(1), r.0, r.0 + r.2 - 1, r.0 + r.2]);
        for probe in edges.chain(probes).filter(|p| *p < 1 << 48) {
            let expected = held.iter().find(|r| (r.0..r.0 + r.2).contains(&probe));
            let expected = expected.map(|r| (r.1 + (probe - r.0), r.3));
            prop_assert_eq!(tables.translate(GuestPhys(probe)).map(|t| (t.hpa.0, t.rights)), expected);
            prop_assert_eq!(walk(&pool, tables.root(), probe), expected.map(|(a, r)| (a, r.write, r.execute)));
        }
        drop(tables);
        prop_assert!(pool.0.borrow().frames.is_empty());
    }
}

#[test]
fn what_is_unmapped_is_gone_and_can_be_mapped_again_and_nothing_else_changes() {
    let pool = Fake::new(100);
    let mut tables = NestedTables::new(pool.clone(), true).unwrap();
    let (ram, bar) = (GuestPhys(0), GuestPhys(0xc000_0000));
    tables
        .map(ram, HostPhys(0x4000_0000), 2 << 20, Rights::RAM)
        .unwrap();
    tables
        .map(bar, HostPhys(0xfe00_0000), 0x2000, Rights::DEVICE)
        .unwrap();
    let next = GuestPhys(bar.0 + 0x3000);
    tables
        .map(next, HostPhys(0xfe00_3000), 0x1000, Rights::DEVICE)
        .unwrap();
    let frames = pool.0.borrow().frames.len();
    for _ in 0..3 {
        tables.unmap(bar, 0x2000).unwrap();
        assert_eq!(walk(&pool, tables.root(), bar.0), None);
        assert_eq!(walk(&pool, tables.root(), bar.0 + 0x1fff), None);
        tables.unmap(bar, 0x2000).unwrap();
        assert!(tables.translate(ram).is_some() && tables.translate(next).is_some());
        tables
            .map(bar, HostPhys(0xfe00_0000), 0x2000, Rights::DEVICE)
            .unwrap();
        let found = walk(&pool, tables.root(), bar.0 + 0x1008);
        assert_eq!(found, Some((0xfe00_1008, true, false)));
    }
    assert_eq!(
        pool.0.borrow().frames.len(),
        frames,
        "tables stay for the next mapping"
    );
    for (gpa, size) in [(bar.0, 0x800), (bar.0 + 8, 0x1000)] {
        assert!(matches!(
            tables.unmap(GuestPhys(gpa), size),
            Err(MapError::Alignment { .. })
        ));
    }
    assert!(matches!(
        tables.unmap(GuestPhys(u64::MAX - 0xfff), 0x2000),
        Err(MapError::Range { .. })
    ));
    assert!(matches!(
        tables.unmap(ram, 0x1000),
        Err(MapError::Overlap { gpa }) if gpa == ram
    ));
    assert!(tables.translate(bar).is_some());
}
