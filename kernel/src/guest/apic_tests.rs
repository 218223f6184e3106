//! The local APIC against a sorted list, and its timer and commands by example.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn enabled(id: u8, cpus: u8) -> LocalApic {
    let mut apic = LocalApic::new(id, cpus);
    apic.write(register::SPURIOUS, 0x1ff, 0);
    apic
}

#[test]
fn nothing_arrives_before_software_enables_it() {
    let mut apic = LocalApic::new(0, 1);
    assert!(!apic.accept(0x40));
    apic.write(register::SPURIOUS, 0x1ff, 0);
    assert_eq!(apic.next_interrupt(), None);
    assert!(apic.accept(0x40));
    assert_eq!(apic.next_interrupt(), Some(0x40));
}

#[test]
fn one_shot_and_periodic_timer() {
    let mut apic = enabled(0, 1);
    apic.write(register::TIMER_DIVIDE, 0b0011, 0); // by 16
    apic.write(register::LVT_TIMER, 0x31, 0);
    apic.write(register::TIMER_INITIAL, 100, 1000);
    assert_eq!(apic.next_deadline(), Some(1000 + 1600));
    assert_eq!(apic.read(register::TIMER_CURRENT, 1000 + 160), 90);
    apic.advance(2599);
    assert!(!apic.pending());
    apic.advance(2600);
    assert_eq!((apic.next_interrupt(), apic.next_deadline()), (Some(0x31), None));
    assert_eq!(apic.read(register::TIMER_CURRENT, 9999), 0);

    apic.acknowledge(0x31);
    apic.write(register::EOI, 0, 0);
    apic.write(register::LVT_TIMER, 0x2_0031, 0);
    apic.write(register::TIMER_INITIAL, 100, 10_000);
    apic.advance(10_000 + 3 * 1600 + 5);
    assert_eq!(apic.next_interrupt(), Some(0x31));
    assert_eq!(apic.next_deadline(), Some(10_000 + 4 * 1600));
}

#[test]
fn a_masked_timer_counts_in_silence() {
    let mut apic = enabled(0, 1);
    apic.write(register::TIMER_DIVIDE, 0b1011, 0); // by 1
    apic.write(register::TIMER_INITIAL, 1_000_000, 0);
    assert_eq!(apic.next_deadline(), None);
    assert_eq!(apic.read(register::TIMER_CURRENT, 400_000), 600_000);
    apic.advance(2_000_000);
    assert!(!apic.pending());
}

#[test]
fn commands_reach_those_they_name_and_no_stranger() {
    let mut apic = enabled(1, 3);
    let mut send = |high: u32, low: u32| {
        apic.write(register::ICR_HIGH, high << 24, 0);
        apic.write(register::ICR_LOW, low, 0)
    };
    let fixed = |targets| {
        Some(Ipi {
            targets,
            kind: IpiKind::Fixed(0x50),
        })
    };
    assert_eq!(send(2, 0x50), fixed(0b100));
    assert_eq!(send(7, 0x50), None);
    assert_eq!(send(0xff, 0x50), fixed(0b101));
    assert_eq!(send(0, 0xc_0050), fixed(0b101));
    assert_eq!(send(0b101, 0x850), fixed(0b101));
    assert_eq!(send(0, 0x4_0050), None);
    let kind = |sent: Option<Ipi>| sent.map(|ipi| ipi.kind);
    assert_eq!(kind(send(0, 0x4500)), Some(IpiKind::Init));
    assert_eq!(kind(send(0, 0x8500)), None);
    assert_eq!(kind(send(0, 0x4608)), Some(IpiKind::StartUp(8)));
    assert_eq!(kind(send(0, 0x4400)), Some(IpiKind::Nmi));
    assert_eq!(apic.next_interrupt(), Some(0x50), "self and all");
}

#[test]
fn what_does_not_exist_is_noted_as_in_hardware() {
    let mut apic = enabled(0, 1);
    assert_eq!(apic.read(0x40, 0), 0);
    apic.write(register::ICR_LOW, 5, 0);
    assert_eq!(apic.read(register::ESR, 0), 0);
    apic.write(register::ESR, 0, 0);
    assert_eq!(apic.read(register::ESR, 0), 0x80 | 0x20);
    apic.write(register::ESR, 0, 0);
    assert_eq!(apic.read(register::ESR, 0), 0);
    for offset in 0..=u16::MAX {
        apic.read(offset, 5);
        apic.write(offset, u32::MAX, 5);
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
        let mut apic = enabled(0, 1);
        let (mut requested, mut serving, mut tpr) = (BTreeSet::new(), BTreeSet::new(), 0u8);
        for op in ops {
            match op {
                Op::Accept(vector) => {
                    apic.accept(vector);
                    requested.insert(vector);
                }
                Op::Take => if let Some(vector) = apic.next_interrupt() {
                    apic.acknowledge(vector);
                    requested.remove(&vector);
                    serving.insert(vector);
                },
                Op::Eoi => {
                    apic.write(register::EOI, 0, 0);
                    serving.pop_last();
                }
                Op::Priority(value) => {
                    apic.write(register::TPR, value.into(), 0);
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
        let mut apic = enabled(0, 1);
        apic.write(register::TIMER_DIVIDE, divide, 0);
        apic.write(register::LVT_TIMER, 0x40, 0);
        apic.write(register::TIMER_INITIAL, initial, 0);
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
