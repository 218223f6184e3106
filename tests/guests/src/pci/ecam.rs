//! Configuration space through ECAM (PCI Express 6.0, section 7.2.2), and the functions that are there.
#![expect(unsafe_code, reason = "owns the configuration space")]

use core::fmt;
use core::ops::RangeInclusive;

use crate::rt::mmio::Mmio;

/// Bytes of a function's configuration space.
const FUNCTION: usize = 4096;

/// Bytes of a bus.
const BUS: usize = 256 * FUNCTION;

const ID: usize = 0x00;
const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const CLASS: usize = 0x08;
const HEADER_TYPE: usize = 0x0e;
const CAPABILITIES: usize = 0x34;

const MEMORY: u16 = 1 << 1;
const BUS_MASTER: u16 = 1 << 2;
const INTX_OFF: u16 = 1 << 10;
const HAS_CAPABILITIES: u16 = 1 << 4;
const MULTI_FUNCTION: u8 = 1 << 7;

/// Capabilities fit into 192 bytes at 4 each: a longer list goes in circles.
const MOST_CAPABILITIES: usize = 48;

/// Configuration space.
#[derive(Debug)]
pub struct Ecam {
    window: Mmio,
    buses: RangeInclusive<u8>,
}

/// The configuration space cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the PCI configuration space at {0:#x} does not lie in the mapped 4 GiB")]
pub struct EcamError(u64);

/// Bus, device, function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Bus.
    pub bus: u8,
    /// Device, 0 to 31.
    pub device: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

impl Ecam {
    /// The configuration space of `buses`; `base` is that of bus 0.
    ///
    /// # Errors
    /// It lies beyond what is mapped.
    pub fn new(base: u64, buses: RangeInclusive<u8>) -> Result<Self, EcamError> {
        let len = (usize::from(*buses.end()) + 1) * BUS;
        if base == 0 || base.checked_add(len as u64).is_none_or(|end| end > 1 << 32) {
            return Err(EcamError(base));
        }
        // SAFETY: mapped, and ACPI says that it is the configuration space, which this program alone uses.
        let window = unsafe { Mmio::new(base as usize, len) };
        Ok(Self { window, buses })
    }

    /// Every function, in order.
    pub fn functions(&self) -> impl Iterator<Item = Function> + '_ {
        self.buses
            .clone()
            .flat_map(|bus| (0..32).map(move |device| (bus, device)))
            .flat_map(move |(bus, device)| {
                let at = move |function| Address {
                    bus,
                    device,
                    function,
                };
                let first = self.function(at(0));
                let more =
                    first.is_some_and(|function| function.config.read8(HEADER_TYPE) & MULTI_FUNCTION != 0);
                let rest =
                    (1..if more { 8 } else { 1 }).filter_map(move |function| self.function(at(function)));
                first.into_iter().chain(rest)
            })
    }

    /// The whole window, for programs that misuse it.
    #[must_use]
    pub const fn window(&self) -> &Mmio {
        &self.window
    }

    fn function(&self, address: Address) -> Option<Function> {
        let slot = usize::from(address.device) << 3 | usize::from(address.function);
        let config = self
            .window
            .part(usize::from(address.bus) * BUS + slot * FUNCTION, FUNCTION)?;
        (config.read16(ID) != 0xffff).then_some(Function { address, config })
    }
}

/// A function that is there.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Where.
    pub address: Address,
    /// Its configuration space.
    pub config: Mmio,
}

impl Function {
    /// Vendor and device id.
    #[must_use]
    pub fn id(&self) -> (u16, u16) {
        (self.config.read16(ID), self.config.read16(ID + 2))
    }

    /// Base class, sub-class and programming interface in bits 23:0.
    #[must_use]
    pub fn class(&self) -> u32 {
        self.config.read32(CLASS) >> 8
    }

    /// Lets the function decode memory and master the bus, with its interrupt pin off.
    pub fn enable(&self) {
        self.set_command(self.command() | MEMORY | BUS_MASTER | INTX_OFF);
    }

    /// Takes bus mastership away.
    pub fn quiesce(&self) {
        self.set_command(self.command() & !BUS_MASTER);
    }

    /// Runs `work` while the function decodes no memory.
    pub(super) fn without_memory<T>(&self, work: impl FnOnce() -> T) -> T {
        let command = self.command();
        self.set_command(command & !MEMORY);
        let result = work();
        self.set_command(command);
        result
    }

    /// Offset of the capability `id`; the walk is bounded.
    #[must_use]
    pub fn capability(&self, id: u8) -> Option<usize> {
        if self.config.read16(STATUS) & HAS_CAPABILITIES == 0 {
            return None;
        }
        let mut at = usize::from(self.config.read8(CAPABILITIES) & !3);
        for _ in 0..MOST_CAPABILITIES {
            if at < 0x40 {
                return None;
            }
            if self.config.read8(at) == id {
                return Some(at);
            }
            at = usize::from(self.config.read8(at + 1) & !3);
        }
        None
    }

    fn command(&self) -> u16 {
        self.config.read16(COMMAND)
    }

    fn set_command(&self, value: u16) {
        self.config.write16(COMMAND, value);
    }
}
