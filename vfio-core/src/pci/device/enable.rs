//! Opening a function: what is done before an owner sees it.

use super::function::Enabled;
use super::{AssignedFunction, FunctionError, PowerState, intx};
use crate::pci::config::{Function, Registers};
use crate::pci::reset::{Host, ResetError, SavedConfig, reset_function};
use crate::pci::spec::{Command, msix};

impl AssignedFunction<'_> {
    /// Makes the function ready for an owner: in D0, quiet, reset if it can be and was used, with a copy of its
    /// configuration and knowledge of its interrupts. It decodes as it did, with INTx masked and bus mastering off.
    ///
    /// A reset that does not work does not keep the function from being opened as long as it answers: whether a function
    /// that nothing resets may go to another owner is decided by [`CohortTable`](crate::lease::CohortTable).
    ///
    /// # Errors
    /// [`FunctionError`]: it is open already, or misbehaves. It is as it was then, but for bus mastering, which is off
    /// as far as it obeys, and for a reset that did work.
    pub fn enable(&mut self, host: &impl Host, port: Option<&Function>) -> Result<(), FunctionError> {
        if self.life.enabled.is_some() {
            return Err(FunctionError::Enabled(self.function.bdf));
        }
        self.alive(host)?;
        let command = Registers::new(host, self.function.bdf).command();
        let power = self.power_state(host)?;
        match self.bring_up(host, port) {
            Ok(enabled) => {
                self.life.last_good = Some(enabled.saved.clone());
                self.life.enabled = Some(enabled);
                Ok(())
            }
            Err(error) => {
                self.back(host, command, power);
                Err(error)
            }
        }
    }

    fn bring_up(&mut self, host: &impl Host, port: Option<&Function>) -> Result<Enabled, FunctionError> {
        self.set_power_state(host, PowerState::D0)?;
        // Before the copy is made, so that the copy is of a quiet function.
        self.quiesce(host)?;
        // One that was reset since it was last used is clean.
        self.life.reset_works = self.life.reset_works.filter(|works| *works);
        if self.life.needs_reset && self.can_reset(host, port) {
            let saved = SavedConfig::read(host, self.function)?;
            let done = reset_function(host, self.function, port, &saved);
            self.note_reset(&done);
            // If it did not work, whether the function can be used all the same shows below.
        }
        let saved = SavedConfig::read(host, self.function)?;
        let intx = intx::probe(host, self.function)?;
        self.check_msix(host)?;
        if Registers::new(host, self.function.bdf)
            .command()
            .contains(Command::BUS_MASTER)
        {
            return Err(FunctionError::KeepsMastering(self.function.bdf));
        }
        self.alive(host)?;
        Ok(Enabled { saved, intx })
    }

    /// The table must be where discovery found it inside a BAR, since that is where the hypervisor writes messages.
    fn check_msix(&self, host: &impl Host) -> Result<(), FunctionError> {
        let Some(found) = &self.function.msix else {
            return Ok(());
        };
        let registers = Registers::new(host, self.function.bdf);
        let vectors = (registers.u16(found.offset + msix::CONTROL) & msix::SIZE_MASK) + 1;
        let is_at = |register: u16, location: &crate::pci::config::TableLocation| {
            registers.u32(found.offset + register) == location.offset | u32::from(location.bar)
        };
        if vectors == found.vectors && is_at(msix::TABLE, &found.table) && is_at(msix::PBA, &found.pending) {
            Ok(())
        } else if self.alive(host).is_err() {
            Err(ResetError::Gone(self.function.bdf).into())
        } else {
            Err(FunctionError::MsixMoved(self.function.bdf))
        }
    }

    /// Undoes an opening that failed, as far as the function plays along.
    fn back(&mut self, host: &impl Host, command: Command, power: PowerState) {
        if self.alive(host).is_err() {
            return;
        }
        Registers::new(host, self.function.bdf).set_command(command - Command::BUS_MASTER);
        if power != PowerState::D0 {
            let _ = self.set_power_state(host, power);
        }
    }
}
