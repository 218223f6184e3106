//! One function's registers by width, and the command bits that discovery turns on and off.

use super::{ConfigAccess, Function, Width};
use crate::pci::Bdf;
use crate::pci::spec::{Command, header};

/// One function's configuration space.
#[derive(Debug)]
pub struct Registers<'a, C: ?Sized> {
    config: &'a C,
    bdf: Bdf,
}

impl<'a, C: ConfigAccess + ?Sized> Registers<'a, C> {
    /// The registers of `bdf`.
    #[must_use]
    pub const fn new(config: &'a C, bdf: Bdf) -> Self {
        Self { config, bdf }
    }

    /// The byte at `offset`.
    #[must_use]
    pub fn u8(&self, offset: u16) -> u8 {
        self.config.read(self.bdf, offset, Width::Byte) as u8
    }

    /// The 16 bits at `offset`, which is even.
    #[must_use]
    pub fn u16(&self, offset: u16) -> u16 {
        self.config.read(self.bdf, offset, Width::Word) as u16
    }

    /// The 32 bits at `offset`, which is a multiple of 4.
    #[must_use]
    pub fn u32(&self, offset: u16) -> u32 {
        self.config.read(self.bdf, offset, Width::Dword)
    }

    /// Writes the byte at `offset`.
    pub fn set_u8(&self, offset: u16, value: u8) {
        self.config.write(self.bdf, offset, Width::Byte, value.into());
    }

    /// Writes 16 bits at `offset`, which is even.
    pub fn set_u16(&self, offset: u16, value: u16) {
        self.config.write(self.bdf, offset, Width::Word, value.into());
    }

    /// Writes 32 bits at `offset`, which is a multiple of 4.
    pub fn set_u32(&self, offset: u16, value: u32) {
        self.config.write(self.bdf, offset, Width::Dword, value);
    }

    /// The command register.
    #[must_use]
    pub fn command(&self) -> Command {
        Command::from_bits_retain(self.u16(header::COMMAND))
    }

    /// Writes the command register.
    pub fn set_command(&self, command: Command) {
        self.set_u16(header::COMMAND, command.bits());
    }
}

fn change(config: &impl ConfigAccess, bdf: Bdf, bits: Command, on: bool) -> bool {
    let registers = Registers::new(config, bdf);
    let mut wanted = registers.command();
    wanted.set(bits, on);
    registers.set_command(wanted);
    registers.command().contains(bits) == on
}

/// Lets `bdf` access memory and send interrupts, or stops it. Returns whether the function obeyed.
pub fn set_bus_master(config: &impl ConfigAccess, bdf: Bdf, on: bool) -> bool {
    change(config, bdf, Command::BUS_MASTER, on)
}

/// Lets `bdf` answer memory accesses, or stops it. Returns whether the function obeyed.
pub fn set_memory_decode(config: &impl ConfigAccess, bdf: Bdf, on: bool) -> bool {
    change(config, bdf, Command::MEMORY, on)
}

/// Stops every endpoint from accessing memory: firmware leaves some of them running. Bridges stay on, since they
/// master for those below, and host bridges do not master.
///
/// Returns those that did not obey.
pub fn bus_master_off_everywhere<'a>(
    config: &impl ConfigAccess,
    functions: impl IntoIterator<Item = &'a Function>,
) -> alloc::vec::Vec<Bdf> {
    let endpoints = functions
        .into_iter()
        .filter(|function| function.kind.is_endpoint());
    endpoints
        .map(|function| function.bdf)
        .filter(|&bdf| !set_bus_master(config, bdf, false))
        .collect()
}
