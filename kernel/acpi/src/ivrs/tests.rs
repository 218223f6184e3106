//! QEMU's table, a table with every kind of entry, and what is refused.

use super::super::tests::{bytes, seal};
use super::super::{FileTable, Signature, read_file};
use super::*;
use alloc::vec;
use proptest::prelude::*;

/// QEMU 7.2: `-device amd-iommu,intremap=on -device edu,addr=03 -device pcie-pci-bridge,addr=04`.
const QEMU: &str = "495652537800000001b8424f43485320425850432020202001000000425850430100000000280000000000000000000010d1\
    4800080040000000d8fe00000000000000004400000002000000020800000218000002200000430001000000010004ff0100\
    02f8000002fa000002fb00004800000000a00001";

fn read(bytes: &[u8]) -> Result<Ivrs, Error> {
    match read_file(bytes)? {
        FileTable::Ivrs(ivrs) => Ok(ivrs),
        other => panic!("{other:?}"),
    }
}

fn table(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut table = bytes(QEMU)[..48].to_vec();
    table.extend(blocks.concat());
    let length = table.len() as u32;
    table[4..8].copy_from_slice(&length.to_le_bytes());
    seal(&mut table);
    table
}

/// An IVHD of the unit `device` with registers at `base`.
fn ivhd(kind: u8, device: u16, base: u64, entries: &[&[u8]]) -> Vec<u8> {
    let extension: &[u8] = if kind == 0x10 { &[] } else { &[7; 16] };
    let entries = entries.concat();
    let length = (24 + extension.len() + entries.len()) as u16;
    let mut block = vec![kind, 0x20];
    block.extend(length.to_le_bytes());
    block.extend(device.to_le_bytes());
    block.extend(0x40u16.to_le_bytes());
    block.extend(base.to_le_bytes());
    block.extend([0; 8]);
    block.extend(extension);
    block.extend(entries);
    block
}

fn ivmd(kind: u8, flags: u8, devices: (u16, u16), start: u64, length: u64) -> Vec<u8> {
    let mut block = vec![kind, flags, 32, 0];
    block.extend(devices.0.to_le_bytes());
    block.extend(devices.1.to_le_bytes());
    block.extend([0; 8]);
    block.extend(start.to_le_bytes());
    block.extend(length.to_le_bytes());
    block
}

fn fault(blocks: &[Vec<u8>]) -> (usize, Fault) {
    let error = read(&table(blocks)).unwrap_err();
    assert_eq!(error.table, Signature(*b"IVRS"));
    (error.offset, error.fault)
}

fn range(first: u16, last: u16) -> IvhdTarget {
    IvhdTarget::Range {
        first,
        last,
        alias: None,
        extended: None,
    }
}

#[test]
fn qemu_says_what_qemu_has() {
    let ivrs = read(&bytes(QEMU)).unwrap();
    assert_eq!((ivrs.physical_bits, ivrs.virtual_bits), (40, 0));
    let [unit] = &ivrs.units[..] else {
        panic!("{ivrs:?}")
    };
    assert_eq!((unit.kind, unit.base, unit.capability), (0x10, 0xfed8_0000, 0x40));
    assert_eq!((unit.function, unit.extended), (Bdf::new(0, 0, 1, 0), None));
    let targets: Vec<_> = unit.entries.iter().map(|entry| entry.target.clone()).collect();
    let behind_bridge = IvhdTarget::Range {
        first: 0x100,
        last: 0x1ff,
        alias: Some(0x100),
        extended: None,
    };
    assert_eq!(
        targets,
        [
            range(0, 0),
            range(8, 8),
            range(0x18, 0x18),
            range(0x20, 0x20),
            behind_bridge,
            range(0xf8, 0xf8),
            range(0xfa, 0xfa),
            range(0xfb, 0xfb),
            IvhdTarget::IoApic {
                id: 0,
                requester: 0xa0
            },
        ]
    );
    assert!(ivrs.memory.is_empty() && ivrs.skipped.is_empty());
}

#[test]
fn every_entry_is_read() {
    let acpi = [
        &[240, 0x98, 0, 0x40][..],
        b"AMDI0020",
        &[0; 8],
        &[2, 9],
        b"\\_SB.FUR0",
    ]
    .concat();
    let number = [
        &[240, 0x99, 0, 0][..],
        b"AMD0001\0",
        b"PNP0001\0",
        &[1, 8],
        &5u64.to_le_bytes(),
    ]
    .concat();
    let none = [&[240, 0x9a, 0, 0][..], b"AMD0002\0", &[0; 8], &[0, 0]].concat();
    let ivrs = read(&table(&[ivhd(
        0x40,
        2,
        0xfeb8_0000,
        &[
            &[1, 0, 0, 0xd7],
            &[2, 8, 0, 0],
            &[3, 0x10, 0, 1],
            &[0, 0, 0, 0],
            &[4, 0x1f, 0, 9],
            &[66, 0x20, 0, 0, 0, 0x28, 0, 0],
            &[67, 0x30, 0, 0, 0, 0x38, 0, 0],
            &[4, 0x3f, 0, 0],
            &[70, 0x40, 0, 0, 1, 2, 3, 0x84],
            &[71, 0x50, 0, 0, 5, 0, 0, 0x80],
            &[4, 0x5f, 0, 0],
            &[72, 0, 0, 0, 0x21, 0xa0, 0, 1],
            &[72, 0, 0, 0, 0, 0xa1, 0, 2],
            &[72, 0, 0, 0, 4, 0xa2, 0, 9],
            &acpi,
            &number,
            &none,
            &[5, 0, 0, 0],
            &[100; 8],
            &[130; 16],
            &[200; 32],
        ],
    )]))
    .unwrap();
    let targets: Vec<_> = ivrs.units[0]
        .entries
        .iter()
        .map(|entry| entry.target.clone())
        .collect();
    let with = |first, last, alias, extended| IvhdTarget::Range {
        first,
        last,
        alias,
        extended,
    };
    let named = |hid: &str, cid: &str, uid, requester| IvhdTarget::Acpi {
        hid: hid.into(),
        cid: cid.into(),
        uid,
        requester,
    };
    assert_eq!(
        targets,
        [
            IvhdTarget::All,
            range(8, 8),
            range(0x10, 0x1f),
            with(0x20, 0x20, Some(0x28), None),
            with(0x30, 0x3f, Some(0x38), None),
            with(0x40, 0x40, None, Some(0x8403_0201)),
            with(0x50, 0x5f, None, Some(0x8000_0005)),
            IvhdTarget::IoApic {
                id: 0x21,
                requester: 0xa0
            },
            IvhdTarget::Hpet {
                number: 0,
                requester: 0xa1
            },
            IvhdTarget::OtherSpecial {
                variety: 9,
                handle: 4,
                requester: 0xa2
            },
            named("AMDI0020", "", Uid::Text("\\\\_SB.FUR0".into()), 0x98),
            named("AMD0001", "PNP0001", Uid::Number(5), 0x99),
            named("AMD0002", "", Uid::None, 0x9a),
        ]
    );
    let settings: Vec<_> = ivrs.units[0].entries.iter().map(|entry| entry.settings).collect();
    assert_eq!(settings[..3], [0xd7, 0, 1], "those of a range are its start's");
    assert_eq!(
        ivrs.units[0].extended,
        Some((0x0707_0707_0707_0707, 0x0707_0707_0707_0707))
    );
}

#[test]
fn the_newest_block_of_a_unit_counts() {
    let select: &[u8] = &[2, 8, 0, 0];
    let blocks = [
        ivhd(0x11, 2, 0x10_0000, &[select, select]),
        ivhd(0x10, 2, 0x10_0000, &[select]),
        ivhd(0x40, 2, 0x10_0000, &[]),
        ivhd(0x10, 0x4002, 0x20_0000, &[]),
    ];
    let ivrs = read(&table(&blocks)).unwrap();
    let units: Vec<_> = ivrs
        .units
        .iter()
        .map(|unit| (unit.kind, unit.function.requester_id(), unit.entries.len()))
        .collect();
    assert_eq!(units, [(0x40, 2, 0), (0x10, 0x4002, 0)]);
}

#[test]
fn memory_is_read_with_its_rules() {
    let blocks = [
        ivmd(0x20, 0x08, (0, 0), 0x1000, 0x1000),
        ivmd(0x21, 0x07, (0xa8, 0), 0x2000, 0x2000),
        ivmd(0x22, 0x03, (0x100, 0x1ff), 0, u64::MAX),
        vec![0x77, 0, 4, 0],
    ];
    let ivrs = read(&table(&blocks)).unwrap();
    let [all, select, range] = &ivrs.memory[..] else {
        panic!("{ivrs:?}")
    };
    assert_eq!(
        (all.first, all.last, all.requesters),
        (0x1000, 0x1fff, (0, 0xffff))
    );
    assert!(all.exclusion && !all.unity && !all.read && !all.write);
    assert_eq!(select.requesters, (0xa8, 0xa8));
    assert!(select.unity && select.read && select.write && !select.exclusion);
    assert_eq!(
        (range.last, range.requesters, range.write),
        (u64::MAX - 1, (0x100, 0x1ff), false)
    );
    assert_eq!(ivrs.skipped, [0x77]);
}

#[test]
fn what_cannot_be_is_refused_where_it_stands() {
    let unit = |base, entries: &[&[u8]]| ivhd(0x10, 2, base, entries);
    let with = |entries: &[&[u8]]| fault(&[unit(0x10_0000, entries), vec![0x77, 0, 4, 0]]);
    assert!(matches!(
        fault(&[vec![0x10, 0, 4]]),
        (48, Fault::Truncated { needed: 4, left: 3 })
    ));
    assert!(matches!(
        fault(&[vec![0x77, 0, 3, 0]]),
        (48, Fault::Length { found: 3, .. })
    ));
    assert!(matches!(
        fault(&[vec![0x77, 0, 5, 0]]),
        (
            48,
            Fault::Length {
                found: 5,
                most: 4,
                ..
            }
        )
    ));
    assert!(matches!(
        fault(&[vec![0x20, 0, 6, 0, 0, 0]]),
        (
            48,
            Fault::Length {
                found: 6,
                least: 32,
                ..
            }
        )
    ));
    assert_eq!(fault(&[unit(0, &[])]), (48, Fault::NoRegisters));
    assert!(matches!(
        fault(&[unit(0x1000, &[])]),
        (48, Fault::Unaligned { .. })
    ));
    assert!(matches!(
        with(&[&[2, 0, 0]]),
        (72, Fault::Truncated { needed: 4, left: 3 })
    ));
    assert!(matches!(
        with(&[&[66, 0, 0, 0]]),
        (
            72,
            Fault::Length {
                found: 8,
                most: 4,
                ..
            }
        )
    ));
    assert!(matches!(
        with(&[&[240; 21]]),
        (72, Fault::Truncated { needed: 22, left: 21 })
    ));
    let long = [&[240, 0, 0, 0][..], &[65; 16], &[2, 5], &[65; 4]].concat();
    assert!(matches!(
        with(&[&long]),
        (
            72,
            Fault::Length {
                found: 27,
                most: 26,
                ..
            }
        )
    ));
    let short = [&[240, 0, 0, 0][..], &[65; 16], &[1, 4], &[65; 4]].concat();
    assert!(matches!(
        with(&[&short]),
        (
            94,
            Fault::Length {
                found: 4,
                least: 8,
                most: 8
            }
        )
    ));
    assert_eq!(with(&[&[3, 0, 0, 0]]), (72, Fault::NoEnd));
    assert_eq!(
        with(&[&[3, 0, 0, 0], &[3, 8, 0, 0], &[4, 9, 0, 0]]),
        (72, Fault::NoEnd)
    );
    assert_eq!(with(&[&[2, 0, 0, 0], &[4, 9, 0, 0]]), (76, Fault::NoStart));
    assert_eq!(
        with(&[&[3, 9, 0, 0], &[4, 8, 0, 0]]),
        (72, Fault::EmptyRange { start: 9, end: 8 })
    );
    let again = |entries: &[&[u8]]| {
        fault(&[
            unit(0x10_0000, &[&[2, 8, 0, 0]]),
            ivhd(0x10, 3, 0x20_0000, entries),
        ])
    };
    assert_eq!(again(&[&[1, 0, 0, 0]]), (76, Fault::Overlap));
    assert_eq!(again(&[&[3, 0, 0, 0], &[4, 8, 0, 0]]), (76, Fault::Overlap));
    assert_eq!(
        fault(&[unit(0x10_0000, &[]), unit(0x20_0000, &[])]),
        (72, Fault::Overlap),
        "one unit twice"
    );
    assert_eq!(
        fault(&[unit(0x10_0000, &[]), ivhd(0x11, 3, 0x10_0000, &[])]),
        (72, Fault::Overlap)
    );
    assert!(matches!(
        fault(&[ivmd(0x22, 0, (2, 1), 0, 1)]),
        (48, Fault::EmptyRange { start: 2, end: 1 })
    ));
    assert!(matches!(
        fault(&[ivmd(0x20, 0, (0, 0), 5, 0)]),
        (48, Fault::EmptyRange { .. })
    ));
    assert_eq!(
        fault(&[ivmd(0x20, 0, (0, 0), 0x1000, u64::MAX)]),
        (48, Fault::Overflow)
    );
}

#[test]
fn a_table_that_is_too_large_to_compare_is_refused_in_time() {
    let select: &[u8] = &[2, 8, 0, 0];
    assert_eq!(
        fault(&[ivhd(0x10, 2, 0x10_0000, &vec![select; 4097])]),
        (72 + 4096 * 4, Fault::TooMany { most: 4096 })
    );
    let half = ivhd(0x10, 2, 0x10_0000, &vec![select; 2049]);
    let other = ivhd(0x10, 3, 0x20_0000, &vec![select; 2049]);
    assert_eq!(fault(&[half, other]), (36, Fault::TooMany { most: 4096 }));
}

proptest! {
    /// Whatever stands behind a right length and checksum, reading it ends, and ends without a panic.
    #[test]
    fn mutated_tables_are_read_or_refused(
        changes in prop::collection::vec((36usize..152, any::<u8>()), 0..12),
        cut in 48usize..153,
    ) {
        let mut table = table(&[bytes(QEMU)[48..].to_vec(), ivmd(0x22, 1, (0, 1), 0x1000, 0x1000)]);
        for (offset, value) in changes {
            if let Some(byte) = table.get_mut(offset) {
                *byte = value;
            }
        }
        table.truncate(cut);
        let length = table.len() as u32;
        table[4..8].copy_from_slice(&length.to_le_bytes());
        seal(&mut table);
        if let Err(error) = read(&table) {
            prop_assert!(error.offset < table.len(), "{error}");
        }
    }

    /// Random entries: they are read or refused, and ranges that come out are ranges.
    #[test]
    fn random_entries_are_read_or_refused(kind in prop::sample::select(vec![0x10u8, 0x11, 0x40]), entries in prop::collection::vec(
        (prop::sample::select(vec![0u8, 1, 2, 3, 4, 66, 67, 70, 71, 72, 240, 9, 150]), prop::collection::vec(0u8..4, 2..40)), 0..12)) {
        let entries: Vec<Vec<u8>> = entries.into_iter().map(|(kind, mut rest)| {
            let length = match kind { 240 => rest.len(), _ => (4usize << (kind >> 6)) - 1 };
            rest.resize(length, 0);
            [&[kind][..], &rest].concat()
        }).collect();
        let entries: Vec<&[u8]> = entries.iter().map(|entry| &entry[..]).collect();
        if let Ok(ivrs) = read(&table(&[ivhd(kind, 2, 0x10_0000, &entries)])) {
            for entry in &ivrs.units[0].entries {
                if let IvhdTarget::Range { first, last, .. } = entry.target {
                    prop_assert!(first <= last);
                }
            }
        }
    }
}
