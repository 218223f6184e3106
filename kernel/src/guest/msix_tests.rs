//! The MSI-X table against what its bits say, and BARs split around it.

use super::*;
use proptest::prelude::*;

fn program(table: &mut MsixTable, index: u32, words: [u32; 4]) -> Vec<MsixAction> {
    let mut actions = Vec::new();
    for (at, word) in (0u32..).zip(words) {
        table.write(index * 16 + at * 4, 4, word.into(), &mut |action| {
            actions.push(action)
        });
    }
    actions
}

fn control(table: &mut MsixTable, enabled: bool, masked: bool) -> Vec<MsixAction> {
    let mut actions = Vec::new();
    table.control(enabled, masked, &mut |action| actions.push(action));
    actions
}

const ROUTE: MsixAction = MsixAction::Route {
    index: 1,
    route: Route {
        vector: 0x41,
        apic: 1,
    },
};
const UNROUTE: MsixAction = MsixAction::Unroute { index: 1 };

#[test]
fn an_entry_is_routed_when_everything_says_so() {
    let mut table = MsixTable::new(4, 2);
    assert_eq!(program(&mut table, 1, [0xfee0_1000, 0, 0x41, 0]), []);
    assert_eq!(control(&mut table, true, true), []);
    assert_eq!(control(&mut table, true, false), [ROUTE]);
    assert_eq!(control(&mut table, true, true), [UNROUTE]);
    assert_eq!(control(&mut table, true, false), [ROUTE]);
    assert_eq!(program(&mut table, 1, [0xfee0_1000, 0, 0x41, 1]), [UNROUTE]);
    assert_eq!(table.read(0x1c, 4), 1);
    assert_eq!(table.read(0x10, 8), 0xfee0_1000);
    assert_eq!(program(&mut table, 1, [0xfee0_1000, 0, 0x41, 0]), [ROUTE]);
    assert_eq!(control(&mut table, false, false), [UNROUTE]);
}

#[test]
fn messages_that_hit_no_vcpu_are_not_routed() {
    for words in [
        [0xfee0_2000, 0, 0x41, 0],        // an APIC that the guest lacks
        [0x1000, 0, 0x41, 0],             // memory
        [0xfee0_1000, 1, 0x41, 0],        // above 4 GiB
        [0xfee0_1004, 0, 0x41, 0],        // logical
        [0xfee0_1000, 0, 0x0f, 0],        // a reserved vector
        [0xfee0_1000, 0, 0x441, 0],       // NMI
        [0xfee0_1000, 0, 0x41, u32::MAX], // masked, with reserved bits
    ] {
        let mut table = MsixTable::new(2, 2);
        control(&mut table, true, false);
        assert_eq!(program(&mut table, 1, words), [], "{words:x?}");
    }
}

#[test]
fn beyond_the_table_is_nothing() {
    let mut table = MsixTable::new(1, 1);
    control(&mut table, true, false);
    assert_eq!(program(&mut table, 1, [0xfee0_0000, 0, 0x41, 0]), []);
    assert_eq!(table.read(16, 8), 0);
    table.write(12, 8, u64::MAX, &mut |_| panic!("routed"));
    assert_eq!(table.read(12, 4), 1);
}

fn bar(size: u64, hpa: u64) -> VirtualBar {
    VirtualBar {
        index: 0,
        wide: true,
        prefetchable: false,
        size,
        hpa: HostPhys(hpa),
        gpa: GuestPhys(0xc000_0000),
    }
}

fn msix(table: u32, vectors: u16, pending: u32) -> MsiX {
    let location = |offset, length| TableLocation {
        bar: 0,
        offset,
        length,
    };
    MsiX {
        offset: 0x40,
        vectors,
        table: location(table, u32::from(vectors) * 16),
        pending: location(pending, 8),
    }
}

#[test]
fn the_tables_page_traps_and_its_neighbours_are_mapped() {
    // QEMU's NVMe controller: table at 0x2000, pending bits at 0x3000 of 16 KiB.
    let split = split(&bar(0x4000, 0xfe00_0000), Some(&msix(0x2000, 65, 0x3000)));
    let direct: Vec<_> = split.direct.iter().map(|d| (d.gpa.0, d.hpa.0, d.size)).collect();
    assert_eq!(
        direct,
        [
            (0xc000_0000, 0xfe00_0000, 0x2000),
            (0xc000_3000, 0xfe00_3000, 0x1000)
        ]
    );
    let trapped = split.trapped.unwrap();
    assert_eq!(
        (trapped.gpa.0, trapped.size, trapped.pending),
        (0xc000_2000, 0x1000, None)
    );
}

#[test]
fn pending_bits_in_the_tables_page_are_known() {
    let split = split(&bar(0x2000, 0xfe00_0000), Some(&msix(0x1000, 4, 0x1800)));
    assert_eq!(split.trapped.unwrap().pending.unwrap().offset, 0x800);
}

#[test]
fn a_bar_smaller_than_a_page_traps_as_a_whole() {
    let whole = split(&bar(0x100, 0xfe00_0000), None);
    assert!(whole.direct.is_empty());
    assert_eq!(whole.trapped.unwrap().size, 0x100);
    assert_eq!(split(&bar(0x1000, 0xfe00_0000), None).trapped, None);
}

proptest! {
    #[test]
    fn ranges_cover_the_bar_once_and_the_table_never_directly(pages in 0u32..6, table in 0u32..0x4000, vectors in 1u16..300, pending in 0u32..0x4000) {
        let size = 0x1000u64 << pages;
        let (table, pending) = (table & !0xf, pending & !7);
        prop_assume!(u64::from(table) + u64::from(vectors) * 16 <= size);
        let split = split(&bar(size, 0xfe00_0000), Some(&msix(table, vectors, pending)));
        let trapped = split.trapped.unwrap();
        let mut ranges: Vec<_> = split.direct.iter().map(|d| (d.gpa.0, d.size)).collect();
        for (start, length) in &ranges {
            let (start, end) = (start - 0xc000_0000, start - 0xc000_0000 + length);
            prop_assert!(end <= u64::from(table) || start >= u64::from(table) + u64::from(vectors) * 16);
        }
        ranges.push((trapped.gpa.0, trapped.size));
        ranges.sort_unstable();
        let end = ranges.iter().try_fold(0xc000_0000, |at, (start, size)| (*start == at).then_some(at + size));
        prop_assert_eq!(end, Some(0xc000_0000 + size));
        prop_assert!(ranges.iter().all(|(start, size)| start % 0x1000 == 0 && size % 0x1000 == 0));
    }
}
