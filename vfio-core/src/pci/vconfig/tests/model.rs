//! Random accesses against a model that knows single bits and nothing else.

use super::super::row::{Bits, Layout, Length, Row};
use super::super::{length, table};
use super::*;
use crate::testing::cases;
use proptest::prelude::*;

/// One bit as the tables have it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bit {
    /// Zero, or what it was at first.
    Fixed(bool),
    Kept(bool),
    Hardware,
    Through,
    Clears,
}

/// Every bit of the space, and of the hardware.
struct Reference {
    bits: Vec<Bit>,
    hardware: Vec<bool>,
    /// Registers with rules of their own, which other tests are about.
    special: Vec<u16>,
}

impl Reference {
    fn new(fake: &Fake, function: &Function, space: &VirtualConfig) -> Self {
        let bytes = fake.bytes.borrow();
        let hardware: Vec<bool> = (0..0x8000).map(|at| bytes[at / 8] >> (at % 8) & 1 != 0).collect();
        let mut model = Self {
            bits: vec![Bit::Fixed(false); 0x8000],
            hardware,
            special: (0x10..0x34).step_by(4).collect(),
        };
        model.special.push(header::COMMAND);
        model.rows(0, 0x40, table::HEADER);
        model.rows(0, 0x40, table::INTX_STATUS);
        let standard = function
            .capabilities
            .iter()
            .map(|found| (u16::from(found.id), found.offset));
        let extended = function.extended.iter().map(|found| (found.id, found.offset));
        let shown = (space.walk(fake), space.walk_extended(fake));
        for (id, at) in standard.filter(|(id, _)| shown.0.contains(&(*id as u8))) {
            model.capability(fake, function, table::STANDARD, id, at, 2);
        }
        for (id, at) in extended.filter(|(id, _)| shown.1.contains(id)) {
            model.capability(fake, function, table::EXTENDED, id, at, 4);
        }
        // What the builder puts in, and nobody changes.
        let fixed = [0u16, header::CAPABILITIES, 0x100];
        for at in fixed {
            model.fix(at, space.get(fake, at));
        }
        let line = space.get(fake, header::INTERRUPT_LINE) & 0xff00;
        (8..16).for_each(|bit| model.bits[0x3c * 8 + bit] = Bit::Fixed(line >> bit & 1 != 0));
        model
    }

    fn fix(&mut self, at: u16, value: u32) {
        (0..32).for_each(|bit| self.bits[usize::from(at) * 8 + bit] = Bit::Fixed(value >> bit & 1 != 0));
    }

    fn capability(
        &mut self,
        fake: &Fake,
        function: &Function,
        table: &'static [Layout],
        id: u16,
        at: u16,
        head: u16,
    ) {
        let layout = Layout::of(table, id).unwrap();
        let room = if head == 4 && matches!(id, 1 | 0x10) {
            0x40
        } else {
            0x3c
        };
        let bytes = length::shown(layout.length, fake, function, at, room).unwrap();
        for bit in usize::from(at + head) * 8..usize::from(at + bytes) * 8 {
            self.bits[bit] = Bit::Hardware;
        }
        self.rows(at, bytes, layout.rows);
        self.special
            .extend(layout.traps.iter().map(|(offset, _)| at + offset));
        if layout.length == Length::Msi {
            self.special.extend((at..at + bytes).step_by(4));
        }
        if layout.length == Length::Express {
            self.special.push(at + 4);
        }
        // The serial number, ids and pointers are the builder's.
        self.special.extend(
            (head == 4 && id == 3)
                .then_some([at + 4, at + 8])
                .into_iter()
                .flatten(),
        );
        if !self.special.contains(&at) {
            self.special.push(at);
        }
    }

    fn rows(&mut self, base: u16, bytes: u16, rows: &[Row]) {
        for row in rows {
            for bit in (0..32).filter(|bit| row.mask >> bit & 1 != 0) {
                let at = usize::from(base + row.offset) * 8 + bit;
                if at >= usize::from(base + bytes) * 8 {
                    continue;
                }
                self.bits[at] = match row.bits {
                    Bits::Hardware => Bit::Hardware,
                    Bits::HardwareWritable => Bit::Through,
                    Bits::HardwareClear => Bit::Clears,
                    Bits::Snapshot => Bit::Fixed(self.hardware[at]),
                    Bits::Virtual => Bit::Kept(false),
                    Bits::VirtualFrom => Bit::Kept(self.hardware[at]),
                    Bits::Zero => Bit::Fixed(false),
                };
            }
        }
    }

    fn read(&self, at: u16) -> u32 {
        (0..32).fold(0, |value, bit| {
            let place = usize::from(at) * 8 + bit;
            let on = match self.bits[place] {
                Bit::Fixed(on) | Bit::Kept(on) => on,
                Bit::Hardware | Bit::Through | Bit::Clears => self.hardware[place],
            };
            value | u32::from(on) << bit
        })
    }

    fn write(&mut self, at: u16, bits: u16, value: u32) {
        for bit in 0..usize::from(bits) {
            let (place, on) = (usize::from(at) * 8 + bit, value >> bit & 1 != 0);
            match &mut self.bits[place] {
                Bit::Kept(kept) => *kept = on,
                Bit::Through => self.hardware[place] = on,
                Bit::Clears => self.hardware[place] &= !on,
                Bit::Fixed(_) | Bit::Hardware => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn every_bit_is_what_its_row_says(accesses in prop::collection::vec((0u16..0x300, 0..3usize, any::<u32>()), 1..200)) {
        let (mut fake, function) = rich();
        fake.clears = vec![(at::AER + 4, u32::MAX), (at::AER + 0x10, u32::MAX)];
        let mut space = space(&fake, &function, BarPolicy::Fixed);
        let mut model = Reference::new(&fake, &function, &space);
        for (offset, width, value) in accesses {
            let width = [Width::Byte, Width::Word, Width::Dword][width];
            let offset = offset & !(width.bytes() - 1);
            if model.special.contains(&(offset & !3)) {
                continue;
            }
            let effects = space.write(&fake, offset, width, value).unwrap();
            prop_assert!(effects.is_empty());
            model.write(offset, width.bytes() * 8, value);
            let mask = u32::MAX >> (32 - 8 * width.bytes());
            let expected = model.read(offset & !3) >> (8 * (offset & 3)) & mask;
            prop_assert_eq!(space.read(&fake, offset, width).unwrap(), expected, "{:#x}", offset);
        }
        for offset in (0..0x1000).step_by(4).filter(|at| !model.special.contains(at)) {
            prop_assert_eq!(space.get(&fake, offset), model.read(offset), "{:#x}", offset);
        }
        for (at, byte) in fake.bytes.borrow().iter().enumerate() {
            let expected = (0..8).fold(0, |byte, bit| byte | u8::from(model.hardware[at * 8 + bit]) << bit);
            prop_assert_eq!(*byte, expected, "hardware at {:#x}", at);
        }
    }

    #[test]
    fn narrow_reads_are_parts_of_wide_ones(offset in 0u16..0x1000) {
        let (fake, space) = everything();
        let wide = space.get(&fake, offset & !3);
        prop_assert_eq!(space.read(&fake, offset, Width::Byte).unwrap(), wide >> (offset % 4 * 8) & 0xff);
        let half = offset & !1;
        prop_assert_eq!(space.read(&fake, half, Width::Word).unwrap(), wide >> (half % 4 * 8) & 0xffff);
    }
}
