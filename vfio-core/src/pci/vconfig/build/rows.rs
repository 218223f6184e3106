//! What a row does to a register.

use super::super::row::{Bits, Row, Trap, row};
use super::super::space::Register;
use super::Builder;
use crate::pci::config::{ConfigAccess, Width};

impl<C: ConfigAccess + ?Sized> Builder<'_, C> {
    pub(super) fn rows(&mut self, base: u16, limit: u16, rows: &[Row]) {
        for row in rows {
            let bytes = (u32::BITS - row.mask.leading_zeros()).div_ceil(8) as u16;
            if row.offset + bytes <= limit {
                self.row(base, row);
            }
        }
    }

    pub(super) fn row(&mut self, base: u16, row: &Row) {
        let offset = base + row.offset;
        let mask = row.mask << (8 * (offset % 4));
        let now = match row.bits {
            Bits::Snapshot | Bits::VirtualFrom => {
                self.config.read(self.function.bdf, offset & !3, Width::Dword)
            }
            _ => 0,
        };
        let register = self.register(offset & !3);
        register.shadow &= !mask;
        register.writable &= !mask;
        register.clear &= !mask;
        register.virtual_bits |= mask;
        match row.bits {
            Bits::Hardware => register.virtual_bits &= !mask,
            Bits::HardwareWritable => {
                register.virtual_bits &= !mask;
                register.writable |= mask;
            }
            Bits::HardwareClear => {
                register.virtual_bits &= !mask;
                register.writable |= mask;
                register.clear |= mask;
            }
            Bits::Snapshot => register.shadow |= now & mask,
            Bits::Virtual => register.writable |= mask,
            Bits::VirtualFrom => {
                register.shadow |= now & mask;
                register.writable |= mask;
            }
            Bits::Zero => {}
        }
    }

    /// Gives bits a value that the guest cannot change.
    pub(super) fn fix(&mut self, offset: u16, mask: u32, value: u32) {
        self.row(0, &row(offset, mask, Bits::Zero));
        let shift = 8 * (offset % 4);
        self.register(offset & !3).shadow |= (value & mask) << shift;
    }

    /// Lets the guest change bits of the four bytes at `offset` that are kept for it.
    pub(super) fn allow(&mut self, offset: u16, mask: u32) {
        self.register(offset).writable |= mask;
    }

    pub(super) fn trap(&mut self, offset: u16, trap: Trap) {
        self.register(offset).trap = Some(trap);
    }

    pub(super) fn register(&mut self, offset: u16) -> &mut Register {
        let registers = &mut self.space.registers;
        let at = registers.partition_point(|register| register.offset < offset);
        if registers.get(at).is_none_or(|register| register.offset != offset) {
            registers.insert(
                at,
                Register {
                    offset,
                    shadow: 0,
                    initial: 0,
                    virtual_bits: u32::MAX,
                    writable: 0,
                    clear: 0,
                    trap: None,
                },
            );
        }
        &mut registers[at]
    }
}
