//! Resets and power states of an open function, and when its owner sees its BARs.

use super::{BarAccess, PciDevice};
use crate::fault::Fault;
use crate::pci::config::Width;
use crate::pci::device::{Exposure, FunctionError, NotExposed, PowerState};
use crate::pci::irq::IrqBackend;
use crate::pci::reset::Host;
use crate::pci::spec::header;
use crate::pci::vconfig;

impl<H: Host, M: BarAccess, E: Exposure, B: IrqBackend> PciDevice<'_, H, M, E, B> {
    /// Takes the BARs from the owner.
    ///
    /// # Errors
    /// They cannot be taken; the owner still has them.
    pub(super) fn hide(&mut self) -> Result<(), Fault> {
        if self.shown {
            self.machine.exposure.withdraw(self.function.bdf)?;
            self.shown = false;
        }
        Ok(())
    }

    /// Gives the owner the BARs back, if memory is decoded and the function is in D0.
    pub(super) fn show(&mut self) {
        let (memory, _) = self.config.decode();
        if memory && self.power == PowerState::D0 && !self.shown {
            self.machine.exposure.give_back(self.function.bdf);
            self.shown = true;
        }
    }

    /// Resets the function alone. Its configuration space is as when it was opened, with its BARs where they were; MSI and
    /// MSI-X are off; an INTx that the owner has asked for goes on.
    pub(super) fn reset_function(&mut self) -> Result<(), Fault> {
        let (table, host, bdf) = (self.machine.table, self.machine.host, self.function.bdf);
        if !table.can_reset(host, bdf)? {
            return Err(FunctionError::NoReset(bdf).into());
        }
        self.hide()?;
        self.forget_vectors();
        let done = table.reset(host, bdf, &NotExposed);
        // Also where it failed: then nobody knows, and the owner starts anew with what there is.
        self.config.reset();
        self.see_power();
        self.line_freed();
        let told = self.tell_command();
        self.show();
        done?;
        told
    }

    /// Goes to a power state, as the owner asks for.
    pub(super) fn set_power(&mut self, state: vconfig::PowerState) -> Result<(), Fault> {
        let (table, host, bdf) = (self.machine.table, self.machine.host, self.function.bdf);
        let wanted = PowerState::from_bits(state as u16);
        if wanted != PowerState::D0 {
            self.hide()?;
        }
        let changed = table.set_power_state(host, bdf, wanted, &NotExposed);
        self.see_power();
        if changed?.lost_state {
            // What the owner wrote meanwhile was lost with the rest.
            self.tell_command()?;
            let _ = self.program_again();
        }
        Ok(())
    }

    /// Takes note of the state that the function is in: one that does not go where it is told is where it is, and one that
    /// does not answer shows nothing to anybody.
    fn see_power(&mut self) {
        let (table, host) = (self.machine.table, self.machine.host);
        let found = table.with(self.function.bdf, |function| function.power_state(host));
        self.power = match found {
            Ok(Ok(state)) => state,
            _ => PowerState::D3hot,
        };
        let now = vconfig::PowerState::from_bits(self.power as u16);
        self.config.set_power_state(now);
    }

    /// Brings the command register as the owner sees it to hardware that has lost its own.
    fn tell_command(&mut self) -> Result<(), Fault> {
        let host = self.machine.host;
        let at = header::COMMAND;
        let written = self
            .config
            .read(host, at, Width::Word)
            .and_then(|now| self.config.write(host, at, Width::Word, now));
        match written {
            Ok(effects) if effects.contains(&vconfig::Effect::Gone) => Err(Fault::Gone),
            _ => Ok(()),
        }
    }
}
