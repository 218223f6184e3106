//! Messages that mean an interrupt, and BARs split around the MSI-X table.

use super::*;
use crate::pci::{Bar, BarKind};
use proptest::prelude::*;

#[test]
fn only_messages_that_hit_a_vcpu_are_routed() {
    let routed = |address, data| route(Message { address, data }, 2).map(|route| (route.apic, route.vector));
    assert_eq!(routed(0xfee0_1000, 0x41), Some((1, 0x41)));
    assert_eq!(routed(0xfee0_0000, 0x0141), Some((0, 0x41)), "lowest priority");
    for (address, data) in [
        (0xfee0_2000, 0x41),   // an APIC that the guest lacks
        (0x1000, 0x41),        // memory
        (0x1_fee0_1000, 0x41), // above 4 GiB
        (0xfee0_1004, 0x41),   // logical
        (0xfee0_1000, 0x0f),   // a reserved vector
        (0xfee0_1000, 0x441),  // NMI
    ] {
        assert_eq!(routed(address, data), None, "{address:x} {data:x}");
    }
}

fn bar(size: u64, hpa: u64) -> VirtualBar {
    VirtualBar {
        host: Bar {
            index: 0,
            kind: BarKind::Memory {
                wide: true,
                prefetchable: false,
            },
            address: hpa,
            size,
        },
        address: 0xc000_0000,
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
    assert_eq!(direct, [(0xc000_0000, 0xfe00_0000, 0x2000)]);
    let trapped = &split.trapped[0];
    assert_eq!(
        (trapped.gpa.0, trapped.hpa.0, trapped.size),
        (0xc000_2000, 0xfe00_2000, 0x2000)
    );
    assert_eq!(trapped.table.map(|table| table.offset), Some(0));
    assert_eq!(trapped.pending.map(|pending| pending.offset), Some(0x1000));
}

#[test]
fn pending_bits_trap_wherever_they_are() {
    let split = split(&bar(0x2000, 0xfe00_0000), Some(&msix(0x1000, 4, 0x1800)));
    assert_eq!(split.trapped[0].pending.unwrap().offset, 0x800);
    let apart = super::split(&bar(0x8000, 0xfe00_0000), Some(&msix(0x5000, 4, 0x1808)));
    let places: Vec<_> = apart
        .trapped
        .iter()
        .map(|t| (t.gpa.0, t.table.is_some(), t.pending.map(|p| p.offset)))
        .collect();
    assert_eq!(
        places,
        [(0xc000_1000, false, Some(0x808)), (0xc000_5000, true, None)]
    );
    assert_eq!(apart.direct.len(), 3);
}

#[test]
fn a_bar_smaller_than_a_page_traps_as_a_whole() {
    let whole = split(&bar(0x100, 0xfe00_0000), None);
    assert!(whole.direct.is_empty());
    assert_eq!(whole.trapped[0].size, 0x100);
    assert!(split(&bar(0x1000, 0xfe00_0000), None).trapped.is_empty());
}

proptest! {
    #[test]
    fn ranges_cover_the_bar_once_and_the_table_never_directly(pages in 0u32..6, table in 0u32..0x4000, vectors in 1u16..300, pending in 0u32..0x4000) {
        let size = 0x1000u64 << pages;
        let (table, pending) = (table & !0xf, pending & !7);
        prop_assume!(u64::from(table) + u64::from(vectors) * 16 <= size);
        let split = split(&bar(size, 0xfe00_0000), Some(&msix(table, vectors, pending)));
        let mut ranges: Vec<_> = split.direct.iter().map(|d| (d.gpa.0, d.size)).collect();
        for (start, length) in &ranges {
            let (start, end) = (start - 0xc000_0000, start - 0xc000_0000 + length);
            prop_assert!(end <= u64::from(table) || start >= u64::from(table) + u64::from(vectors) * 16);
        }
        ranges.extend(split.trapped.iter().map(|trapped| (trapped.gpa.0, trapped.size)));
        ranges.sort_unstable();
        let end = ranges.iter().try_fold(0xc000_0000, |at, (start, size)| (*start == at).then_some(at + size));
        prop_assert_eq!(end, Some(0xc000_0000 + size));
        prop_assert!(ranges.iter().all(|(start, size)| start % 0x1000 == 0 && size % 0x1000 == 0));
    }
}
