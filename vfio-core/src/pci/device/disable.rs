//! Closing a function: what is done when its owner is gone.

use super::{AssignedFunction, FunctionError, PowerState};
use crate::pci::config::{Function, Registers};
use crate::pci::reset::{Host, ResetError, ResetMethod, reset_function};
use crate::pci::spec::Command;

/// When a function that is being closed is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastReset {
    /// At once, alone, if it can be.
    Now,
    /// By the caller, who resets it or its whole set afterwards; until then it needs a reset.
    Later,
}

/// A function that was closed: quiet, decoding nothing, with the configuration that it had when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disabled {
    /// How its reset went, if one was tried. If it did not work the function needs one still.
    pub reset: Option<Result<ResetMethod, ResetError>>,
}

impl AssignedFunction<'_> {
    /// Takes the function back. Every step is done even if one before failed; it counts as closed in any case, and needs
    /// a reset unless one worked. Whoever showed its registers to an owner has taken them away before.
    ///
    /// # Errors
    /// It is not open; or it is not quiet afterwards: gone, changed, mastering the bus, or not taking its configuration.
    pub fn disable(
        &mut self,
        host: &impl Host,
        port: Option<&Function>,
        when: LastReset,
    ) -> Result<Disabled, FunctionError> {
        let Some(enabled) = self.life.enabled.take() else {
            return Err(FunctionError::NotEnabled(self.function.bdf));
        };
        self.life.needs_reset = true;
        // A reset needs D0. What the owner left in D3hot comes back with the owner's configuration, for a moment.
        let awake = self.set_power_state(host, PowerState::D0);
        self.life.asleep = None;
        let quiet = self.quiesce(host);
        let registers = Registers::new(host, self.function.bdf);
        registers.set_command(Command::INTX_DISABLE);
        let mut reset = None;
        if when == LastReset::Now && self.can_reset(host, port) {
            let done = reset_function(host, self.function, port, &enabled.saved);
            self.note_reset(&done);
            reset = Some(done);
        }
        let restored = if matches!(reset, Some(Ok(_))) {
            registers.set_command(Command::INTX_DISABLE);
            Ok(())
        } else {
            enabled
                .saved
                .restore_as(host, self.function, Command::INTX_DISABLE)
        };
        // A reset cures what did not obey before.
        if !matches!(reset, Some(Ok(_))) {
            awake?;
            quiet?;
        }
        self.alive(host)?;
        restored?;
        if registers.command().contains(Command::BUS_MASTER) {
            return Err(FunctionError::KeepsMastering(self.function.bdf));
        }
        Ok(Disabled { reset })
    }
}
