//! Resets that nobody announced: by the guest through a register of its own device, or by firmware.
//!
//! After one, the hardware decodes nothing and its BARs are zero, while the guest thinks that nothing happened. Turned on again
//! like that it would answer at address zero. So the BARs are put back first.

use super::{Effect, VirtualConfig};
use crate::pci::config::{ConfigAccess, Registers};
use crate::pci::spec::{Command, header};

impl VirtualConfig {
    /// Looks whether the hardware was reset behind our back, and restores its BARs and its decoding if so.
    ///
    /// Returns [`Effect::Restored`], [`Effect::Gone`] if nothing answers, or `None` if all is well. The effect
    /// [`Effect::Restored`] also comes from a write to the command register, before memory is turned on.
    pub fn check_reset<C: ConfigAccess + ?Sized>(&mut self, config: &C) -> Option<Effect> {
        let (memory, io) = self.decode();
        let mut on = Command::empty();
        on.set(Command::MEMORY, memory);
        on.set(Command::IO, io);
        self.repair(config, on)
    }

    /// The same, where decoding should be `on`.
    pub(super) fn repair<C: ConfigAccess + ?Sized>(&mut self, config: &C, on: Command) -> Option<Effect> {
        let hardware = Registers::new(config, self.bdf);
        let physical = hardware.command();
        if physical.bits() == u16::MAX {
            return Some(Effect::Gone);
        }
        // A virtual function's registers are its physical function's.
        if self.virtual_function {
            return None;
        }
        let decode = on & (Command::MEMORY | Command::IO);
        let lost = !physical.contains(decode) || self.bars_differ(config);
        if !lost {
            return None;
        }
        hardware.set_command(physical - (Command::MEMORY | Command::IO));
        for (register, saved) in registers().zip(self.saved) {
            // What was zero is not there, or was nowhere.
            if saved != 0 {
                hardware.set_u32(register, saved);
            }
        }
        hardware.set_command(self.wanted_command(physical));
        self.restored = self.restored.saturating_add(1);
        Some(Effect::Restored)
    }

    fn bars_differ<C: ConfigAccess + ?Sized>(&self, config: &C) -> bool {
        let hardware = Registers::new(config, self.bdf);
        let mut bars = registers().zip(self.saved).take(6);
        bars.any(|(register, saved)| saved != 0 && hardware.u32(register) != saved)
    }
}

/// The six base address registers and the ROM's.
pub(super) fn registers() -> impl Iterator<Item = u16> {
    (header::BAR0..header::BAR0 + 24)
        .step_by(4)
        .chain([header::ROM_ENDPOINT])
}
