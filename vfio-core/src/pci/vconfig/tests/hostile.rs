//! Devices that lie, and guests that write garbage: no panic, lists that end, and hardware that keeps every bit that no row lets
//! a guest write.

use super::super::table;
use super::*;
use crate::pci::config::{Capability, Express, ExtendedCapability, Msi, MsiX, TableLocation};
use crate::testing::cases;
use proptest::prelude::*;

/// Ids that have rows, so that random lists show something.
fn id() -> impl Strategy<Value = u16> {
    prop_oneof![3 => 1u16..0x14, 1 => 1u16..0x1c, 1 => Just(0x23), 1 => any::<u16>()]
}

prop_compose! {
    fn function()(
        standard in prop::collection::vec((id(), 0x3cu16..0x104), 0..24),
        extended in prop::collection::vec((id(), 0xf0u16..0x1010), 0..24),
        express in prop::option::of((0x40u16..0xf8, 0u8..4)),
        msi in prop::option::of((0x40u16..0xf4, 0u8..6, any::<bool>(), any::<bool>())),
        msix in prop::option::of((0x40u16..0xf8, 1u16..2049, any::<u32>())),
        sriov in any::<bool>(),
    ) -> Function {
        let (_, mut function) = rich();
        let mut list: Vec<_> = standard
            .into_iter()
            .map(|(id, at)| Capability { id: id as u8, offset: at & !3 })
            .collect();
        function.express = express.map(|(at, version)| Express {
            offset: at & !3,
            version,
            port_type: 0,
            slot: false,
            reports_link: false,
        });
        function.msi = msi.map(|(at, vectors, address_64, maskable)| Msi {
            offset: at & !3,
            vectors: 1 << vectors,
            address_64,
            maskable,
        });
        function.msix = msix.map(|(at, vectors, offset)| {
            let location = |length| TableLocation { bar: 0, offset: offset & !7, length };
            MsiX { offset: at & !3, vectors, table: location(16), pending: location(8) }
        });
        let known = [
            (0x10, function.express.map(|found| found.offset)),
            (0x05, function.msi.map(|found| found.offset)),
            (0x11, function.msix.map(|found| found.offset)),
        ];
        list.extend(known.into_iter().filter_map(|(id, at)| Some(Capability { id, offset: at? })));
        function.capabilities = list;
        function.extended = extended
            .into_iter()
            .map(|(id, at)| ExtendedCapability { id, version: 1, offset: if sriov { at & !3 } else { at } })
            .collect();
        function
    }
}

/// Bits of the hardware that a guest may change somewhere, by what the capability is; everything else of the space may not change.
fn allowed(function: &Function) -> Vec<u8> {
    let mut mask = vec![0u8; 0x1000];
    let mut allow = |at: u16, value: u32| {
        for (byte, value) in (usize::from(at)..0x1000).zip(value.to_le_bytes()) {
            mask[byte] |= value;
        }
    };
    // Command: I/O, memory, bus master, special cycles, MWI, snooping, fast back-to-back; INTx masked for good.
    allow(4, 0x063f);
    allow(0xc, 0xffff);
    // BARs, which are put back after a reset.
    (0x10..0x28)
        .step_by(4)
        .chain([0x30])
        .for_each(|at| allow(at, u32::MAX));
    for found in &function.capabilities {
        match found.id {
            0x07 => {
                allow(found.offset, 0x7f << 16);
                allow(found.offset + 8, u32::MAX);
            }
            0x10 => {
                // FLR reads as zero; of a device where it does not, it is cleared.
                allow(found.offset + 8, 0xfd1f);
                allow(found.offset + 0x28, 0xffdf);
            }
            _ => {}
        }
    }
    for found in &function.extended {
        match found.id {
            1 => [4, 8, 0xc, 0x10, 0x14, 0x18].into_iter().for_each(|at| {
                let bits = if at < 0x10 { 0x03ff_f031 } else { 0xf1c1 };
                allow(found.offset + at, bits);
            }),
            4 => allow(found.offset + 4, 0xff),
            _ => {}
        }
    }
    mask
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn garbage_reaches_no_bit_that_no_row_allows(
        function in function(),
        bytes in prop::collection::vec(any::<u8>(), 4096),
        noise in prop_oneof![3 => Just(0u64), 1 => any::<u64>()],
        movable in any::<bool>(),
        writes in prop::collection::vec((any::<u16>(), 0..3usize, any::<u32>()), 1..150),
    ) {
        let mut fake = Fake::new(bytes);
        let errors = function.extended.iter().filter(|found| found.id == 1).map(|found| found.offset);
        fake.clears = errors.flat_map(|at| [(at + 4, u32::MAX), (at + 0x10, u32::MAX)]).collect();
        fake.noise.set(noise);
        let policy = if movable { BarPolicy::Movable(Windows::default()) } else { BarPolicy::Fixed };
        let mut space = space(&fake, &function, policy);
        prop_assert_eq!(&*fake.writes.borrow(), &[], "building writes nothing");
        // The lists end, and hold what is known.
        for id in space.walk(&fake) {
            prop_assert!(table::STANDARD.iter().any(|layout| layout.id == u16::from(id)));
        }
        if space.size() == 0x1000 {
            let ids = space.walk_extended(&fake);
            let rest = ids.iter().skip(usize::from(ids[0] == 0));
            prop_assert!(rest.clone().all(|id| table::EXTENDED.iter().any(|layout| layout.id == *id)));
        }
        let before = fake.bytes.borrow().clone();
        for (offset, width, value) in writes {
            let width = [Width::Byte, Width::Word, Width::Dword][width];
            let offset = offset & 0xfff;
            let offset = if value & 1 == 0 { offset & !(width.bytes() - 1) } else { offset };
            let written = space.write(&fake, offset, width, value);
            let fits = offset.is_multiple_of(width.bytes()) && offset + width.bytes() <= space.size();
            prop_assert_eq!(written.is_ok(), fits);
            prop_assert_eq!(space.read(&fake, offset, width).is_ok(), fits);
        }
        if noise == 0 {
            let allowed = allowed(&function);
            for (at, (old, new)) in before.iter().zip(&*fake.bytes.borrow()).enumerate() {
                prop_assert_eq!((old ^ new) & !allowed[at], 0, "at {:#x}", at);
            }
        }
        // With a device that answers at random, at least only registers with rows are written.
        let allowed = allowed(&function);
        for (at, width, _) in &*fake.writes.borrow() {
            let touched = &allowed[usize::from(*at)..usize::from(at + width.bytes())];
            prop_assert!(touched.iter().any(|bits| *bits != 0), "at {:#x}", at);
        }
    }
}

#[test]
fn all_ones_and_all_zeros_show_nothing_but_what_was_decoded() {
    for byte in [0, 0xff] {
        let (_, function) = rich();
        let fake = Fake::new(vec![byte; 4096]);
        let space = space(&fake, &function, BarPolicy::Fixed);
        assert_eq!(space.get(&fake, 0), 0x0010_1b36);
        assert_eq!(space.walk(&fake).len(), 7);
        assert_eq!(space.walk_extended(&fake), [0, 1, 3, 4, 0x10]);
    }
}

#[test]
fn overlapping_capabilities_are_cut_or_hidden() {
    let (fake, mut function) = rich();
    let at = |id, offset| Capability { id, offset };
    // PM needs 8 bytes and has 4; a vendor's claims 0xff and has 8; the last is outside.
    fake.put(0x44, 0x00ff_0009);
    function.capabilities = vec![at(1, 0x40), at(9, 0x44), at(0x0d, 0x4c), at(9, 0x44), at(2, 0xf8)];
    let space = space(&fake, &function, BarPolicy::Fixed);
    assert_eq!(space.walk(&fake), [9]);
    assert_eq!(space.get(&fake, 0x44), 0x00ff_0009);
    assert_eq!(space.get(&fake, 0x48), fake.dword(0x48));
    assert_eq!(space.get(&fake, 0x4c), 0);
    assert_eq!(space.get(&fake, 0x40), 0);
}

#[test]
fn a_capability_that_is_shorter_than_the_tables_is_cut() {
    let (fake, mut function) = rich();
    function.extended = vec![
        ExtendedCapability {
            id: 1,
            version: 1,
            offset: 0x100,
        },
        ExtendedCapability {
            id: 0x0d,
            version: 1,
            offset: 0x12c,
        },
        ExtendedCapability {
            id: 0x0f,
            version: 1,
            offset: 0x134,
        },
        ExtendedCapability {
            id: 0x18,
            version: 1,
            offset: 0xffc,
        },
    ];
    // Egress control of 256 ports: 8 + 32 bytes, of which 8 have room.
    fake.put(0x130, 1 << 5);
    fake.put(0x128, 7);
    let space = space(&fake, &function, BarPolicy::Fixed);
    assert_eq!(space.walk_extended(&fake), [1, 0x0d, 0x0f], "LTR does not fit");
    assert_eq!(space.get(&fake, 0x128), 7);
    assert_eq!(space.get(&fake, 0x130), 1 << 5);
}

#[test]
fn lengths_that_depend_on_registers() {
    let (fake, mut function) = rich();
    for (id, registers, bytes) in [
        (0x02u16, vec![0, 2, 0, 0], 16 + 3 * 12),
        // Arbitration over 64 phases, at 5 * 16 bytes.
        (0x02, vec![0, 0, 0x0500_0006, 0], 0x50 + 32),
        (0x0d, vec![0, 0x2020, 0, 0], 12),
        (0x15, vec![0, 0, 3 << 5, 0], 28),
        (0x16, vec![0, 7, 0, 0], 24),
        (0x17, vec![0, 3 << 16 | 1 << 9, 0, 0], 20),
        (0x17, vec![0, 3 << 16 | 2 << 9, 0, 0], 12),
        (0x0b, vec![0, 0x0180_0001, 0, 0], 0x18),
        (0x23, vec![0, 0x0140_0001, 0, 0], 0x14),
    ] {
        function.extended = vec![ExtendedCapability {
            id,
            version: 1,
            offset: 0x200,
        }];
        (0x200..0x300).step_by(4).for_each(|at| fake.put(at, u32::MAX));
        for (at, register) in (0x200..).step_by(4).zip(&registers).skip(1) {
            fake.put(at, *register);
        }
        let space = space(&fake, &function, BarPolicy::Fixed);
        assert_eq!(space.walk_extended(&fake), [0, id]);
        let mut shown = vec![0; 0x100];
        space.read_bytes(&fake, 0x200, &mut shown).unwrap();
        let mut hardware = fake.bytes.borrow()[0x200..0x300].to_vec();
        hardware[bytes..].fill(0);
        hardware[..4].copy_from_slice(&shown[..4]);
        assert_eq!(shown, hardware, "{id:#x}");
    }
    for (id, registers, bytes) in [
        (0x07u8, [0, 0, 0], 8),
        (0x07, [1 << 28, 0, 0], 24),
        (0x08, [0, 0, 0], 28),
        (0x08, [0x2000_0000, 0, 0], 24),
        (0x08, [0x8000_0000, 0, 0], 8),
        (0x08, [0xa800_0000, 0, 0], 12),
        (0x08, [0xa802_0000, 0, 0], 4),
        (0x08, [0xb000_0000, 0, 0], 4),
        (0x12, [0, 0xf, 0], 16),
        (0x12, [0, 4, 0], 8),
        (0x02, [0, 0, 0], 12),
    ] {
        function.capabilities = vec![Capability { id, offset: 0x80 }];
        (0x80..0x100).step_by(4).for_each(|at| fake.put(at, u32::MAX));
        for (at, register) in (0x80..).step_by(4).zip(registers) {
            fake.put(at, register);
        }
        let space = space(&fake, &function, BarPolicy::Fixed);
        assert_eq!(space.walk(&fake), [id]);
        let mut shown = vec![0; 0x80];
        space.read_bytes(&fake, 0x80, &mut shown).unwrap();
        let mut hardware = fake.bytes.borrow()[0x80..0x100].to_vec();
        hardware[bytes..].fill(0);
        hardware[..2].copy_from_slice(&shown[..2]);
        assert_eq!(shown, hardware, "{id:#x} {registers:x?}");
    }
}
