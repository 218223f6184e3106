//! QEMU's `edu` device (QEMU, `docs/specs/edu.rst`): a DMA engine with a buffer of 4 KiB.
//!
//! A transfer that covers the whole buffer or leaves it ends QEMU 7.2, so all transfers are [`LEN`] bytes.

use crate::pci::{Address, BarError, Function};
use crate::rt::mmio::Mmio;
use crate::rt::time;

/// Vendor and device id.
pub const ID: (u16, u16) = (0x1234, 0x11e8);

/// Bytes of every transfer.
pub const LEN: usize = 1024;

const IDENTIFICATION: usize = 0x00;
const LIVENESS: usize = 0x04;
const INTERRUPT_RAISE: usize = 0x60;
const INTERRUPT_ACKNOWLEDGE: usize = 0x64;
const DMA_SOURCE: usize = 0x80;
const DMA_DESTINATION: usize = 0x88;
const DMA_COUNT: usize = 0x90;
const DMA_COMMAND: usize = 0x98;

const START: u32 = 1;
const TO_MEMORY: u32 = 2;

/// Where the device's buffer lies in its own address space.
const BUFFER: u64 = 0x4_0000;

/// Milliseconds of sleep between two looks at a transfer, which takes 100 ms of virtual time. A guest that polls without sleep holds
/// up the whole machine where QEMU runs all CPUs in one thread and time counts their instructions.
const NAP: u32 = 10;

/// Looks after which a transfer is given up.
const LOOKS: u32 = 500;

/// The device does not work.
#[derive(Debug, thiserror::Error)]
pub enum EduError {
    /// It does not answer as `edu` does.
    #[error("{0} does not answer as edu: identification {1:#010x}, liveness {2:#010x}")]
    Dead(Address, u32, u32),
    /// A transfer did not end.
    #[error("{0}: a transfer did not end in time")]
    Timeout(Address),
    /// Its registers.
    #[error(transparent)]
    Bar(#[from] BarError),
}

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device reads memory.
    Read,
    /// The device writes memory.
    Write,
}

/// The device.
#[derive(Debug)]
pub struct Edu {
    function: Function,
    registers: Mmio,
}

impl Edu {
    /// Turns the device at `function` on.
    ///
    /// # Errors
    /// It does not answer.
    pub fn start(function: Function) -> Result<Self, EduError> {
        function.enable();
        let registers = function.bar(0)?;
        let probe = 0x5a5a_1234;
        registers.write32(LIVENESS, probe);
        let (identification, liveness) = (registers.read32(IDENTIFICATION), registers.read32(LIVENESS));
        if identification & 0xff != 0xed || liveness != !probe {
            return Err(EduError::Dead(function.address, identification, liveness));
        }
        Ok(Self { function, registers })
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.function.address
    }

    /// The function.
    #[must_use]
    pub const fn function(&self) -> Function {
        self.function
    }

    /// Raises its interrupt once.
    pub fn raise(&self) {
        self.registers.write32(INTERRUPT_RAISE, 1);
        self.registers.write32(INTERRUPT_ACKNOWLEDGE, 1);
    }

    /// Moves [`LEN`] bytes between the start of the device's buffer and memory at `address`.
    ///
    /// # Errors
    /// The transfer does not end.
    pub fn transfer(&self, direction: Direction, address: u64) -> Result<(), EduError> {
        self.begin(direction, address);
        for _ in 0..LOOKS {
            if self.registers.read32(DMA_COMMAND) & START == 0 {
                return Ok(());
            }
            time::sleep(NAP);
        }
        Err(EduError::Timeout(self.function.address))
    }

    /// Begins the same and does not wait.
    pub fn begin(&self, direction: Direction, address: u64) {
        let (source, destination, command) = match direction {
            Direction::Read => (address, BUFFER, START),
            Direction::Write => (BUFFER, address, START | TO_MEMORY),
        };
        self.registers.write64(DMA_SOURCE, source);
        self.registers.write64(DMA_DESTINATION, destination);
        self.registers.write64(DMA_COUNT, LEN as u64);
        self.registers.write32(DMA_COMMAND, command);
    }
}
