//! Configuration space through ECAM (PCI Express 6.0, section 7.2.2), and the functions that are there.
#![expect(unsafe_code, reason = "owns the configuration space")]

use core::fmt;
use core::ops::RangeInclusive;

use crate::rt::mmio::Mmio;
use crate::rt::time;

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

/// Id of the PCI Express capability, registers and bits of it (section 7.5.3).
const EXPRESS: u8 = 0x10;
const DEVICE_CAPABILITIES: usize = 4;
const CAN_RESET: u32 = 1 << 28;
const DEVICE_CONTROL: usize = 8;
const RESET: u16 = 1 << 15;
/// How long a function may not answer after a reset, in ms.
const RESET_TIME: u32 = 100;
/// Id of the power management capability, register and bits of it (section 7.5.2).
const POWER: u8 = 1;
const POWER_CONTROL: usize = 4;
const D3HOT: u16 = 3;
/// How long a change of power state may take, in ms.
const POWER_TIME: u32 = 10;

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
    pub(crate) fn without_memory<T>(&self, work: impl FnOnce() -> T) -> T {
        let command = self.command();
        self.set_command(command & !MEMORY);
        let result = work();
        self.set_command(command);
        result
    }

    /// Resets the function by function level reset (PCI Express 6.0, section 6.6.2). Afterwards it is as after power on, but its BARs
    /// are where they were: this machine has nobody else to assign them. `false` if it has no such reset.
    #[must_use]
    pub fn reset(&self) -> bool {
        let Some(express) = self.capability(EXPRESS) else {
            return false;
        };
        if self.config.read32(express + DEVICE_CAPABILITIES) & CAN_RESET == 0 {
            return false;
        }
        let control = self.config.read16(express + DEVICE_CONTROL);
        self.config.write16(express + DEVICE_CONTROL, control | RESET);
        time::sleep(RESET_TIME);
        true
    }

    /// Sleeps in D3hot and wakes up again. `false` if it has no power management, or does not obey.
    #[must_use]
    pub fn nap(&self) -> bool {
        let Some(control) = self.capability(POWER).map(|power| power + POWER_CONTROL) else {
            return false;
        };
        let to = |state: u16| {
            let others = self.config.read16(control) & !D3HOT;
            self.config.write16(control, others | state);
            time::sleep(POWER_TIME);
            self.config.read16(control) & D3HOT == state
        };
        let slept = to(D3HOT);
        to(0) && slept
    }

    /// Whether the function answers accesses to its memory.
    #[must_use]
    pub fn decodes(&self) -> bool {
        self.command() & MEMORY != 0
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
