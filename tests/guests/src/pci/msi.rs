//! MSI (PCI Express 6.0, section 7.7.1) with one vector: an interrupt of a function by a write to the local APIC.

use super::{Address, Function};
use crate::rt::apic;

const CAPABILITY: u8 = 0x05;
const CONTROL: usize = 2;
const ADDRESS: usize = 4;

const ENABLE: u16 = 1;
/// Vectors that are enabled, a power of two.
const VECTORS: u16 = 0b111 << 4;
const WITH_64_BITS: u16 = 1 << 7;

/// Where a message goes, as for MSI-X.
const MESSAGE_ADDRESS: u32 = 0xfee0_0000;

/// The function has no MSI.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no MSI")]
pub struct NoMsi(Address);

/// The MSI of one function, on.
#[derive(Debug)]
pub struct Msi {
    function: Function,
    control: usize,
}

impl Msi {
    /// Has `function` send `vector` to this CPU.
    ///
    /// # Errors
    /// It has no MSI.
    pub fn enable(function: Function, vector: u8) -> Result<Self, NoMsi> {
        let capability = function.capability(CAPABILITY).ok_or(NoMsi(function.address))?;
        let control = capability + CONTROL;
        let word = function.config.read16(control) & !(ENABLE | VECTORS);
        let address = MESSAGE_ADDRESS | u32::from(apic::id()) << 12;
        function.config.write32(capability + ADDRESS, address);
        let data = if word & WITH_64_BITS != 0 {
            function.config.write32(capability + ADDRESS + 4, 0);
            capability + ADDRESS + 8
        } else {
            capability + ADDRESS + 4
        };
        function.config.write16(data, vector.into());
        function.config.write16(control, word | ENABLE);
        Ok(Self { function, control })
    }

    /// Turns it off.
    pub fn disable(&self) {
        let word = self.function.config.read16(self.control);
        self.function.config.write16(self.control, word & !ENABLE);
    }
}
