//! QEMU's table, a table with everything that shipped machines have, and what is refused.

use super::super::tests::{bytes, seal};
use super::super::{FileTable, Signature, read_file};
use super::*;
use alloc::string::ToString as _;
use alloc::vec;
use proptest::prelude::*;

/// QEMU 7.2: `-device intel-iommu,intremap=on -device edu,addr=03 -device pcie-root-port,addr=05`.
const QEMU: &str = "444d4152780000000107424f4348532042585043202020200100000042585043010000002601000000000000000000000000\
    4800000000000000d9fe000000000308000000ff000001080000000000000108000000000300020800000000050001080000\
    00001f000108000000001f020108000000001f03";

fn read(bytes: &[u8]) -> Result<Dmar, Error> {
    match read_file(bytes)? {
        FileTable::Dmar(dmar) => Ok(dmar),
        other => panic!("{other:?}"),
    }
}

/// A table of `structures`, with right length and checksum.
fn table(structures: &[Vec<u8>]) -> Vec<u8> {
    let mut table = bytes(QEMU)[..48].to_vec();
    table.extend(structures.concat());
    let length = table.len() as u32;
    table[4..8].copy_from_slice(&length.to_le_bytes());
    seal(&mut table);
    table
}

/// A structure: its length, 4 bytes in front of `body`, is counted.
fn structure(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = (body.len() + 4) as u16;
    [&kind.to_le_bytes(), &length.to_le_bytes(), body].concat()
}

fn scope(kind: u8, id: u8, bus: u8, path: &[(u8, u8)]) -> Vec<u8> {
    let mut scope = vec![kind, 6 + 2 * path.len() as u8, 0, 0, id, bus];
    scope.extend(path.iter().flat_map(|&(device, function)| [device, function]));
    scope
}

fn drhd(all: bool, base: u64, scopes: &[Vec<u8>]) -> Vec<u8> {
    let fixed = [&[u8::from(all), 0, 0, 0][..], &base.to_le_bytes()].concat();
    structure(0, &[fixed, scopes.concat()].concat())
}

fn rmrr(first: u64, last: u64, scopes: &[Vec<u8>]) -> Vec<u8> {
    let fixed = [&[0; 4][..], &first.to_le_bytes(), &last.to_le_bytes()].concat();
    structure(1, &[fixed, scopes.concat()].concat())
}

fn fault(structures: &[Vec<u8>]) -> (usize, Fault) {
    let error = read(&table(structures)).unwrap_err();
    assert_eq!(error.table, Signature(*b"DMAR"));
    (error.offset, error.fault)
}

#[test]
fn qemu_says_what_qemu_has() {
    let dmar = read(&bytes(QEMU)).unwrap();
    assert_eq!((dmar.address_bits, dmar.interrupt_remapping), (39, true));
    let [unit] = &dmar.units[..] else {
        panic!("{dmar:?}")
    };
    assert_eq!((unit.base, unit.bytes, unit.segment), (0xfed9_0000, 4096, 0));
    assert!(!unit.include_all);
    let scopes: Vec<_> = unit.scopes.iter().map(|scope| scope.to_string()).collect();
    assert_eq!(
        scopes,
        [
            "0000:ff:00.0 (I/O APIC 0)",
            "0000:00:00.0",
            "0000:00:03.0",
            "0000:00:05.0 and all behind it",
            "0000:00:1f.0",
            "0000:00:1f.2",
            "0000:00:1f.3",
        ]
    );
    assert!(dmar.reserved.is_empty() && dmar.skipped.is_empty());
}

#[test]
fn everything_that_shipped_machines_have_is_read() {
    let dmar = read(&table(&[
        drhd(false, 0xfed9_0000, &[scope(1, 0, 0, &[(2, 0)])]),
        drhd(
            true,
            0xfed9_1000,
            &[
                scope(3, 8, 0xf0, &[(31, 0)]),
                scope(4, 0, 0xf0, &[(15, 0)]),
                scope(5, 1, 0, &[(30, 6)]),
            ],
        ),
        rmrr(0x7b80_0000, 0x7fff_ffff, &[scope(1, 0, 0, &[(2, 0)])]),
        rmrr(0x7b80_0000, 0x7b80_ffff, &[scope(2, 0, 0, &[(28, 0), (0, 0)])]),
        structure(2, &[1, 0, 0, 0]),
        structure(2, &[&[0, 0, 1, 0][..], &scope(2, 0, 0x80, &[(1, 0)])].concat()),
        structure(
            3,
            &[&[0; 4][..], &0xfed9_1000u64.to_le_bytes(), &1u32.to_le_bytes()].concat(),
        ),
        structure(4, &[&[0, 0, 0, 1][..], b"\\_SB.PCI0.I2C0\0"].concat()),
        structure(5, &[&[1, 0, 0, 0][..], &scope(1, 0, 0, &[(10, 0)])].concat()),
        structure(6, &[0, 0, 0, 0]),
        structure(0x7777, &[]),
        structure(0x7778, &[9; 33]),
    ]))
    .unwrap();
    assert_eq!(
        dmar.units.iter().map(|unit| unit.include_all).collect::<Vec<_>>(),
        [false, true]
    );
    let kinds: Vec<_> = dmar.units[1].scopes.iter().map(|scope| scope.kind).collect();
    assert_eq!(
        kinds,
        [ScopeKind::IoApic(8), ScopeKind::Hpet(0), ScopeKind::AcpiDevice(1)]
    );
    assert_eq!(
        (dmar.reserved[0].first, dmar.reserved[0].last),
        (0x7b80_0000, 0x7fff_ffff)
    );
    assert_eq!(
        dmar.reserved[1].scopes[0].to_string(),
        "0000:00:1c.0 > 00.0 and all behind it"
    );
    assert!(dmar.ats[0].all && !dmar.ats[1].all);
    assert_eq!((dmar.ats[1].segment, dmar.ats[1].scopes[0].segment), (1, 1));
    assert_eq!(
        dmar.proximities,
        [Proximity {
            base: 0xfed9_1000,
            domain: 1
        }]
    );
    let name = AcpiDevice {
        number: 1,
        name: "\\\\_SB.PCI0.I2C0".into(),
    };
    assert_eq!(dmar.acpi_devices, [name]);
    assert!(dmar.integrated[0].required);
    assert_eq!(dmar.skipped, [6, 0x7777, 0x7778]);
}

#[test]
fn what_cannot_be_is_refused_where_it_stands() {
    let unit = |base| drhd(false, base, &[]);
    assert!(matches!(
        fault(&[vec![0, 0, 0]]),
        (48, Fault::Truncated { needed: 4, left: 3 })
    ));
    assert!(matches!(
        fault(&[structure(9, &[]), vec![9, 0, 3, 0]]),
        (
            52,
            Fault::Length {
                found: 3,
                least: 4,
                ..
            }
        )
    ));
    assert!(matches!(
        fault(&[vec![9, 0, 0, 0]]),
        (48, Fault::Length { found: 0, .. })
    ));
    assert!(matches!(
        fault(&[vec![9, 0, 5, 0]]),
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
        fault(&[structure(0, &[0; 11])]),
        (
            48,
            Fault::Length {
                found: 15,
                least: 16,
                ..
            }
        )
    ));
    assert_eq!(fault(&[unit(0)]), (48, Fault::NoRegisters));
    assert!(matches!(
        fault(&[unit(0xfed9_0800)]),
        (48, Fault::Unaligned { .. })
    ));
    let mut large = unit(u64::MAX - 0xfff);
    large[5] = 1;
    assert_eq!(fault(&[large]), (48, Fault::Overflow));
    let mut two_pages = unit(0xfed9_0000);
    two_pages[5] = 1;
    assert_eq!(fault(&[two_pages, unit(0xfed9_1000)]), (64, Fault::Overlap));
    assert_eq!(
        fault(&[drhd(true, 0x1000, &[]), drhd(true, 0x2000, &[])]),
        (64, Fault::Overlap)
    );
    let claimed = [scope(1, 0, 0, &[(2, 0)])];
    let claims = |base| drhd(false, base, &claimed);
    assert_eq!(fault(&[claims(0x1000), claims(0x2000)]), (72, Fault::Overlap));
    assert!(matches!(
        fault(&[rmrr(2, 1, &[])]),
        (48, Fault::EmptyRange { start: 2, end: 1 })
    ));
    let andd = structure(4, &[0, 0, 0, 1]);
    assert_eq!(fault(&[andd.clone(), andd]), (56, Fault::Overlap));
}

#[test]
fn scopes_stay_inside_their_structure() {
    let with = |scope: Vec<u8>| fault(&[drhd(false, 0x1000, &[scope]), structure(9, &[0; 64])]);
    assert!(matches!(
        with(vec![1, 8, 0]),
        (64, Fault::Truncated { needed: 6, left: 3 })
    ));
    assert!(matches!(
        with(scope(1, 0, 0, &[])),
        (
            64,
            Fault::Length {
                found: 6,
                least: 8,
                ..
            }
        )
    ));
    let mut long = scope(1, 0, 0, &[(2, 0)]);
    long[1] = 10;
    assert!(matches!(
        with(long),
        (
            64,
            Fault::Length {
                found: 10,
                most: 8,
                ..
            }
        )
    ));
    let mut odd = scope(1, 0, 0, &[(2, 0)]);
    odd[1] = 9;
    odd.push(0);
    assert!(matches!(with(odd), (72, Fault::Truncated { needed: 2, left: 1 })));
    assert_eq!(
        with(scope(1, 0, 0, &[(2, 8)])),
        (
            70,
            Fault::NoFunction {
                device: 2,
                function: 8
            }
        )
    );
    assert_eq!(
        with(scope(2, 0, 0, &[(2, 0), (32, 0)])),
        (
            72,
            Fault::NoFunction {
                device: 32,
                function: 0
            }
        )
    );
}

#[test]
fn a_table_that_is_too_large_to_compare_is_refused_in_time() {
    let scopes: Vec<_> = (0..4000u32)
        .map(|n| scope(1, 0, (n >> 8) as u8, &[((n >> 3) as u8 & 31, n as u8 & 7)]))
        .collect();
    assert!(read(&table(&[drhd(false, 0x1000, &scopes)])).is_ok());
    let offset = 48 + 16 + 4000 * 8;
    let more = drhd(false, 0x2000, &scopes[..97]);
    assert_eq!(
        fault(&[drhd(false, 0x1000, &scopes), more]),
        (offset, Fault::TooMany { most: 4096 })
    );
    let many = vec![structure(9, &[]); 4097];
    assert_eq!(fault(&many), (48 + 4096 * 4, Fault::TooMany { most: 4096 }));
}

proptest! {
    /// Whatever stands behind a right length and checksum, reading it ends, and ends without a panic.
    #[test]
    fn mutated_tables_are_read_or_refused(
        changes in prop::collection::vec((36usize..140, any::<u8>()), 0..12),
        cut in 48usize..140,
    ) {
        let mut table = table(&[bytes(QEMU)[48..].to_vec(), rmrr(0x1000, 0x1fff, &[scope(2, 0, 0, &[(1, 0), (2, 0)])])]);
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

    /// Random bytes as structures.
    #[test]
    fn random_structures_are_read_or_refused(body in prop::collection::vec((0u16..8, prop::collection::vec(0u8..12, 0..40)), 0..8)) {
        let structures: Vec<_> = body.iter().map(|(kind, body)| structure(*kind, body)).collect();
        let _ = read(&table(&structures));
    }

    /// What is written is read, each scope whole and in its order.
    #[test]
    fn scopes_come_back(scopes in prop::collection::vec((1u8..8, any::<u8>(), any::<u8>(), prop::collection::vec((0u8..32, 0u8..8), 1..6)), 0..20)) {
        let written: Vec<_> = scopes.iter().map(|(kind, id, bus, path)| scope(*kind, *id, *bus, path)).collect();
        let dmar = read(&table(&[rmrr(0, 0xfff, &written)])).unwrap();
        let read: Vec<_> = dmar.reserved[0].scopes.iter().map(|scope| {
            let (kind, id) = match scope.kind {
                ScopeKind::Endpoint => (1, None),
                ScopeKind::SubHierarchy => (2, None),
                ScopeKind::IoApic(id) => (3, Some(id)),
                ScopeKind::Hpet(id) => (4, Some(id)),
                ScopeKind::AcpiDevice(id) => (5, Some(id)),
                ScopeKind::Other(kind) => (kind, None),
            };
            let path: Vec<_> = scope.path.iter().map(|step| (step.device, step.function)).collect();
            (kind, id, scope.start_bus, path)
        }).collect();
        let expected: Vec<_> = scopes.into_iter().map(|(kind, id, bus, path)| (kind, (3..=5).contains(&kind).then_some(id), bus, path)).collect();
        prop_assert_eq!(read, expected);
    }
}
