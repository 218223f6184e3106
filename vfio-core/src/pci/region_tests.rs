//! Which parts of BARs can be mapped, against a look at every page.

#![cfg(not(loom))]

use super::*;
use crate::pci::config::BarKind;
use crate::pci::vconfig::{Options, VirtualBar};
use crate::testing::cases;
use crate::testing::pci::{Machine, Model, bdf, found};
use proptest::prelude::*;
use std::vec::Vec;

const PAGE: u64 = 0x1000;

fn memory(size: u64, address: u64) -> Bar {
    Bar {
        index: 0,
        kind: BarKind::Memory {
            wide: true,
            prefetchable: false,
        },
        address,
        size,
    }
}

fn msix(bar: u8, table: u32, vectors: u16, pending: u32) -> MsiX {
    let location = |offset, length| TableLocation { bar, offset, length };
    MsiX {
        offset: 0x40,
        vectors,
        table: location(table, u32::from(vectors) * 16),
        pending: location(pending, u32::from(vectors).div_ceil(64) * 8),
    }
}

fn only(size: u64) -> Vec<Range<u64>> {
    core::iter::once(0..size).collect()
}

#[test]
fn what_cannot_be_mapped_traps_as_a_whole() {
    let io = Bar {
        kind: BarKind::Io,
        ..memory(0x1000, 0x1000)
    };
    for bar in [
        memory(0x100, 0xfe00_0000),
        memory(0x800, 0xfe00_0800),
        memory(0x4000, 0),
        memory(0x4000, 0xfe00_0100),
        memory(0x4000, !0xfff),
        io,
    ] {
        assert!(mappable(&bar, None, PAGE).is_empty(), "{bar:x?}");
        assert_eq!(trapped(&bar, None, PAGE).to_vec(), only(bar.size));
    }
    let whole = memory(0x4000, 0xfe00_0000);
    assert_eq!(mappable(&whole, None, PAGE).to_vec(), only(0x4000));
    assert_eq!(mappable(&whole, None, 0x8000)[..], [], "host pages are larger");
    assert_eq!(
        mappable(&whole, Some(&msix(1, 0, 4, 0)), PAGE).to_vec(),
        only(0x4000),
        "another BAR's"
    );
}

#[test]
fn regions_of_a_function() {
    let model = Model::endpoint()
        .bar(0, 4, 0x4000, 0xfe60_0000)
        .bar(3, 1, 0x20, 0xd040)
        .capability(0x11, &[64, 0, 0x00, 0x20, 0, 0, 0x00, 0x30, 0, 0]);
    let machine = Machine::new([(bdf("00:04.0"), model)]);
    let function = found(&machine).functions.remove(0);
    let bars: Vec<_> = function
        .bars
        .iter()
        .map(|host| VirtualBar {
            host: *host,
            address: 0,
        })
        .collect();
    let options = Options {
        bars: &bars,
        ..Options::default()
    };
    let config = VirtualConfig::new(&machine, &function, &options);
    let describe = |index| describe(&function, &config, index, PAGE);
    let bar0 = describe(0).unwrap();
    assert!(bar0.size == 0x4000 && bar0.flags == RegionFlags::all());
    // QEMU's NVMe: the table at 0x2000, the pending bits at 0x3000.
    assert_eq!(
        bar0.mappable,
        [Mappable {
            offset: 0,
            size: 0x2000,
            address: HostPhys(0xfe60_0000),
            memory_type: MemoryType::Device
        }]
    );
    let io = describe(3).unwrap();
    assert!(io.size == 0x20 && !io.flags.contains(RegionFlags::MAP));
    for absent in [1, 2, 4, 5, 6, 8] {
        assert_eq!(describe(absent), Some(RegionInfo::ABSENT));
    }
    assert_eq!(describe(index::CONFIG).unwrap().size, 0x100);
    assert_eq!(describe(index::COUNT), None);
    assert_eq!(describe(u32::MAX), None);
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn every_page_is_mapped_or_trapped(pages in 0u32..6, table in 0u32..0x2_0000, vectors in 1u16..600, pending in 0u32..0x2_0000) {
        let bar = memory(PAGE << pages, 0xfe00_0000);
        let msix = msix(0, table & !7, vectors, pending & !7);
        let (mapped, traps) = (mappable(&bar, Some(&msix), PAGE), trapped(&bar, Some(&msix), PAGE));
        for page in (0..bar.size).step_by(0x1000) {
            let holds = |place: TableLocation| {
                u64::from(place.offset) < page + PAGE && page < u64::from(place.offset) + u64::from(place.length)
            };
            let is_in = |ranges: &[Range<u64>]| ranges.iter().filter(|range| range.contains(&page)).count();
            prop_assert_eq!(is_in(&mapped), usize::from(!holds(msix.table) && !holds(msix.pending)));
            prop_assert_eq!(is_in(&mapped) + is_in(&traps), 1);
        }
        prop_assert!(mapped.iter().chain(&traps).all(|range| range.start < range.end && range.end <= bar.size && range.start % PAGE == 0 && range.end % PAGE == 0));
    }
}
