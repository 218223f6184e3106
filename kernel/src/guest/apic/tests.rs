//! The local APIC against a sorted list, its timer, commands and modes by example, and what the bus delivers against plain sets.

use super::message::targets;
use super::*;
use proptest::prelude::*;
use spec::lapic::register;
use spec::msr::{APIC_BASE_BSP, APIC_BASE_ENABLE, APIC_BASE_X2APIC};
use std::collections::BTreeSet;

fn enabled(id: u8) -> LocalApic {
    let mut apic = LocalApic::new(id);
    assert_eq!(apic.write(register::SPURIOUS, 0x1ff, 0), Effect::Readdressed);
    apic
}

fn in_x2apic_mode(id: u8) -> LocalApic {
    let mut apic = enabled(id);
    let base = apic.base();
    assert_eq!(apic.set_base(base | APIC_BASE_X2APIC), Ok(Effect::Readdressed));
    apic
}

#[test]
fn nothing_arrives_before_software_enables_it() {
    let mut apic = LocalApic::new(0);
    assert!(!apic.accept(0x40, false));
    let _ = apic.write(register::SPURIOUS, 0x1ff, 0);
    assert_eq!(apic.next_interrupt(), None);
    assert!(apic.accept(0x40, false));
    assert_eq!(apic.next_interrupt(), Some(0x40));
}

#[test]
fn one_shot_and_periodic_timer() {
    let mut apic = enabled(0);
    let _ = apic.write(register::TIMER_DIVIDE, 0b0011, 0); // by 16
    let _ = apic.write(register::LVT_TIMER, 0x31, 0);
    let _ = apic.write(register::TIMER_INITIAL, 100, 1000);
    assert_eq!(apic.next_deadline(), Some(1000 + 1600));
    assert_eq!(apic.read(register::TIMER_CURRENT, 1000 + 160), 90);
    apic.advance(2599);
    assert!(!apic.pending());
    apic.advance(2600);
    assert_eq!((apic.next_interrupt(), apic.next_deadline()), (Some(0x31), None));
    assert_eq!(apic.read(register::TIMER_CURRENT, 9999), 0);

    apic.acknowledge(0x31);
    let _ = apic.write(register::EOI, 0, 0);
    let _ = apic.write(register::LVT_TIMER, 0x2_0031, 0);
    let _ = apic.write(register::TIMER_INITIAL, 100, 10_000);
    apic.advance(10_000 + 3 * 1600 + 5);
    assert_eq!(apic.next_interrupt(), Some(0x31));
    assert_eq!(apic.next_deadline(), Some(10_000 + 4 * 1600));
}

#[test]
fn a_masked_timer_counts_in_silence() {
    let mut apic = enabled(0);
    let _ = apic.write(register::TIMER_DIVIDE, 0b1011, 0); // by 1
    let _ = apic.write(register::TIMER_INITIAL, 1_000_000, 0);
    assert_eq!(apic.next_deadline(), None);
    assert_eq!(apic.read(register::TIMER_CURRENT, 400_000), 600_000);
    apic.advance(2_000_000);
    assert!(!apic.pending());
}

fn sent(destination: Destination, delivery: Delivery) -> Effect {
    Effect::Send(Message {
        destination,
        delivery,
    })
}

#[test]
fn commands_name_whom_and_what() {
    let mut apic = enabled(1);
    let mut send = |high: u32, low: u32| {
        assert_eq!(apic.write(register::ICR_HIGH, high << 24, 0), Effect::None);
        apic.write(register::ICR_LOW, low, 0)
    };
    let fixed = |destination| sent(destination, Delivery::Fixed(0x50));
    assert_eq!(send(2, 0x50), fixed(Destination::Physical(2)));
    assert_eq!(send(0xff, 0x50), fixed(Destination::All));
    assert_eq!(send(0xff, 0x850), fixed(Destination::All));
    assert_eq!(send(0b101, 0x850), fixed(Destination::Logical(0b101)));
    assert_eq!(send(7, 0x4_0050), fixed(Destination::Sender));
    assert_eq!(send(7, 0x8_0050), fixed(Destination::All));
    assert_eq!(send(7, 0xc_0050), fixed(Destination::Others));
    let to_0 = Destination::Physical(0);
    assert_eq!(send(0, 0x150), sent(to_0, Delivery::Lowest(0x50)));
    assert_eq!(send(0, 0x4500), sent(to_0, Delivery::Init));
    assert_eq!(send(0, 0xc500), sent(to_0, Delivery::Init));
    assert_eq!(send(0, 0x8500), Effect::None, "INIT de-asserted");
    assert_eq!(send(0, 0x4608), sent(to_0, Delivery::StartUp(8)));
    assert_eq!(send(0, 0x4400), sent(to_0, Delivery::Nmi));
    for nonsense in [0x4_4500, 0x8_4500, 0x4_0400, 0x8_0650, 0x200, 0x300, 0x700] {
        assert_eq!(send(0, nonsense), Effect::None, "{nonsense:#x}");
    }
}

#[test]
fn the_base_register_goes_through_the_modes_as_the_manual_says() {
    let (on, x2) = (APIC_BASE_ENABLE, APIC_BASE_X2APIC);
    let mut apic = enabled(0);
    let fixed = apic.base() & !(on | x2);
    assert_eq!(fixed, 0xfee0_0000 | APIC_BASE_BSP);
    assert_eq!(enabled(1).base(), 0xfee0_0000 | on);
    let refused = |from| Err(BaseError::Transition { from });
    assert_eq!(apic.set_base(fixed | x2), refused(Mode::XApic));
    for moved in [
        (fixed + 0x1000) | on,
        fixed ^ APIC_BASE_BSP | on,
        fixed | on | 1,
        u64::MAX,
    ] {
        assert_eq!(apic.set_base(moved), Err(BaseError::Fixed), "{moved:#x}");
    }
    assert!(apic.set_base(fixed | on).is_ok() && apic.mode() == Mode::XApic);
    assert!(apic.set_base(fixed | on | x2).is_ok() && apic.mode() == Mode::X2Apic);
    assert_eq!(apic.base(), fixed | on | x2);
    assert_eq!(apic.set_base(fixed | on), refused(Mode::X2Apic));
    assert_eq!(apic.set_base(fixed | x2), refused(Mode::X2Apic));
    assert!(apic.accept(0x40, false), "enabled by software all the way");
    assert!(apic.set_base(fixed).is_ok() && apic.mode() == Mode::Disabled);
    assert!(!apic.pending() && !apic.accept(0x40, false), "all state is gone");
    assert_eq!(apic.set_base(fixed | on | x2), refused(Mode::Disabled));
    assert_eq!(apic.set_base(fixed | x2), refused(Mode::Disabled));
    assert!(apic.set_base(fixed | on).is_ok() && apic.mode() == Mode::XApic);
    assert!(!apic.accept(0x40, false), "disabled by software, as after reset");
}

#[test]
fn init_leaves_id_and_mode_alone() {
    let mut apic = in_x2apic_mode(3);
    apic.accept(0x40, true);
    apic.init();
    assert_eq!((apic.id(), apic.mode(), apic.pending()), (3, Mode::X2Apic, false));
    assert!(!apic.address().enabled);
}

#[test]
fn x2apic_registers_are_those_of_the_manual() {
    let mut apic = in_x2apic_mode(0x21);
    assert_eq!(apic.read_msr(0x02, 0), Ok(0x21));
    assert_eq!(apic.read_msr(0x0d, 0), Ok(2 << 16 | 1 << 1));
    assert_eq!(apic.read_msr(0x03, 0), Ok(spec::lapic::VERSION_VALUE.into()));
    let readable: Vec<u8> = (0..=255)
        .filter(|number| apic.read_msr(*number, 0).is_ok())
        .collect();
    let expected = [2, 3, 8, 0xa, 0xd, 0xf]
        .into_iter()
        .chain(0x10..=0x28)
        .chain([0x30])
        .chain(0x32..=0x39)
        .chain([0x3e]);
    assert_eq!(readable, expected.collect::<Vec<u8>>());
    let writable: Vec<u8> = (0..=255)
        .filter(|number| apic.clone().write_msr(*number, 0, 0).is_ok())
        .collect();
    assert_eq!(
        writable,
        [
            8, 0xb, 0xf, 0x28, 0x30, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x3e, 0x3f
        ]
    );
    for (number, reserved) in [
        (0x08, 0x100),
        (0x0b, 1),
        (0x0f, 0x1000),
        (0x28, 1),
        (0x30, 1 << 12),
        (0x32, 1 << 18),
        (0x3e, 4),
        (0x3f, 0x100),
    ] {
        assert_eq!(apic.write_msr(number, reserved, 0), Err(Refused), "{number:#x}");
        assert_eq!(
            apic.write_msr(number, 1 << 63, 0).is_err(),
            number != 0x30,
            "{number:#x}"
        );
    }
}

#[test]
fn an_x2apic_command_is_one_write_of_64_bits() {
    let mut apic = in_x2apic_mode(0);
    let mut send = |to: u64, low: u64| apic.write_msr(0x30, to << 32 | low, 0);
    let fixed = |destination| Ok(sent(destination, Delivery::Fixed(0x50)));
    assert_eq!(send(0xff, 0x50), fixed(Destination::Physical(0xff)));
    assert_eq!(send(0xffff_ffff, 0x50), fixed(Destination::All));
    assert_eq!(send(0x1_0003, 0x850), fixed(Destination::Logical(0x1_0003)));
    assert_eq!(apic.read_msr(0x30, 0), Ok(0x1_0003_0000_0850));
    assert_eq!(
        apic.write_msr(0x3f, 0x61, 0),
        Ok(sent(Destination::Sender, Delivery::Fixed(0x61)))
    );
    assert_eq!(apic.write_msr(0x3f, 5, 0), Ok(Effect::None));
}

#[test]
fn the_end_of_a_level_is_told_and_that_of_an_edge_is_not() {
    let mut apic = enabled(0);
    apic.accept(0x40, true);
    apic.accept(0x50, false);
    assert_eq!(apic.read(register::TMR + 0x20, 0), 1);
    for (vector, end) in [(0x50, Effect::None), (0x40, Effect::EndOfLevel(0x40))] {
        apic.acknowledge(vector);
        assert_eq!(apic.write(register::EOI, 0, 0), end);
    }
    assert_eq!(
        apic.write(register::EOI, 0, 0),
        Effect::None,
        "nothing is in service"
    );
}

#[test]
fn destinations_mean_those_that_the_manual_says() {
    let flat = |logical| Address {
        mode: Mode::XApic,
        enabled: true,
        cluster: false,
        logical,
    };
    let whom = |sender, destination, address: &[Address]| {
        targets(address.len() as u8, sender, destination, |id| {
            address[usize::from(id)]
        })
    };
    let three = [flat(1), flat(2), flat(4)];
    assert_eq!(whom(Some(1), Destination::Sender, &three), 0b010);
    assert_eq!(whom(None, Destination::Sender, &three), 0, "a device is nobody");
    assert_eq!(whom(Some(1), Destination::Others, &three), 0b101);
    assert_eq!(whom(Some(1), Destination::All, &three), 0b111);
    for (to, met) in [(0, 1), (2, 4), (3, 0), (u32::MAX, 0)] {
        assert_eq!(whom(Some(0), Destination::Physical(to), &three), met);
    }
    assert_eq!(whom(Some(0), Destination::Logical(0b110), &three), 0b110);
    assert_eq!(
        whom(Some(0), Destination::Logical(0x1_0001), &three),
        0,
        "8 bits in this mode"
    );
    let clusters = [0x11, 0x12, 0x21].map(|logical| Address {
        cluster: true,
        ..flat(logical)
    });
    assert_eq!(whom(None, Destination::Logical(0x13), &clusters), 0b011);
    assert_eq!(whom(None, Destination::Logical(0xf1), &clusters), 0b101);
    let wide: Vec<Address> = (0..20)
        .map(|_| Address {
            mode: Mode::X2Apic,
            ..flat(0)
        })
        .collect();
    assert_eq!(whom(None, Destination::Logical(0x8001), &wide), 1 | 1 << 15);
    assert_eq!(
        whom(None, Destination::Logical(0x1_0005), &wide),
        1 << 16 | 1 << 18
    );
    let off = [
        flat(1),
        Address {
            mode: Mode::Disabled,
            ..flat(2)
        },
    ];
    assert_eq!(whom(None, Destination::All, &off), 1);
}

fn to(destination: Destination, delivery: Delivery) -> Message {
    Message {
        destination,
        delivery,
    }
}

#[test]
fn what_is_left_is_collected_once_and_kicks_once() {
    let bus = ApicBus::new(2);
    let mut apic = enabled(1);
    bus.publish(1, apic.address());
    let one = Destination::Physical(1);
    for vector in [0x40, 0x41, 0x40] {
        assert_eq!(
            bus.send(Some(0), to(one, Delivery::Fixed(vector)), vector == 0x41),
            1
        );
    }
    bus.send(Some(0), to(one, Delivery::Nmi), false);
    assert_eq!((bus.take_kicks(), bus.take_kicks()), (0b10, 0));
    let nmi = Events {
        nmi: true,
        ..Events::default()
    };
    assert_eq!(
        (bus.collect(&mut apic), bus.collect(&mut apic)),
        (nmi, Events::default())
    );
    assert_eq!(apic.read(register::IRR + 0x20, 0), 0b11);
    assert_eq!(apic.read(register::TMR + 0x20, 0), 0b10);
    bus.send(Some(1), to(Destination::All, Delivery::Fixed(0x60)), false);
    assert_eq!(bus.take_kicks(), 0b01, "the sender looks by itself");
    assert!(bus.has_left(1) && !bus.is_quiet());
}

#[test]
fn a_message_to_nobody_is_lost_and_says_so() {
    let bus = ApicBus::new(2);
    for destination in [
        Destination::Physical(2),
        Destination::Physical(64),
        Destination::Logical(4),
    ] {
        for delivery in [
            Delivery::StartUp(8),
            Delivery::Init,
            Delivery::Fixed(0x40),
            Delivery::Lowest(0x40),
        ] {
            assert_eq!(bus.send(Some(0), to(destination, delivery), false), 0);
        }
    }
    assert!(bus.is_quiet() && bus.take_kicks() == 0);
    bus.interrupt(9, 0x40);
    assert!(bus.is_quiet());
    assert_eq!(bus.collect(&mut LocalApic::new(9)), Events::default());
}

#[test]
fn the_lowest_priority_goes_to_one_that_is_enabled() {
    let bus = ApicBus::new(3);
    bus.publish(2, enabled(2).address());
    assert_eq!(
        bus.send(Some(0), to(Destination::All, Delivery::Lowest(0x40)), false),
        1
    );
    assert_eq!(
        (bus.has_left(0), bus.has_left(1), bus.has_left(2)),
        (false, false, true)
    );
}

#[test]
fn init_takes_back_what_came_before_it() {
    let bus = ApicBus::new(2);
    let one = Destination::Physical(1);
    let mut apic = enabled(1);
    let after = |deliveries: &[Delivery], apic: &mut LocalApic| {
        for delivery in deliveries {
            bus.send(Some(0), to(one, *delivery), false);
        }
        let events = bus.collect(apic);
        (events.init, events.start_up)
    };
    let (init, start) = (Delivery::Init, Delivery::StartUp);
    assert_eq!(after(&[start(8), init], &mut apic), (true, None));
    assert_eq!(after(&[init, start(8), start(9)], &mut apic), (true, Some(8)));
    assert_eq!(
        after(&[start(8), init, start(9), init, start(0)], &mut apic),
        (true, Some(0))
    );
    assert_eq!(after(&[Delivery::Fixed(0x40), init], &mut apic), (true, None));
    assert!(!apic.pending());
}

#[test]
fn what_does_not_exist_is_noted_as_in_hardware() {
    let mut apic = enabled(0);
    assert_eq!(apic.read(0x40, 0), 0);
    let _ = apic.write(register::ICR_LOW, 5, 0);
    assert_eq!(apic.read(register::ESR, 0), 0);
    let _ = apic.write(register::ESR, 0, 0);
    assert_eq!(apic.read(register::ESR, 0), 0x80 | 0x20);
    let _ = apic.write(register::ESR, 0, 0);
    assert_eq!(apic.read(register::ESR, 0), 0);
    for offset in 0..=u16::MAX {
        apic.read(offset, 5);
        let _ = apic.write(offset, u32::MAX, 5);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Accept(u8),
    Take,
    Eoi,
    Priority(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (16u8..).prop_map(Op::Accept),
        3 => Just(Op::Take),
        2 => Just(Op::Eoi),
        1 => any::<u8>().prop_map(Op::Priority),
    ]
}

proptest! {
    #[test]
    fn priorities_are_those_of_a_sorted_list(ops in prop::collection::vec(op(), 1..80)) {
        let mut apic = enabled(0);
        let (mut requested, mut serving, mut tpr) = (BTreeSet::new(), BTreeSet::new(), 0u8);
        for op in ops {
            match op {
                Op::Accept(vector) => {
                    apic.accept(vector, false);
                    requested.insert(vector);
                }
                Op::Take => if let Some(vector) = apic.next_interrupt() {
                    apic.acknowledge(vector);
                    requested.remove(&vector);
                    serving.insert(vector);
                },
                Op::Eoi => {
                    let _ = apic.write(register::EOI, 0, 0);
                    serving.pop_last();
                }
                Op::Priority(value) => {
                    let _ = apic.write(register::TPR, value.into(), 0);
                    tpr = value;
                }
            }
            let floor = serving.last().copied().unwrap_or(0u8).max(tpr) / 16;
            let expected = requested.last().copied().filter(|vector: &u8| vector / 16 > floor);
            prop_assert_eq!(apic.next_interrupt(), expected);
            for vector in 0..=255u8 {
                let bank = 16 * u16::from(vector / 32);
                let bit = |word: u32| word >> (vector % 32) & 1 == 1;
                prop_assert_eq!(bit(apic.read(register::IRR + bank, 0)), requested.contains(&vector));
                prop_assert_eq!(bit(apic.read(register::ISR + bank, 0)), serving.contains(&vector));
            }
        }
    }

    #[test]
    fn the_timer_never_runs_backwards(initial in 1u32.., divide in 0u32..16, steps in prop::collection::vec(0u64..1 << 40, 1..20)) {
        let mut apic = enabled(0);
        let _ = apic.write(register::TIMER_DIVIDE, divide, 0);
        let _ = apic.write(register::LVT_TIMER, 0x40, 0);
        let _ = apic.write(register::TIMER_INITIAL, initial, 0);
        let (mut now, mut last) = (0, initial);
        for step in steps {
            now += step;
            let current = apic.read(register::TIMER_CURRENT, now);
            prop_assert!(current <= last);
            last = current;
            let due = apic.next_deadline().is_some_and(|deadline| deadline <= now);
            prop_assert_eq!(due, current == 0 && !apic.pending());
            apic.advance(now);
            prop_assert_eq!(current == 0, apic.pending());
        }
    }
}
