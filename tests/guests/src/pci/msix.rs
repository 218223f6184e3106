//! MSI-X (PCI Express 6.0, section 7.7.2): interrupts of a function by writes to the local APIC.

use super::{Address, BarError, Function};
use crate::rt::apic;
use crate::rt::mmio::Mmio;

const CAPABILITY: u8 = 0x11;
const CONTROL: usize = 2;
const TABLE: usize = 4;

const ENABLE: u16 = 1 << 15;
const MASK_ALL: u16 = 1 << 14;
const TABLE_SIZE: u16 = 0x7ff;

/// Bytes of a table entry: address low, address high, data, control.
const ENTRY: usize = 16;
const MASKED: u32 = 1;

/// Where a message goes: the local APIC with the id in bits 19:12, physical destination (Intel SDM volume 3,
/// section 12.11.1).
const MESSAGE_ADDRESS: u32 = 0xfee0_0000;

/// The MSI-X of one function.
#[derive(Debug)]
pub struct MsiX {
    function: Function,
    control: usize,
    table: Mmio,
}

/// MSI-X cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MsiXError {
    /// The function has none.
    #[error("{0} has no MSI-X")]
    Absent(Address),
    /// Its table is not in its BAR.
    #[error("{0}: the MSI-X table reaches beyond its BAR")]
    Table(Address),
    /// There is no such entry.
    #[error("MSI-X entry {entry} of {entries}")]
    Entry {
        /// Which was asked for.
        entry: usize,
        /// How many there are.
        entries: usize,
    },
    /// The BAR of the table.
    #[error(transparent)]
    Bar(#[from] BarError),
}

impl MsiX {
    /// The MSI-X of `function`, with every entry masked and delivery on.
    ///
    /// # Errors
    /// There is none, or its table is not where it should be.
    pub fn enable(function: Function) -> Result<Self, MsiXError> {
        let capability = function
            .capability(CAPABILITY)
            .ok_or(MsiXError::Absent(function.address))?;
        let control = capability + CONTROL;
        let word = function.config.read16(control);
        let location = function.config.read32(capability + TABLE);
        let entries = usize::from(word & TABLE_SIZE) + 1;
        let table = function
            .bar((location & 7) as usize)?
            .part((location & !7) as usize, entries * ENTRY)
            .ok_or(MsiXError::Table(function.address))?;
        function.config.write16(control, word | ENABLE | MASK_ALL);
        for entry in 0..entries {
            table.write32(entry * ENTRY + 12, MASKED);
        }
        function.config.write16(control, word & !MASK_ALL | ENABLE);
        Ok(Self {
            function,
            control,
            table,
        })
    }

    /// Entries of the table.
    #[must_use]
    pub const fn entries(&self) -> usize {
        self.table.len() / ENTRY
    }

    /// Routes `entry` to `vector` of the CPU that [`apic::message_target`] names and unmasks it.
    ///
    /// # Errors
    /// There is no such entry.
    pub fn route(&self, entry: usize, vector: u8) -> Result<(), MsiXError> {
        let entries = self.entries();
        if entry >= entries {
            return Err(MsiXError::Entry { entry, entries });
        }
        let at = entry * ENTRY;
        self.table
            .write32(at, MESSAGE_ADDRESS | u32::from(apic::message_target()) << 12);
        self.table.write32(at + 4, 0);
        self.table.write32(at + 8, u32::from(vector));
        self.table.write32(at + 12, 0);
        Ok(())
    }

    /// Whether delivery is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.function.config.read16(self.control) & ENABLE == 0
    }

    /// Turns delivery off.
    pub fn disable(&self) {
        let word = self.function.config.read16(self.control);
        self.function.config.write16(self.control, word & !ENABLE);
    }
}
