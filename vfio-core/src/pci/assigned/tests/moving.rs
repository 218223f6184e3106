//! BARs that their owner moves: they answer where it put them, and nowhere else.

use super::*;
use crate::pci::vconfig::{BarPolicy, Windows};
use crate::testing::cases;
use proptest::prelude::*;

const LOW: core::ops::Range<u64> = 0x7000_0000..0x8000_0000;
const HIGH: core::ops::Range<u64> = 0x40_0000_0000..0x60_0000_0000;

fn movable() -> BarPolicy {
    BarPolicy::Movable(Windows {
        memory: LOW,
        high: HIGH,
        io: 0..0,
    })
}

fn bar(device: &mut Open<'_>, register: u16, value: u32) {
    set(device, header::BAR0 + 4 * register, &value.to_le_bytes()).unwrap();
}

fn places(world: &World) -> Vec<(u8, u64)> {
    world
        .shown
        .now
        .borrow()
        .iter()
        .map(|(bar, at)| (*bar, *at))
        .collect()
}

#[test]
fn a_bar_answers_where_its_owner_has_put_it() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = world.open_with(&behind, movable());
    command(&mut device, 2).unwrap();
    assert_eq!(places(&world), [(0, 0x7e60_0000)]);
    // While it is decoded, in two halves: above 4 GiB once both are written, and nowhere where no window is.
    bar(&mut device, 0, 0x7100_0000);
    assert_eq!(places(&world), [(0, 0x7100_0000)]);
    bar(&mut device, 1, 0x7f);
    assert_eq!(places(&world), []);
    bar(&mut device, 1, 0x50);
    assert_eq!(places(&world), [(0, 0x50_7100_0000)]);
    // Sizing is no move to the top of the address space.
    bar(&mut device, 1, u32::MAX);
    bar(&mut device, 0, u32::MAX);
    assert_eq!(places(&world), []);
    let mut low = [0; 4];
    Device::read(&mut device, index::CONFIG, 0x10, &mut low).unwrap();
    assert_eq!(u32::from_le_bytes(low), 0xffff_c004);
    // With decoding off it is put somewhere, and answers there when it is on.
    command(&mut device, 0).unwrap();
    bar(&mut device, 0, 0x7200_0000);
    bar(&mut device, 1, 0);
    assert_eq!(places(&world), []);
    command(&mut device, 2).unwrap();
    assert_eq!(places(&world), [(0, 0x7200_0000)]);
    // The hardware's is where it was all the time.
    assert_eq!(world.registers().u32(header::BAR0), 0xfe60_0004);
    let mut four = [0; 4];
    Device::read(&mut device, 0, 0, &mut four).unwrap();
    device.close(LastReset::Now).unwrap();
    assert_closed(&world);
}

#[test]
fn a_reset_and_a_sleep_leave_bars_where_they_were_put() {
    for reset in [true, false] {
        let world = World::new(model(false));
        let behind = world.behind();
        let mut device = world.open_with(&behind, movable());
        bar(&mut device, 0, 0x7200_0000);
        command(&mut device, 2).unwrap();
        if reset {
            Device::reset(&mut device).unwrap();
            assert_eq!(places(&world), [], "nothing decodes after a reset");
            command(&mut device, 2).unwrap();
        } else {
            set(&mut device, PM + 4, &[3, 0]).unwrap();
            assert_eq!(places(&world), []);
            set(&mut device, PM + 4, &[0, 0]).unwrap();
        }
        assert_eq!(places(&world), [(0, 0x7200_0000)]);
        device.close(LastReset::Now).unwrap();
        assert_closed(&world);
    }
}

#[test]
fn the_rom_answers_where_it_is_put_while_it_is_on() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = world.open_with(&behind, movable());
    command(&mut device, 2).unwrap();
    let rom = header::ROM_ENDPOINT;
    set(&mut device, rom, &0x7300_0001_u32.to_le_bytes()).unwrap();
    assert_eq!(places(&world), [(0, 0x7e60_0000), (6, 0x7300_0000)]);
    set(&mut device, rom, &0x7300_0000_u32.to_le_bytes()).unwrap();
    assert_eq!(places(&world), [(0, 0x7e60_0000)]);
    set(&mut device, rom, &[0xff; 4]).unwrap();
    assert_eq!(get(&mut device, rom + 2), 0xffff, "64 KiB");
    assert_eq!(get(&mut device, rom) & 0xfffe, 0);
    device.close(LastReset::Now).unwrap();
    assert_closed(&world);
}

/// The map, as a list that is looked through whole.
#[derive(Default)]
struct Naive(Vec<(usize, u8, u64, u64)>);

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn an_address_map_is_what_a_list_says(
        acts in prop::collection::vec((any::<bool>(), 0..3_usize, 0..7_u8, 0..48_u64, 0..4_u32, any::<bool>()), 1..60),
        probes in prop::collection::vec(0..64_u64, 8),
    ) {
        let (mut map, mut naive) = (AddressMap::new(12), Naive::default());
        let top = u64::MAX - 63;
        for (place, function, index, at, size, high) in acts {
            let base = if high { top } else { 0 };
            let (at, size) = (base + at, (1_u64 << size) - u64::from(size == 0 && place));
            if place {
                let kind = BarKind::Memory { wide: true, prefetchable: false };
                let host = Bar { index, kind, address: 0, size };
                let placed = map.place(function, &host, at);
                let last = size.checked_sub(1).and_then(|size| at.checked_add(size));
                let twice = naive.0.iter().any(|entry| (entry.0, entry.1) == (function, index));
                let wanted = match last {
                    Some(last) if !twice => {
                        match naive.0.iter().find(|entry| entry.2 <= last && at <= entry.3) {
                            Some(_) => Err(()),
                            None if naive.0.len() == 12 => Err(()),
                            None => {
                                naive.0.push((function, index, at, last));
                                Ok(())
                            }
                        }
                    }
                    _ => Err(()),
                };
                prop_assert_eq!(placed.is_ok(), wanted.is_ok(), "{:?}", placed);
            } else {
                let before = naive.0.len();
                naive.0.retain(|entry| (entry.0, entry.1) != (function, index));
                prop_assert_eq!(map.remove(function, index), before != naive.0.len());
            }
            prop_assert_eq!(map.len(), naive.0.len());
            for probe in probes.iter().flat_map(|probe| [*probe, top + probe]) {
                let found = naive.0.iter().find(|entry| entry.2 <= probe && probe <= entry.3);
                let found = found.map(|entry| Answer { function: entry.0, bar: entry.1, offset: probe - entry.2 });
                prop_assert_eq!(map.find(probe), found);
            }
        }
    }
}
