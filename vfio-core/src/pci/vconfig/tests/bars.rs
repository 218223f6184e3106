//! BARs: sizes, moves within windows, and hardware that lost them.

use super::*;

fn windows() -> BarPolicy {
    BarPolicy::Movable(Windows {
        memory: 0xc000_0000..0xe000_0000,
        high: 0x40_0000_0000..0x80_0000_0000,
        io: 0x6000..0x7000,
    })
}

#[test]
fn every_kind_of_bar_tells_its_size() {
    for policy in [BarPolicy::Fixed, windows()] {
        let (fake, function) = rich();
        let mut space = space(&fake, &function, policy);
        for (register, assigned, sized) in [
            (0x10, 0xc000_0004, 0xffff_c004),
            (0x14, 0, u32::MAX),
            (0x18, 0xc000_4000, 0xffff_ff00),
            (0x1c, 0x6001, 0xffe1),
            (0x20, 0xc, 0xc),
            (0x24, 0x40, 0xffff_fffe),
            (0x30, 0xc010_0000, 0xffff_0000),
        ] {
            assert_eq!(space.get(&fake, register), assigned, "{register:#x}");
            let ones = if register == 0x30 { 0xffff_f800 } else { u32::MAX };
            space.set32(&fake, register, ones);
            assert_eq!(space.get(&fake, register), sized, "{register:#x}");
            space.set32(&fake, register, assigned);
            assert_eq!(space.get(&fake, register), assigned, "{register:#x}");
        }
        assert_eq!(space.get(&fake, 0x28), 0);
        assert_eq!(*fake.writes.borrow(), [], "nothing of it reaches the hardware");
    }
}

#[test]
fn fixed_bars_stay() {
    let (fake, mut space) = everything();
    assert_eq!(space.set32(&fake, 0x10, 0xd000_0000), []);
    assert_eq!(space.get(&fake, 0x10), 0xc000_0004);
    assert_eq!(space.bar_address(0), Some(0xc000_0000));
    space.set32(&fake, 0x10, u32::MAX);
    assert_eq!(
        space.bar_address(0),
        Some(0x0000_0000_ffff_c000),
        "64 bits, of which half are ones"
    );
    space.set32(&fake, 0x14, u32::MAX);
    assert_eq!(space.bar_address(0), None, "a question is no place");
    assert_eq!(space.set32(&fake, 0x30, 0x1), []);
    assert_eq!(
        space.get(&fake, 0x30),
        0xc010_0001,
        "the ROM's enable bit is the guest's"
    );
    assert_eq!(space.bar_address(ROM), Some(0xc010_0000));
    assert_eq!(space.bar_address(3), None, "I/O is off");
    assert_eq!(space.bar_address(5), None);
}

#[test]
fn movable_bars_go_where_a_window_is() {
    let (fake, function) = rich();
    let mut space = space(&fake, &function, windows());
    let moved = |bar, to| Effect::BarMoved { bar, to };
    assert_eq!(
        space.set32(&fake, 0x18, 0xc800_0123),
        [moved(2, Some(0xc800_0100))]
    );
    assert_eq!(space.set32(&fake, 0x18, 0xb000_0000), [moved(2, None)], "RAM");
    assert_eq!(space.set32(&fake, 0x18, 0xe000_0000), [], "still nowhere");
    assert_eq!(
        space.set32(&fake, 0x18, 0xdfff_ff00),
        [moved(2, Some(0xdfff_ff00))]
    );
    // A 64-bit BAR moves in two steps.
    assert_eq!(space.set32(&fake, 0x24, 0x50), [moved(4, Some(0x50_0000_0000))]);
    // I/O is off: only decoding shows where it is.
    assert_eq!(space.set32(&fake, 0x1c, 0x6fe0), []);
    let effects = space.set16(&fake, header::COMMAND, 3);
    assert_eq!(
        effects,
        [
            Effect::Decode {
                memory: true,
                io: true
            },
            moved(3, Some(0x6fe0))
        ]
    );
    let effects = space.set16(&fake, header::COMMAND, 1);
    assert_eq!(
        effects,
        [
            Effect::Decode {
                memory: false,
                io: true
            },
            moved(0, None),
            moved(2, None),
            moved(4, None)
        ]
    );
    assert_eq!(space.set32(&fake, 0x10, 0xc100_0000), []);
    let effects = space.set16(&fake, header::COMMAND, 3);
    assert!(effects.contains(&moved(0, Some(0xc100_0000))));
}

#[test]
fn bars_that_share_registers_are_not_believed() {
    let (fake, function) = rich();
    let bars = placed(&function);
    let clash = VirtualBar {
        host: Bar {
            index: 1,
            ..bars[1].host
        },
        ..bars[1]
    };
    let beyond = VirtualBar {
        host: Bar {
            index: 7,
            ..bars[1].host
        },
        ..bars[1]
    };
    let options = Options {
        bars: &[bars[0], clash, beyond, bars[0]],
        ..Options::default()
    };
    let space = VirtualConfig::new(&fake, &function, &options);
    assert_eq!(space.bars(), &bars[..1]);
    assert_eq!(space.get(&fake, 0x14), 0);
}

#[test]
fn a_reset_behind_our_back_is_repaired_before_memory_goes_on() {
    let (fake, mut space) = everything();
    let bars: Vec<u32> = (0x10..0x28).step_by(4).map(|at| fake.dword(at)).collect();
    // As after a reset: nothing decodes, the BARs are zero.
    fake.put(header::COMMAND, 0xa018_0000);
    (0x10..0x28).step_by(4).for_each(|at| fake.put(at, 0));
    let effects = space.set16(&fake, header::COMMAND, 6);
    assert_eq!(effects, [Effect::Restored, Effect::BusMaster(true)]);
    assert_eq!(
        bars,
        (0x10..0x28)
            .step_by(4)
            .map(|at| fake.dword(at))
            .collect::<Vec<_>>()
    );
    assert_eq!(fake.dword(header::COMMAND) as u16, 0x0406);
    assert_eq!(space.restored(), 1);
    let first = fake
        .writes
        .borrow()
        .iter()
        .position(|(at, _, value)| *at == 4 && value & 3 != 0);
    let last = fake
        .writes
        .borrow()
        .iter()
        .rposition(|(at, _, _)| (0x10..0x28).contains(at));
    assert!(first > last, "no decoding before the BARs are back");
    assert_eq!(space.check_reset(&fake), None);
    fake.put(0x10, 0);
    assert_eq!(space.check_reset(&fake), Some(Effect::Restored));
    assert_eq!(fake.dword(0x10), bars[0]);
    // Memory that the guest turned off is no reset.
    space.set16(&fake, header::COMMAND, 0);
    assert_eq!(space.check_reset(&fake), None);
    assert_eq!(space.restored(), 2);
}

#[test]
fn a_device_that_is_gone_is_left_alone() {
    let (fake, mut space) = everything();
    fake.bytes.borrow_mut().fill(0xff);
    assert_eq!(space.check_reset(&fake), Some(Effect::Gone));
    assert_eq!(space.set16(&fake, header::COMMAND, 6), [Effect::Gone]);
    assert!(!space.mask_line(&fake, true));
    assert_eq!(*fake.writes.borrow(), []);
    assert_eq!(space.restored(), 0);
}

#[test]
fn the_rom_is_found_and_put_back() {
    let model = Model::endpoint().writable(header::ROM_ENDPOINT, 0xffff_0001);
    let machine = Machine::new([(bdf(AT), model)]);
    machine.write(bdf(AT), header::ROM_ENDPOINT, Width::Dword, 0xfe10_0000);
    let before = machine.bytes();
    let rom = find_rom(&machine, bdf(AT)).unwrap();
    assert_eq!((rom.index, rom.address, rom.size), (ROM, 0xfe10_0000, 0x1_0000));
    assert_eq!(machine.bytes(), before);
    assert_eq!(find_rom(&machine, bdf("00:05.0")), None);
    let none = Machine::new([(bdf(AT), Model::endpoint())]);
    assert_eq!(find_rom(&none, bdf(AT)), None);
}
