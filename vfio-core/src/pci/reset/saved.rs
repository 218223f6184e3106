//! Configuration that a reset destroys, kept across it.
//!
//! What is kept is what the function would be given again by firmware: addresses, link and device control, and the
//! message registers, which go back disabled. Bus mastering never comes back by itself in an endpoint.

use super::{ResetError, alive};
use crate::pci::config::{ConfigAccess, Function, Registers};
use crate::pci::spec::{Command, acs, capability, express, extended, header, msi, msix, pcix, rebar};
use crate::pci::{Bdf, PortKind};
use alloc::vec::Vec;

/// Bytes of configuration space.
const END: u16 = 0x1000;

/// A register with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Word(u16, u16),
    Dword(u16, u32),
}

/// The configuration of one function, read before a reset, in the order in which it is written back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedConfig {
    bdf: Bdf,
    command: Command,
    registers: Vec<Register>,
}

impl SavedConfig {
    /// Reads the registers of `function` that a reset destroys.
    ///
    /// # Errors
    /// The function is gone, or is not itself: what it reads is not its configuration.
    pub fn read(config: &impl ConfigAccess, function: &Function) -> Result<Self, ResetError> {
        alive(config, function)?;
        let from = Registers::new(config, function.bdf);
        let mut reader = Reader {
            from: &from,
            registers: Vec::new(),
        };
        reader.extended_capabilities(function);
        reader.header(function);
        reader.express(function);
        reader.messages(function);
        let saved = Self {
            bdf: function.bdf,
            command: from.command(),
            registers: reader.registers,
        };
        // If it went away meanwhile, some of it is ones.
        alive(config, function).map(|()| saved)
    }

    /// The command register when this was read.
    #[must_use]
    pub const fn command(&self) -> Command {
        self.command
    }

    /// Writes them back, with MSI, MSI-X and bus mastering off and decoding as it was.
    ///
    /// # Errors
    /// An address does not read back as it was written; all others were tried.
    pub fn restore(&self, config: &impl ConfigAccess, function: &Function) -> Result<(), ResetError> {
        let command = if function.kind.is_bridge() {
            self.command
        } else {
            self.command - Command::BUS_MASTER
        };
        self.restore_as(config, function, command)
    }

    /// As [`restore`](Self::restore), and leaves the command register as `command`.
    ///
    /// # Errors
    /// As for `restore`: it decodes nothing then.
    pub fn restore_as(
        &self,
        config: &impl ConfigAccess,
        function: &Function,
        command: Command,
    ) -> Result<(), ResetError> {
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
        // Where it decodes must be where it did: anywhere else is over something else.
        let addresses = header::BAR0..header::BAR0 + if function.kind.is_bridge() { 12 } else { 24 };
        for register in &self.registers {
            if let Register::Dword(offset, value) = *register
                && addresses.contains(&offset)
                && to.u32(offset) != value
            {
                return Err(ResetError::NotRestored {
                    function: self.bdf,
                    offset,
                });
            }
        }
        to.set_command(command);
        Ok(())
    }
}

struct Reader<'a, C> {
    from: &'a Registers<'a, C>,
    registers: Vec<Register>,
}

impl<C: ConfigAccess> Reader<'_, C> {
    fn word(&mut self, offset: u16) {
        if offset < END {
            self.registers.push(Register::Word(offset, self.from.u16(offset)));
        }
    }

    fn dword(&mut self, offset: u16) {
        if offset < END {
            self.registers
                .push(Register::Dword(offset, self.from.u32(offset)));
        }
    }

    fn header(&mut self, function: &Function) {
        self.word(header::CACHE_LINE_SIZE);
        if function.kind.is_bridge() {
            // BARs, bus numbers and windows lie side by side from 0x10 on; the secondary status between them is
            // left out, since writing it back would clear what it reports.
            for offset in (header::BAR0..header::CAPABILITIES).step_by(4) {
                if offset == header::IO_WINDOW {
                    self.word(offset);
                } else {
                    self.dword(offset);
                }
            }
            self.dword(header::ROM_BRIDGE);
            self.word(header::BRIDGE_CONTROL);
        } else {
            for offset in (header::BAR0..header::BAR0 + 24).step_by(4) {
                self.dword(offset);
            }
            self.dword(header::ROM_ENDPOINT);
        }
        self.word(header::INTERRUPT_LINE);
        if let Some(offset) = function.capability(capability::PCIX)
            && !function.kind.is_bridge()
        {
            self.word(offset + pcix::COMMAND);
        }
    }

    fn express(&mut self, function: &Function) {
        let Some(found) = function.express else { return };
        let at = |register| found.offset + register;
        let control = self.from.u16(at(express::DEVICE_CONTROL));
        // In an endpoint the bit starts a reset; in a bridge it allows configuration retries.
        let starts_reset = if function.kind.is_bridge() {
            0
        } else {
            express::DEVICE_CONTROL_FLR
        };
        self.registers.push(Register::Word(
            at(express::DEVICE_CONTROL),
            control & !starts_reset,
        ));
        self.word(at(express::LINK_CONTROL));
        if found.slot {
            self.word(at(express::SLOT_CONTROL));
        }
        if function.kind == PortKind::RootPort {
            self.word(at(express::ROOT_CONTROL));
        }
        if found.version >= 2 && at(express::SIZE) <= 0x100 {
            self.word(at(express::DEVICE_CONTROL_2));
            self.word(at(express::LINK_CONTROL_2));
        }
    }

    /// What reaches further than a header: BAR sizes first, since addresses depend on them, and latencies before what
    /// turns the reporting of them on.
    fn extended_capabilities(&mut self, function: &Function) {
        if let Some(offset) = function.extended(extended::RESIZABLE_BAR) {
            let count = self.from.u32(offset + rebar::CONTROL) >> rebar::COUNT_SHIFT & rebar::COUNT_MASK;
            for number in 0..(count as u16).min(6) {
                if offset + rebar::CONTROL + 8 * number < END {
                    self.dword(offset + rebar::CONTROL + 8 * number);
                }
            }
        }
        if let Some((offset, _)) = function.acs {
            self.word(offset + acs::CONTROL);
        }
        for &(id, dwords) in extended::KEPT {
            let Some(offset) = function.extended(id) else {
                continue;
            };
            for &register in dwords {
                self.dword(offset + register);
            }
        }
    }

    fn messages(&mut self, function: &Function) {
        let Some(found) = function.msi else { return };
        self.dword(found.offset + msi::ADDRESS);
        let data = if found.address_64 {
            self.dword(found.offset + msi::ADDRESS_UPPER);
            found.offset + 0xc
        } else {
            found.offset + 0x8
        };
        self.word(data);
        if found.maskable {
            self.dword(data + 4);
        }
    }
}
