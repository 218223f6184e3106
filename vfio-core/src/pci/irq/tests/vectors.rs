//! MSI-X, MSI and INTx as a guest drives them.

use super::super::*;
use crate::device::AccessError;
use crate::testing::cases;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

fn program(table: &mut MsixTable, index: u32, words: [u32; 4]) -> Vec<VectorAction> {
    let mut actions = Vec::new();
    for (at, word) in (0u32..).zip(words) {
        table
            .write(index * 16 + at * 4, 4, word.into(), &mut |action| {
                actions.push(action)
            })
            .unwrap();
    }
    actions
}

fn control(table: &mut MsixTable, enabled: bool, masked: bool) -> Vec<VectorAction> {
    let mut actions = Vec::new();
    table.control(enabled, masked, &mut |action| actions.push(action));
    actions
}

const MESSAGE: Message = Message {
    address: 0x2_fee0_1000,
    data: 0x41,
};
const CONNECT: VectorAction = VectorAction::Connect {
    vector: 1,
    message: MESSAGE,
};
const DISCONNECT: VectorAction = VectorAction::Disconnect { vector: 1 };

#[test]
fn an_entry_sends_when_everything_says_so() {
    let mut table = MsixTable::new(4);
    assert_eq!(program(&mut table, 1, [0xfee0_1000, 2, 0x41, 0xffff_fffe]), []);
    assert_eq!(table.read(0x1c, 4), Ok(0), "one bit of vector control");
    assert_eq!(control(&mut table, true, true), []);
    assert_eq!(control(&mut table, true, false), [CONNECT]);
    assert_eq!(control(&mut table, true, true), [DISCONNECT]);
    assert_eq!(control(&mut table, true, false), [CONNECT]);
    assert_eq!(program(&mut table, 1, [0xfee0_1000, 2, 0x41, 1]), [DISCONNECT]);
    assert_eq!(table.read(0x10, 8), Ok(MESSAGE.address));
    assert_eq!(program(&mut table, 1, [0xfee0_1000, 2, 0x41, 0]), [CONNECT]);
    assert_eq!(table.connected(1), Some(MESSAGE));
    let mut actions = Vec::new();
    table.reset(&mut |action| actions.push(action));
    assert_eq!(actions, [DISCONNECT]);
    assert_eq!(table.read(0x1c, 4), Ok(1));
}

#[test]
fn what_is_signalled_while_masked_is_sent_later() {
    let mut table = MsixTable::new(70);
    assert_eq!(table.signal(1), Signalled::Lost, "MSI-X is off");
    control(&mut table, true, false);
    assert_eq!(table.signal(69), Signalled::Pending);
    assert_eq!(table.signal(70), Signalled::Lost);
    assert_eq!(table.signal(1), Signalled::Pending);
    assert_eq!(table.read_pending(0, 8), Ok(2));
    assert_eq!(table.read_pending(8, 4), Ok(1 << 5));
    assert_eq!(table.read_pending(12, 4), Ok(0));
    let deliver = VectorAction::Deliver {
        vector: 1,
        message: MESSAGE,
    };
    assert_eq!(
        program(&mut table, 1, [0xfee0_1000, 2, 0x41, 0]),
        [CONNECT, deliver]
    );
    assert_eq!(table.read_pending(0, 8), Ok(0));
    assert_eq!(table.signal(1), Signalled::Send(MESSAGE));
    control(&mut table, false, false);
    assert_eq!(table.read_pending(8, 8), Ok(0), "off forgets");
}

#[test]
fn odd_accesses_to_the_table_are_errors() {
    let mut table = MsixTable::new(2);
    for (offset, bytes) in [(0, 1), (0, 2), (2, 4), (4, 8), (0, 0), (0, 16)] {
        assert!(matches!(
            table.read(offset, bytes),
            Err(AccessError::Shape { .. })
        ));
        assert!(table.write(offset, bytes, 0, &mut |_| ()).is_err());
    }
    for (offset, bytes) in [(32, 4), (u32::MAX - 7, 8)] {
        assert!(matches!(
            table.read(offset, bytes),
            Err(AccessError::Outside { .. })
        ));
        assert!(table.write(offset, bytes, 0, &mut |_| ()).is_err());
        assert!(table.read_pending(offset, bytes).is_err());
    }
    assert_eq!(MsixTable::new(u16::MAX).vectors(), 2048);
    assert!(MsixTable::new(0).read(0, 4).is_err());
}

/// What is connected, from actions alone.
fn follow(connected: &mut BTreeMap<u16, Message>, delivered: &mut Vec<u16>, action: VectorAction) {
    match action {
        VectorAction::Connect { vector, message } => {
            assert_ne!(
                connected.insert(vector, message),
                Some(message),
                "nothing changed"
            );
        }
        VectorAction::Disconnect { vector } => assert!(connected.remove(&vector).is_some()),
        VectorAction::Deliver { vector, message } => {
            assert_eq!(connected.get(&vector), Some(&message));
            delivered.push(vector);
        }
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn msix_is_what_its_registers_say(steps in prop::collection::vec((0..4u8, 0u32..20, prop_oneof![Just(0u32), Just(1), any::<u32>()]), 1..80)) {
        const VECTORS: u16 = 5;
        let mut table = MsixTable::new(VECTORS);
        let mut words = vec![[0, 0, 0, 1u32]; VECTORS.into()];
        let (mut enabled, mut masked, mut pending) = (false, false, BTreeSet::new());
        let (mut connected, mut delivered, mut owed) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (step, place, value) in steps {
            let mut act = |action| follow(&mut connected, &mut delivered, action);
            match step {
                0 => {
                    table.write(place * 4, 4, value.into(), &mut act).unwrap();
                    let (index, at) = (place as usize / 4, place as usize % 4);
                    words[index][at] = if at == 3 { value & 1 } else { value };
                }
                1 => {
                    (enabled, masked) = (value & 1 != 0, place & 1 != 0);
                    table.control(enabled, masked, &mut act);
                }
                2 => {
                    let place = place as usize / 2;
                    if place * 8 < words.len() * 16 {
                        table.write(place as u32 * 8, 8, u64::from(value) << 32 | 7, &mut act).unwrap();
                        let (index, at) = (place / 2, place % 2 * 2);
                        words[index][at] = 7;
                        words[index][at + 1] = if at == 2 { value & 1 } else { value };
                    }
                }
                _ => {
                    let vector = (place % 6) as u16;
                    let known = enabled && vector < VECTORS;
                    match table.signal(vector) {
                        Signalled::Lost => prop_assert!(!known),
                        Signalled::Send(message) => prop_assert_eq!(connected.get(&vector), Some(&message)),
                        Signalled::Pending => { pending.insert(vector); }
                    }
                }
            }
            let wanted: BTreeMap<u16, Message> = (0..).zip(&words)
                .filter(|(_, words)| enabled && !masked && words[3] == 0)
                .map(|(vector, words)| (vector, Message { address: u64::from(words[1]) << 32 | u64::from(words[0]), data: words[2] }))
                .collect();
            prop_assert_eq!(&connected, &wanted);
            if !enabled { pending.clear(); }
            owed.extend(pending.extract_if(.., |vector| wanted.contains_key(vector)));
            prop_assert_eq!(&delivered, &owed, "each that was pending is delivered once");
            let bits = pending.iter().fold(0u64, |bits, vector| bits | 1 << vector);
            prop_assert_eq!(table.read_pending(0, 8), Ok(bits));
        }
    }

    #[test]
    fn msi_is_what_its_registers_say(steps in prop::collection::vec((any::<bool>(), 0u8..6, any::<u64>(), any::<u16>(), any::<u32>(), prop::option::of(0u16..40)), 1..40)) {
        let mut vectors = MsiVectors::default();
        let (mut connected, mut delivered, mut owed) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut pending = BTreeSet::new();
        for (enabled, count, address, data, mask, signal) in steps {
            let count = 1u16 << count;
            let registers = MsiRegisters { enabled, vectors: count as u8, address: address & !3, data, mask };
            vectors.update(registers, &mut |action| follow(&mut connected, &mut delivered, action));
            let wanted: BTreeMap<u16, Message> = (0..count)
                .filter(|vector| enabled && mask >> vector & 1 == 0)
                .map(|vector| (vector, Message { address: address & !3, data: u32::from(data / count * count + vector) }))
                .collect();
            prop_assert_eq!(&connected, &wanted);
            if !enabled { pending.clear(); }
            owed.extend(pending.extract_if(.., |vector| wanted.contains_key(vector)));
            prop_assert_eq!(&delivered, &owed);
            if let Some(vector) = signal {
                match vectors.signal(vector) {
                    Signalled::Lost => prop_assert!(!enabled || vector >= count),
                    Signalled::Send(message) => prop_assert_eq!(wanted.get(&vector), Some(&message)),
                    Signalled::Pending => {
                        prop_assert!(mask >> vector & 1 != 0);
                        pending.insert(vector);
                    }
                }
            }
            prop_assert_eq!(vectors.pending(), pending.iter().fold(0, |bits, vector| bits | 1 << vector));
        }
        vectors.reset(&mut |action| follow(&mut connected, &mut delivered, action));
        prop_assert!(connected.is_empty() && vectors == MsiVectors::default());
    }

    #[test]
    fn intx_never_storms_and_is_never_lost(steps in prop::collection::vec((0..6u8, any::<bool>()), 1..60)) {
        // The line with its level, and the guest, which clears the level now and then.
        let (mut intx, mut asserted, mut open, mut signals) = (Intx::default(), false, false, 0u32);
        let mut reasons = BTreeSet::from([3]);
        for (step, flag) in steps {
            let mut told = 0;
            let line = match step {
                0 => { asserted = flag; Line::default() }
                1 => { reasons.insert(0); intx.hold(Held::DISABLED) }
                2 => { reasons.insert(1); intx.hold(Held::MASKED) }
                3 => { reasons.remove(&0); intx.release(Held::DISABLED, || asserted) }
                4 => { reasons.remove(&1); reasons.remove(&2); intx.release(Held::MASKED | Held::CAME, || asserted) }
                _ => { reasons.remove(&3); intx.release(Held::UNUSED, || asserted) }
            };
            if line.signal { told += 1; reasons.insert(2); }
            if let Some(held) = line.hold { prop_assert_eq!(held, open, "each change is told once"); open = !held; }
            // An open line with a level interrupts at once, or as part of another function's interrupt.
            if open && asserted {
                let line = intx.came(true);
                prop_assert_eq!(line, Line { hold: Some(true), signal: true });
                (open, told) = (false, told + 1);
                reasons.insert(2);
            } else {
                prop_assert_eq!(intx.came(false), Line::default());
                if !open { prop_assert_eq!(intx.came(true), Line::default()); }
            }
            prop_assert!(told <= 1);
            prop_assert_eq!(open, reasons.is_empty());
            prop_assert_eq!(intx.held().is_empty(), open);
            prop_assert!(!asserted || !open, "a level that nobody was told of");
            signals += told;
        }
        prop_assert!(signals <= 60);
    }
}
