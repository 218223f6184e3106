//! The I/O APIC by example, and lines against a model that knows only what is asserted and what is in hand.

use super::*;
use proptest::prelude::*;

/// What was sent: vector and whether by level.
type Sent = Vec<(Message, bool)>;

struct Bench {
    ioapic: IoApic,
    sent: Sent,
    takers: u32,
}

impl Bench {
    fn new() -> Self {
        Self {
            ioapic: IoApic::default(),
            sent: Vec::new(),
            takers: 1,
        }
    }

    fn write(&mut self, index: u8, value: u32) {
        let (sent, takers) = (&mut self.sent, self.takers);
        let mut send = |message, level| {
            sent.push((message, level));
            takers
        };
        self.ioapic.write(register::SELECT, index.into(), &mut send);
        self.ioapic.write(register::WINDOW, value, &mut send);
    }

    fn read(&mut self, index: u8) -> u32 {
        self.ioapic.write(register::SELECT, index.into(), &mut |_, _| 0);
        self.ioapic.read(register::WINDOW)
    }

    fn line(&mut self, line: u8, source: u8, asserted: bool) -> Sent {
        let (sent, takers) = (&mut self.sent, self.takers);
        self.ioapic
            .set_line(line, source, asserted, &mut |message, level| {
                sent.push((message, level));
                takers
            });
        core::mem::take(&mut self.sent)
    }

    fn end(&mut self, vector: u8) -> Sent {
        let (sent, takers) = (&mut self.sent, self.takers);
        self.ioapic.end(vector, &mut |message, level| {
            sent.push((message, level));
            takers
        });
        core::mem::take(&mut self.sent)
    }

    /// Programs input `line`: low half, then destination.
    fn program(&mut self, line: u8, low: u32, destination: u8) {
        self.write(index::TABLE + 2 * line + 1, u32::from(destination) << 24);
        self.write(index::TABLE + 2 * line, low);
    }
}

const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const IRR: u32 = 1 << 14;

fn fixed(vector: u8, to: u32) -> Message {
    Message {
        destination: Destination::Physical(to),
        delivery: Delivery::Fixed(vector),
    }
}

#[test]
fn registers_are_where_the_datasheet_has_them() {
    let mut bench = Bench::new();
    assert_eq!(bench.read(index::VERSION), 0x17_0020);
    bench.write(index::ID, 0x0500_0000);
    assert_eq!(
        (bench.read(index::ID), bench.read(index::ARBITRATION)),
        (5 << 24, 5 << 24)
    );
    for line in 0..INPUTS {
        assert_eq!(bench.read(index::TABLE + 2 * line), MASKED, "masked at reset");
    }
    bench.write(index::TABLE, u32::MAX);
    assert_eq!(bench.read(index::TABLE), 0x1_afff, "status bits are read only");
    bench.write(index::TABLE + 1, u32::MAX);
    assert_eq!(bench.read(index::TABLE + 1), 0xff00_0000);
    for absent in [3, 0xf, index::TABLE + 2 * INPUTS, 0xff] {
        bench.write(absent, u32::MAX);
        assert_eq!(bench.read(absent), 0, "{absent:#x}");
    }
    assert_eq!(bench.ioapic.read(0x20), 0);
    assert!(bench.sent.is_empty());
}

#[test]
fn an_edge_is_sent_once_and_a_masked_one_is_lost() {
    let mut bench = Bench::new();
    assert!(bench.line(4, 0, true).is_empty(), "masked");
    bench.line(4, 0, false);
    bench.program(4, 0x34, 1);
    assert!(bench.sent.is_empty());
    assert_eq!(bench.line(4, 0, true), [(fixed(0x34, 1), false)]);
    assert!(bench.line(4, 0, true).is_empty() && bench.line(4, 1, true).is_empty());
    assert!(bench.line(4, 0, false).is_empty() && bench.line(4, 1, false).is_empty());
    assert_eq!(bench.line(4, 1, true).len(), 1);
    assert!(bench.line(INPUTS, 0, true).is_empty() && bench.line(255, 255, true).is_empty());
}

#[test]
fn a_level_is_sent_until_nobody_asserts_it() {
    let mut bench = Bench::new();
    bench.program(16, LEVEL | 0x60, 0);
    assert_eq!(bench.line(16, 1, true), [(fixed(0x60, 0), true)]);
    assert_eq!(bench.read(index::TABLE + 32), LEVEL | IRR | 0x60);
    assert!(bench.line(16, 2, true).is_empty(), "it is in hand");
    bench.line(16, 1, false);
    assert_eq!(bench.end(0x60).len(), 1, "the other still asserts it");
    bench.line(16, 2, false);
    assert!(bench.end(0x60).is_empty() && bench.end(0x60).is_empty());
    assert_eq!(bench.read(index::TABLE + 32), LEVEL | 0x60);
}

#[test]
fn a_level_that_waits_is_sent_when_it_is_unmasked() {
    let mut bench = Bench::new();
    bench.program(20, LEVEL | MASKED | 0x70, 0);
    assert!(bench.line(20, 0, true).is_empty());
    bench.write(index::TABLE + 40, LEVEL | 0x70);
    assert_eq!(core::mem::take(&mut bench.sent).len(), 1);
    // What Linux does where it cannot end an interrupt directly.
    bench.write(index::TABLE + 40, MASKED | 0x70);
    assert_eq!(
        bench.read(index::TABLE + 40) & IRR,
        0,
        "an edge has nothing in hand"
    );
    bench.write(index::TABLE + 40, LEVEL | 0x70);
    assert_eq!(core::mem::take(&mut bench.sent).len(), 1);
    assert_eq!(
        (bench.ioapic.in_hand(0x70), bench.ioapic.in_hand(0x71)),
        (1 << 20, 0)
    );
    assert_eq!(bench.end(0x70).len(), 1);
    assert_eq!(
        bench.read(index::TABLE + 40) & IRR,
        IRR,
        "ended, and asserted still"
    );
}

#[test]
fn a_line_whose_sources_are_forgotten_ends_in_silence() {
    let mut bench = Bench::new();
    bench.program(18, LEVEL | 0x60, 0);
    bench.line(18, 3, true);
    bench.ioapic.forget_sources(1 << 18);
    assert!(bench.end(0x60).is_empty());
    assert_eq!(bench.line(18, 3, true).len(), 1, "it is heard again");
}

#[test]
fn what_nobody_took_is_not_in_hand() {
    let mut bench = Bench::new();
    bench.takers = 0;
    bench.program(16, LEVEL | 0x60, 9);
    assert_eq!(bench.line(16, 0, true).len(), 1);
    assert_eq!(bench.read(index::TABLE + 32) & IRR, 0);
}

#[test]
fn modes_and_destinations() {
    let mut bench = Bench::new();
    let mut sends = |low, destination| {
        bench.program(1, low, destination);
        let sent = bench.line(1, 0, true);
        bench.line(1, 0, false);
        sent.first().map(|(message, _)| *message)
    };
    assert_eq!(
        sends(0x30, 0xff).map(|sent| sent.destination),
        Some(Destination::All)
    );
    assert_eq!(
        sends(0x830, 3).map(|sent| sent.destination),
        Some(Destination::Logical(3))
    );
    assert_eq!(
        sends(0x130, 1).map(|sent| sent.delivery),
        Some(Delivery::Lowest(0x30))
    );
    assert_eq!(sends(0x400, 1).map(|sent| sent.delivery), Some(Delivery::Nmi));
    for nothing in [0x05, 0x105, 0x230, 0x730, 0x330, 0x630] {
        assert_eq!(sends(nothing, 0), None, "{nothing:#x}");
    }
}

#[derive(Clone, Debug)]
enum Op {
    Line(u8, bool),
    Mask(bool),
    End,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0u8..3, any::<bool>()).prop_map(|(source, asserted)| Op::Line(source, asserted)),
        1 => any::<bool>().prop_map(Op::Mask),
        2 => Just(Op::End),
    ]
}

proptest! {
    #[test]
    fn a_level_is_in_hand_or_sent_whenever_it_is_asserted_and_heard(ops in prop::collection::vec(op(), 1..60)) {
        let mut bench = Bench::new();
        bench.program(17, LEVEL | 0x44, 0);
        let (mut sources, mut masked, mut in_hand) = ([false; 3], false, false);
        for op in ops {
            let sent = match op {
                Op::Line(source, asserted) => {
                    sources[usize::from(source)] = asserted;
                    bench.line(17, source, asserted)
                }
                Op::Mask(on) => {
                    masked = on;
                    bench.write(index::TABLE + 34, LEVEL | 0x44 | if on { MASKED } else { 0 });
                    core::mem::take(&mut bench.sent)
                }
                Op::End => {
                    in_hand = false;
                    bench.end(0x44)
                }
            };
            let due = sources.contains(&true) && !masked && !in_hand;
            prop_assert_eq!(sent.len(), usize::from(due));
            in_hand |= due;
            prop_assert_eq!(bench.read(index::TABLE + 34) & IRR != 0, in_hand);
        }
    }
}
