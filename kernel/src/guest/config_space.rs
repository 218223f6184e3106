//! The configuration space of an assigned function as its guest sees it: rows of a table, everything else hidden.
//!
//! Every bit is either virtual (served from a shadow) or the hardware's, and writable or not. What no row names is
//! virtual, zero and read-only, so an unknown capability does not exist for the guest. Extended capabilities are
//! all hidden. After VFIO's model, with the opposite default.

use super::bars::BarRegisters;
use crate::pci::{ConfigAccess, Function, Width};
use vfio_core::pci::Bdf;
use vfio_core::pci::spec::{Command, STATUS_CAPABILITIES, capability, express, header, msix, pm};

const DWORDS: usize = 64;
const ALL: u32 = u32::MAX;

/// What a row's bits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bits {
    /// Read from the hardware; writes are dropped.
    Hardware,
    /// Read from and written to the hardware.
    HardwareWritable,
    /// As the hardware had them at start; writes are dropped.
    Snapshot,
    /// Kept for the guest alone, zero at start.
    Virtual,
    /// One; writes are dropped.
    One,
}

/// Bits of one 32-bit register.
struct Row(u16, u32, Bits);

const fn bit(command: Command) -> u32 {
    command.bits() as u32
}

/// INTx is masked for good; it would have to be routed.
const INTX: u32 = bit(Command::INTX_DISABLE);
/// Parity and system error reporting: kept, without effect.
const ERRORS: u32 = 1 << 6 | 1 << 8;
/// The capability list is virtual, and INTx is not seen to be pending.
const STATUS_READ: u32 = 0xffff_0000 & !((STATUS_CAPABILITIES as u32) << 16) & !(1 << 19);

/// Header, but for vendor and device id and the BARs. Interrupt pin, ROM and CardBus pointer read zero.
const HEADER: &[Row] = &[
    Row(
        header::COMMAND,
        bit(Command::MEMORY.union(Command::BUS_MASTER)),
        Bits::HardwareWritable,
    ),
    Row(header::COMMAND, ERRORS, Bits::Virtual),
    Row(header::COMMAND, INTX, Bits::One),
    Row(header::COMMAND, STATUS_READ, Bits::Hardware),
    Row(header::CLASS_REVISION, ALL, Bits::Snapshot),
    // Cache line size and latency timer.
    Row(header::CACHE_LINE_SIZE, 0xffff, Bits::Virtual),
    Row(header::SUBSYSTEM, ALL, Bits::Snapshot),
    Row(header::INTERRUPT_LINE, 0xff, Bits::Virtual),
];

/// Always in D0, without PME.
const PM: &[Row] = &[
    Row(0, 0x07ff_0000, Bits::Snapshot),
    Row(pm::CONTROL, pm::NO_SOFT_RESET as u32, Bits::Snapshot),
];

/// Size, and where tables are; enable and function mask drive the model.
const MSIX: &[Row] = &[
    Row(0, (msix::SIZE_MASK as u32) << 16, Bits::Snapshot),
    Row(0, MSIX_CONTROL, Bits::Virtual),
    Row(msix::TABLE, ALL, Bits::Snapshot),
    Row(msix::PBA, ALL, Bits::Snapshot),
];

const MSIX_CONTROL: u32 = ((msix::ENABLE | msix::FUNCTION_MASK) as u32) << 16;

/// What a write asks for beyond configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigEffect {
    /// Nothing.
    None,
    /// MSI-X's enable and function mask bits are now so.
    Msix {
        /// Enabled.
        enabled: bool,
        /// All vectors masked.
        masked: bool,
    },
}

/// The virtual configuration space of one function.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    physical: Bdf,
    shadow: [u32; DWORDS],
    /// Bits that come from `shadow`.
    virtual_bits: [u32; DWORDS],
    writable: [u32; DWORDS],
    msix: Option<u16>,
    bars: BarRegisters,
}

impl ConfigSpace {
    /// Builds the space of `function`, whose hardware is read through `config` and not changed. `multi_function`
    /// where the guest's slot has more functions.
    #[must_use]
    pub fn new(
        config: &dyn ConfigAccess,
        function: &Function,
        bars: BarRegisters,
        multi_function: bool,
    ) -> Self {
        let mut space = Self {
            physical: function.bdf,
            shadow: [0; DWORDS],
            virtual_bits: [ALL; DWORDS],
            writable: [0; DWORDS],
            msix: function.msix.map(|msix| msix.offset),
            bars,
        };
        // A virtual function's own registers read all ones.
        space.set(
            header::VENDOR_ID,
            u32::from(function.device) << 16 | u32::from(function.vendor),
        );
        space.apply(config, 0, HEADER);
        if multi_function {
            space.set(
                header::CACHE_LINE_SIZE,
                u32::from(vfio_core::pci::spec::MULTI_FUNCTION) << 16,
            );
        }
        space.add_capabilities(config, function);
        space
    }

    fn add_capabilities(&mut self, config: &dyn ConfigAccess, function: &Function) {
        let mut link = header::CAPABILITIES;
        let mut starts: arrayvec::ArrayVec<u16, DWORDS> = function
            .capabilities
            .iter()
            .map(|c| c.offset)
            .take(DWORDS)
            .collect();
        starts.sort_unstable();
        for found in function.capabilities.iter().take(DWORDS) {
            let at = found.offset;
            let end = starts.iter().copied().find(|start| *start > at).unwrap_or(0x100);
            let shown = match found.id {
                capability::PM if end - at >= pm::SIZE => {
                    self.apply(config, at, PM);
                    true
                }
                capability::MSIX if self.msix == Some(at) => {
                    self.apply(config, at, MSIX);
                    true
                }
                capability::EXPRESS if function.express.is_some_and(|express| express.offset == at) => {
                    let version = function.express.map_or(1, |express| express.version);
                    self.show_express(config, at, end, version);
                    true
                }
                capability::VENDOR => {
                    let length = u16::from(read8(config, self.physical, at + 2));
                    self.apply(config, at, &[Row(0, 0xffff_0000, Bits::Snapshot)]);
                    self.show(config, at + 4, (at + length).min(end));
                    true
                }
                _ => false,
            };
            if shown {
                self.set(at, found.id.into());
                // The link before it: the header's pointer, or bits 15:8 of the capability before.
                let next = u32::from(at);
                self.set(
                    link,
                    if link == header::CAPABILITIES {
                        next
                    } else {
                        next << 8
                    },
                );
                link = at;
            }
        }
        if link != header::CAPABILITIES {
            self.set(header::COMMAND, u32::from(STATUS_CAPABILITIES) << 16);
        }
    }

    /// PCI Express, read-only and without function level reset: the hypervisor resets.
    fn show_express(&mut self, config: &dyn ConfigAccess, at: u16, end: u16, version: u8) {
        self.apply(config, at, &[Row(0, 0xffff_0000, Bits::Snapshot)]);
        let size = if version >= 2 {
            express::SIZE
        } else {
            express::SLOT_CONTROL - 4
        };
        self.show(config, at + 4, (at + size).min(end));
        let capabilities = usize::from(at + express::DEVICE_CAPABILITIES) / 4;
        if let Some(bits) = self.virtual_bits.get_mut(capabilities) {
            *bits |= express::DEVICE_CAPABILITIES_FLR;
        }
    }

    /// Lets the hardware's bytes from `start` to `end` be read.
    fn show(&mut self, config: &dyn ConfigAccess, start: u16, end: u16) {
        for at in (start..end).step_by(4) {
            let bytes = (end - at).min(4);
            self.apply(
                config,
                at,
                &[Row(0, ALL >> (32 - 8 * u32::from(bytes)), Bits::Hardware)],
            );
        }
    }

    fn apply(&mut self, config: &dyn ConfigAccess, base: u16, rows: &[Row]) {
        for Row(offset, mask, bits) in rows {
            let offset = base + offset;
            let (at, shift) = (usize::from(offset) / 4, u32::from(offset) % 4 * 8);
            let mask = mask << shift;
            let (Some(virtual_bits), Some(writable)) =
                (self.virtual_bits.get_mut(at), self.writable.get_mut(at))
            else {
                continue;
            };
            match bits {
                Bits::Hardware => *virtual_bits &= !mask,
                Bits::HardwareWritable => {
                    *virtual_bits &= !mask;
                    *writable |= mask;
                }
                Bits::Virtual => *writable |= mask,
                Bits::One => self.set(offset & !3, mask),
                Bits::Snapshot => {
                    let now = config.read(self.physical, offset & !3, Width::Dword);
                    self.set(offset & !3, now & mask);
                }
            }
        }
    }

    /// Sets bits of the shadow.
    fn set(&mut self, offset: u16, bits: u32) {
        if let Some(shadow) = self.shadow.get_mut(usize::from(offset) / 4) {
            *shadow |= bits;
        }
    }

    /// The function in the host.
    #[must_use]
    pub const fn physical(&self) -> Bdf {
        self.physical
    }

    /// Its BARs.
    #[must_use]
    pub const fn bars(&self) -> &BarRegisters {
        &self.bars
    }

    /// Reads `width` at `offset` (0 to 0xfff), which is aligned to it.
    #[must_use]
    pub fn read(&self, config: &dyn ConfigAccess, offset: u16, width: Width) -> u32 {
        let (at, shift, mask) = place(offset, width);
        let value = if let Some(register) = bar_register(offset) {
            self.bars.read(register)
        } else {
            let (Some(shadow), Some(virtual_bits)) = (self.shadow.get(at), self.virtual_bits.get(at)) else {
                return 0;
            };
            let mut value = shadow & virtual_bits;
            if !virtual_bits & mask != 0 {
                value |= config.read(self.physical, offset, width) << shift & !virtual_bits;
            }
            value
        };
        (value & mask) >> shift
    }

    /// Writes the low `width` of `value` at `offset`, which is aligned to it.
    pub fn write(
        &mut self,
        config: &dyn ConfigAccess,
        offset: u16,
        width: Width,
        value: u32,
    ) -> ConfigEffect {
        let (at, shift, mask) = place(offset, width);
        let value = value << shift & mask;
        if let Some(register) = bar_register(offset) {
            if width == Width::Dword {
                self.bars.write(register, value);
            }
            return ConfigEffect::None;
        }
        let (Some(shadow), Some(virtual_bits), Some(writable)) = (
            self.shadow.get_mut(at),
            self.virtual_bits.get(at),
            self.writable.get(at),
        ) else {
            return ConfigEffect::None;
        };
        let before = *shadow;
        let keep = virtual_bits & writable & mask;
        *shadow = *shadow & !keep | value & keep;
        let after = *shadow;
        let through = !virtual_bits & writable & mask;
        for half in [0u16, 2] {
            let bits = (through >> (8 * half)) as u16;
            if bits != 0 {
                self.write_hardware(config, (at * 4) as u16 + half, bits, (value >> (8 * half)) as u16);
            }
        }
        match self.msix {
            Some(msix) if usize::from(msix) / 4 == at && (before ^ after) & MSIX_CONTROL != 0 => {
                let control = (after >> 16) as u16;
                ConfigEffect::Msix {
                    enabled: control & msix::ENABLE != 0,
                    masked: control & msix::FUNCTION_MASK != 0,
                }
            }
            _ => ConfigEffect::None,
        }
    }

    /// Replaces `bits` of a 16-bit register of the hardware; the half beside it may clear itself when written.
    fn write_hardware(&self, config: &dyn ConfigAccess, offset: u16, bits: u16, value: u16) {
        let now = config.read(self.physical, offset, Width::Word) as u16;
        let mut new = now & !bits | value & bits;
        if offset == header::COMMAND {
            new |= Command::INTX_DISABLE.bits();
        }
        config.write(self.physical, offset, Width::Word, new.into());
    }
}

fn read8(config: &dyn ConfigAccess, function: Bdf, offset: u16) -> u8 {
    config.read(function, offset, Width::Byte) as u8
}

/// Index of the dword, and where in it the access is.
fn place(offset: u16, width: Width) -> (usize, u32, u32) {
    let shift = u32::from(offset) % 4 * 8;
    let mask = ALL >> (32 - 8 * u32::from(width.bytes())) << shift;
    (usize::from(offset) / 4, shift, mask)
}

fn bar_register(offset: u16) -> Option<u8> {
    let register = offset.checked_sub(header::BAR0)? / 4;
    (register < 6).then_some(register as u8)
}

#[cfg(test)]
#[path = "config_space_tests.rs"]
mod tests;
