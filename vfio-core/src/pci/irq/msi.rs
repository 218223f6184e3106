//! MSI as a guest programs it (PCI Express Base Specification 6.0, section 7.7.1).

use super::{Message, Signalled, VectorAction, change};

/// MSI's registers, kept for the guest in its [configuration space](crate::pci::vconfig::VirtualConfig).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsiRegisters {
    /// Enabled.
    pub enabled: bool,
    /// Vectors that the guest lets the function use: 1, 2, 4, 8, 16 or 32.
    pub vectors: u8,
    /// The message's address.
    pub address: u64,
    /// The message's data; a vector's number takes the place of its low bits.
    pub data: u16,
    /// Vectors that are masked, a bit each.
    pub mask: u32,
}

impl MsiRegisters {
    /// What `vector` sends; `None` if it is masked or off.
    #[must_use]
    pub fn message(&self, vector: u16) -> Option<Message> {
        let count = u16::from(self.vectors);
        // A number that is no power of two cannot be programmed.
        let low = count.checked_next_power_of_two()?.checked_sub(1)?;
        (self.enabled && vector < count && vector < 32 && self.mask & 1 << vector == 0).then_some(Message {
            address: self.address,
            data: u32::from(self.data & !low | vector),
        })
    }
}

/// The vectors of one function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsiVectors {
    registers: MsiRegisters,
    pending: u32,
}

impl MsiVectors {
    /// The registers are now so.
    pub fn update(&mut self, registers: MsiRegisters, act: &mut dyn FnMut(VectorAction)) {
        let before = core::mem::replace(&mut self.registers, registers);
        // What is switched off forgets what it had to say.
        if !registers.enabled {
            self.pending = 0;
        }
        for vector in 0..32u16 {
            let pending = self.pending & 1 << vector != 0;
            let (before, after) = (before.message(vector), registers.message(vector));
            if change(vector, before, after, pending, act) {
                self.pending &= !(1 << vector);
            }
        }
    }

    /// The function signals `vector`.
    pub fn signal(&mut self, vector: u16) -> Signalled {
        if !self.registers.enabled || vector >= self.registers.vectors.into() || vector >= 32 {
            return Signalled::Lost;
        }
        match self.registers.message(vector) {
            Some(message) => Signalled::Send(message),
            None => {
                self.pending |= 1 << vector;
                Signalled::Pending
            }
        }
    }

    /// Vectors that were signalled while they were masked, a bit each. What the hardware has pending is not in it.
    #[must_use]
    pub const fn pending(&self) -> u32 {
        self.pending
    }

    /// As after a reset.
    pub fn reset(&mut self, act: &mut dyn FnMut(VectorAction)) {
        self.update(MsiRegisters::default(), act);
        self.pending = 0;
    }
}
