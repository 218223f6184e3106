//! One function with what it went through, and the steps that opening, closing and resets share.

use super::{FunctionError, Intx, PowerError, PowerState};
use crate::pci::config::{Function, Registers};
use crate::pci::reset::{Host, ResetError, ResetMethod, SavedConfig, methods, reset_function};
use crate::pci::spec::{Command, msi, msix};

/// What a function went through.
#[derive(Debug)]
pub(super) struct Life {
    /// Nothing has reset it since it was used. At the start nobody knows what firmware did with it.
    pub(super) needs_reset: bool,
    /// Whether its own reset worked when it was last tried.
    pub(super) reset_works: Option<bool>,
    pub(super) enabled: Option<Enabled>,
    /// Its configuration, while it is in a state in which it loses it.
    pub(super) asleep: Option<SavedConfig>,
    /// Its configuration when it last answered, for the case that a reset brings it back to life.
    pub(super) last_good: Option<SavedConfig>,
}

impl Life {
    pub(super) const NEW: Self = Self {
        needs_reset: true,
        reset_works: None,
        enabled: None,
        asleep: None,
        last_good: None,
    };
}

/// What is known of a function while it is open.
#[derive(Debug)]
pub(super) struct Enabled {
    /// Its configuration before an owner saw it.
    pub(super) saved: SavedConfig,
    pub(super) intx: Intx,
}

/// A function that can be assigned, with its state. Methods wait, so no lock is held around them.
#[derive(Debug)]
pub struct AssignedFunction<'f> {
    pub(super) function: &'f Function,
    pub(super) life: Life,
}

impl<'f> AssignedFunction<'f> {
    /// A function that nobody has used yet, as discovery found it.
    #[must_use]
    pub const fn new(function: &'f Function) -> Self {
        Self {
            function,
            life: Life::NEW,
        }
    }

    /// What discovery found.
    #[must_use]
    pub const fn function(&self) -> &'f Function {
        self.function
    }

    /// Whether it is open.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.life.enabled.is_some()
    }

    /// Whether nothing has reset it since it was last used.
    #[must_use]
    pub const fn needs_reset(&self) -> bool {
        self.life.needs_reset
    }

    /// Whether it can be reset alone: it has a method, and the last try did not fail. `port` is as for [`methods`].
    pub fn can_reset(&self, host: &impl Host, port: Option<&Function>) -> bool {
        self.life.reset_works != Some(false) && methods(host, self.function, port).next().is_some()
    }

    /// Whether it answers as itself.
    ///
    /// # Errors
    /// It is gone or has changed.
    pub fn alive(&self, host: &impl Host) -> Result<(), ResetError> {
        crate::pci::reset::alive(host, self.function)
    }

    /// Turns bus mastering, MSI and MSI-X off and masks INTx. A function that is quiet stays as it is.
    ///
    /// # Errors
    /// It is gone, or goes on mastering the bus.
    pub fn quiesce(&self, host: &impl Host) -> Result<(), FunctionError> {
        let registers = Registers::new(host, self.function.bdf);
        let command = registers.command();
        if command.bits() == u16::MAX {
            return Err(ResetError::Gone(self.function.bdf).into());
        }
        registers.set_command((command - Command::BUS_MASTER) | Command::INTX_DISABLE);
        self.silence(host);
        if registers.command().contains(Command::BUS_MASTER) {
            Err(FunctionError::KeepsMastering(self.function.bdf))
        } else {
            Ok(())
        }
    }

    /// Turns MSI and MSI-X off.
    pub fn silence(&self, host: &impl Host) {
        let registers = Registers::new(host, self.function.bdf);
        if let Some(found) = &self.function.msi {
            let control = registers.u16(found.offset + msi::CONTROL);
            registers.set_u16(found.offset + msi::CONTROL, control & !msi::ENABLE);
        }
        if let Some(found) = &self.function.msix {
            let control = registers.u16(found.offset + msix::CONTROL);
            let quiet = control & !msix::ENABLE | msix::FUNCTION_MASK;
            registers.set_u16(found.offset + msix::CONTROL, quiet);
        }
    }

    /// Resets the function alone, and gives it the configuration that it has now. It is in D0 and quiet afterwards.
    /// Whoever shows its registers to an owner takes them away meanwhile.
    ///
    /// # Errors
    /// It has no reset, or is open and its reset did not work before; it does not wake up; or the reset failed. It needs
    /// a reset still.
    pub fn reset(&mut self, host: &impl Host, port: Option<&Function>) -> Result<ResetMethod, FunctionError> {
        let hopeless = self.is_enabled() && self.life.reset_works == Some(false);
        if hopeless || methods(host, self.function, port).next().is_none() {
            return Err(FunctionError::NoReset(self.function.bdf));
        }
        let saved = self.copy_for_reset(host)?;
        // One that goes on mastering is what a reset is for.
        let _ = self.quiesce(host);
        let done = reset_function(host, self.function, port, &saved);
        self.note_reset(&done);
        Ok(done?)
    }

    /// Takes the function to D0 and copies the configuration to put back. A function that does not answer has none to
    /// copy, and a reset may yet bring it back: what it had when it last answered is taken then.
    pub(super) fn copy_for_reset(&mut self, host: &impl Host) -> Result<SavedConfig, FunctionError> {
        let copy = match self.set_power_state(host, PowerState::D0) {
            Ok(_) => SavedConfig::read(host, self.function),
            Err(PowerError::Lost(error)) => Err(error),
            Err(error) => return Err(error.into()),
        };
        match (copy, &self.life.last_good) {
            (Ok(saved), _) => {
                self.life.last_good = Some(saved.clone());
                Ok(saved)
            }
            (Err(ResetError::Gone(_)), Some(saved)) => Ok(saved.clone()),
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Takes note of a try to reset the function alone.
    pub(super) fn note_reset(&mut self, done: &Result<ResetMethod, ResetError>) {
        match done {
            Ok(_) => {
                self.life.reset_works = Some(true);
                self.life.needs_reset = false;
                self.life.asleep = None;
            }
            // Transactions that are pending now may end by the next time.
            Err(ResetError::Pending(_)) => {}
            Err(_) => self.life.reset_works = Some(false),
        }
    }
}
