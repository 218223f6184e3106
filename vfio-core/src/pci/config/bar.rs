//! Base address registers: what kind, where, how large (PCI Express Base Specification 6.0, section 7.5.1.2.1).
//!
//! A size is found by writing all ones and looking which bits stick. Meanwhile the function would answer anywhere,
//! so decoding is off until every register is back as it was.

use super::{ConfigAccess, Registers};
use crate::pci::Bdf;
use crate::pci::spec::{Command, bar, header};
use alloc::vec::Vec;

/// A base address register that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Its index, 0 to 5; the first of two for a 64-bit one.
    pub index: u8,
    /// What it decodes.
    pub kind: BarKind,
    /// Where firmware has put it: host physical address, or port. Zero if nowhere.
    pub address: u64,
    /// Bytes, a power of two.
    pub size: u64,
}

/// What a base address register decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory.
    Memory {
        /// Two registers, 64 bits.
        wide: bool,
        /// Reads have no side effects.
        prefetchable: bool,
    },
}

impl Bar {
    /// Whether it decodes memory.
    #[must_use]
    pub const fn is_memory(&self) -> bool {
        matches!(self.kind, BarKind::Memory { .. })
    }

    /// Whether `length` bytes from `offset` are inside.
    #[must_use]
    pub fn holds(&self, offset: u32, length: u32) -> bool {
        u64::from(offset) + u64::from(length) <= self.size
    }
}

/// A base address register that does not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarFault {
    /// A memory type that the specification reserves.
    #[error("BAR {index} has the reserved memory type {kind}")]
    ReservedType {
        /// Its index.
        index: u8,
        /// Bits 2:1.
        kind: u8,
    },
    /// 64 bits, in the last register.
    #[error("BAR {index} is 64 bits wide and there is no register after it")]
    NoUpperHalf {
        /// Its index.
        index: u8,
    },
    /// The bits that stick are no size.
    #[error("BAR {index} keeps the bits {mask:#x}, which are no power of two")]
    Size {
        /// Its index.
        index: u8,
        /// The bits that stick.
        mask: u64,
    },
    /// A register that did not take back its value.
    #[error("BAR {index} did not take its value back")]
    NotRestored {
        /// Its index.
        index: u8,
    },
}

/// Sizes the first `count` registers of `bdf` (6 for an endpoint, 2 for a bridge).
pub(super) fn size(config: &impl ConfigAccess, bdf: Bdf, count: u8) -> (Vec<Bar>, Vec<BarFault>) {
    let registers = Registers::new(config, bdf);
    let command = registers.command();
    registers.set_command(command - (Command::IO | Command::MEMORY));
    let sized = size_at(&registers, header::BAR0, count);
    registers.set_command(command);
    sized
}

/// Sizes `count` registers from `base` on, none of which decodes meanwhile.
pub(super) fn size_at<C: ConfigAccess>(
    registers: &Registers<'_, C>,
    base: u16,
    count: u8,
) -> (Vec<Bar>, Vec<BarFault>) {
    let (mut bars, mut faults) = (Vec::new(), Vec::new());
    let mut index = 0;
    while index < count {
        let one = size_one(registers, base, index, count);
        match one.bar {
            Ok(bar) => bars.extend(bar),
            Err(fault) => faults.push(fault),
        }
        if !one.restored {
            faults.push(BarFault::NotRestored { index });
        }
        index += one.registers;
    }
    (bars, faults)
}

/// Drops registers whose value could not be put back: nobody knows where they decode now.
pub(super) fn keep_restored(mut bars: Vec<Bar>, faults: &[BarFault]) -> Vec<Bar> {
    bars.retain(|bar| !faults.contains(&BarFault::NotRestored { index: bar.index }));
    bars
}

struct Sized {
    bar: Result<Option<Bar>, BarFault>,
    registers: u8,
    restored: bool,
}

/// What sticks of all ones, with the value put back; and whether it was.
fn probe<C: ConfigAccess>(registers: &Registers<'_, C>, base: u16, index: u8) -> (u32, u32, bool) {
    let offset = base + 4 * u16::from(index);
    let value = registers.u32(offset);
    registers.set_u32(offset, u32::MAX);
    let sticks = registers.u32(offset);
    registers.set_u32(offset, value);
    (value, sticks, registers.u32(offset) == value)
}

fn size_one<C: ConfigAccess>(registers: &Registers<'_, C>, base: u16, index: u8, count: u8) -> Sized {
    let (value, sticks, restored) = probe(registers, base, index);
    let done = |bar, registers, restored| Sized {
        bar,
        registers,
        restored,
    };
    if sticks == 0 {
        return done(Ok(None), 1, restored);
    }
    if value & bar::IO != 0 {
        // Ports have 16 bits on x86; the upper half of the register may be hard-wired to zero.
        let mask = u64::from(sticks & bar::IO_MASK) | 0xffff_ffff_ffff_0000;
        let address = u64::from(value & bar::IO_MASK);
        return done(decoded(index, BarKind::Io, address, mask), 1, restored);
    }
    let prefetchable = value & bar::PREFETCHABLE != 0;
    match (value >> bar::TYPE_SHIFT) & bar::TYPE_MASK {
        bar::TYPE_32 => {
            let mask = u64::from(sticks & bar::MEMORY_MASK) | 0xffff_ffff_0000_0000;
            let kind = BarKind::Memory {
                wide: false,
                prefetchable,
            };
            done(
                decoded(index, kind, (value & bar::MEMORY_MASK).into(), mask),
                1,
                restored,
            )
        }
        bar::TYPE_64 if index + 1 < count => {
            let (upper, upper_sticks, upper_restored) = probe(registers, base, index + 1);
            let mask = u64::from(sticks & bar::MEMORY_MASK) | u64::from(upper_sticks) << 32;
            let address = u64::from(value & bar::MEMORY_MASK) | u64::from(upper) << 32;
            let kind = BarKind::Memory {
                wide: true,
                prefetchable,
            };
            done(decoded(index, kind, address, mask), 2, restored && upper_restored)
        }
        bar::TYPE_64 => done(Err(BarFault::NoUpperHalf { index }), 1, restored),
        kind => done(
            Err(BarFault::ReservedType {
                index,
                kind: kind as u8,
            }),
            1,
            restored,
        ),
    }
}

fn decoded(index: u8, kind: BarKind, address: u64, mask: u64) -> Result<Option<Bar>, BarFault> {
    let size = (!mask).wrapping_add(1);
    // A register whose address bits are all hard-wired would be as large as its whole address space.
    let limit = match kind {
        BarKind::Io => 1 << 15,
        BarKind::Memory { wide: false, .. } => 1 << 31,
        BarKind::Memory { wide: true, .. } => 1 << 63,
    };
    if size <= limit && size.is_power_of_two() && address & (size - 1) == 0 {
        Ok(Some(Bar {
            index,
            kind,
            address,
            size,
        }))
    } else {
        Err(BarFault::Size { index, mask })
    }
}
