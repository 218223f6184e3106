//! Configuration that a reset destroys, kept across it.
//!
//! What is kept is what the function would be given again by firmware: addresses, link and device control, and the
//! message registers, which go back disabled. Bus mastering never comes back by itself.

use crate::pci::config::{ConfigAccess, Function, Registers};
use crate::pci::spec::{Command, acs, express, header, msi, msix};
use crate::pci::{Bdf, PortKind};
use alloc::vec::Vec;

/// A register with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Word(u16, u16),
    Dword(u16, u32),
}

/// The configuration of one function, read before a reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedConfig {
    bdf: Bdf,
    command: Command,
    registers: Vec<Register>,
}

impl SavedConfig {
    /// Reads the registers of `function` that a reset destroys.
    #[must_use]
    pub fn read(config: &impl ConfigAccess, function: &Function) -> Self {
        let from = Registers::new(config, function.bdf);
        let mut words = Vec::new();
        let mut dwords = Vec::new();
        words.push(header::CACHE_LINE_SIZE);
        if function.kind.is_bridge() {
            // BARs, bus numbers and windows lie side by side from 0x10 on; the secondary status between them is
            // written back as zeros, which clear nothing.
            dwords.extend(
                (header::BAR0..header::CAPABILITIES)
                    .step_by(4)
                    .filter(|&offset| offset != 0x1c),
            );
            words.push(0x1c);
            dwords.push(header::ROM_BRIDGE);
            words.push(header::BRIDGE_CONTROL);
        } else {
            dwords.extend((header::BAR0..header::BAR0 + 24).step_by(4));
            dwords.push(header::ROM_ENDPOINT);
        }
        words.push(header::INTERRUPT_LINE);
        if let Some(found) = function.express {
            let at = |register| found.offset + register;
            words.extend([at(express::DEVICE_CONTROL), at(express::LINK_CONTROL)]);
            if found.slot {
                words.push(at(express::SLOT_CONTROL));
            }
            if function.kind == PortKind::RootPort {
                words.push(at(express::ROOT_CONTROL));
            }
            if found.version >= 2 && found.offset + express::SIZE <= 0x100 {
                words.extend([at(express::DEVICE_CONTROL_2), at(express::LINK_CONTROL_2)]);
            }
        }
        if let Some((offset, _)) = function.acs {
            words.push(offset + acs::CONTROL);
        }
        if let Some(found) = function.msi {
            dwords.push(found.offset + msi::ADDRESS);
            let data = if found.address_64 {
                dwords.push(found.offset + msi::ADDRESS_UPPER);
                found.offset + 0xc
            } else {
                found.offset + 0x8
            };
            words.push(data);
            if found.maskable {
                dwords.push(data + 4);
            }
        }
        let words = words.into_iter().map(|offset| {
            let mut value = from.u16(offset);
            if function
                .express
                .is_some_and(|found| offset == found.offset + express::DEVICE_CONTROL)
            {
                // In an endpoint the bit starts a reset; in a bridge it allows configuration retries.
                value &= if function.kind.is_bridge() {
                    u16::MAX
                } else {
                    !express::DEVICE_CONTROL_FLR
                };
            }
            Register::Word(offset, value)
        });
        let words: Vec<Register> = words.collect();
        let dwords = dwords
            .into_iter()
            .map(|offset| Register::Dword(offset, from.u32(offset)));
        Self {
            bdf: function.bdf,
            command: from.command(),
            registers: dwords.chain(words).collect(),
        }
    }

    /// Writes them back, with MSI, MSI-X and bus mastering off and decoding as it was.
    pub fn restore(&self, config: &impl ConfigAccess, function: &Function) {
        let to = Registers::new(config, self.bdf);
        to.set_command(Command::INTX_DISABLE);
        for register in &self.registers {
            match *register {
                Register::Word(offset, value) => to.set_u16(offset, value),
                Register::Dword(offset, value) => to.set_u32(offset, value),
            }
        }
        if let Some(found) = function.msi {
            to.set_u16(found.offset + msi::CONTROL, 0);
        }
        if let Some(found) = function.msix {
            to.set_u16(found.offset + msix::CONTROL, msix::FUNCTION_MASK);
        }
        let bridge = function.kind.is_bridge();
        let command = if bridge {
            self.command
        } else {
            self.command - Command::BUS_MASTER
        };
        to.set_command(command);
    }
}
