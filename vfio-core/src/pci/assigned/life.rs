//! Resets and power states of an open function, and when and where its owner sees its BARs.

use super::{Hardware, OpenFunction};
use crate::fault::Fault;
use crate::pci::config::Width;
use crate::pci::device::PowerState;
use crate::pci::irq::IrqKind;
use crate::pci::spec::header;
use crate::pci::vconfig::Effect;

impl OpenFunction {
    /// Takes the BARs from the owner.
    ///
    /// # Errors
    /// The first that cannot be taken; the owner still has it.
    pub fn hide<H: Hardware>(&mut self, hardware: &mut H) -> Result<(), Fault> {
        let mut result = Ok(());
        for (bar, placed) in self.config.bars().iter().zip(&mut self.placed) {
            if let Some(at) = *placed {
                let gone = hardware.unmap(&bar.host, at);
                if gone.is_ok() {
                    *placed = None;
                }
                result = result.and(gone);
            }
        }
        result
    }

    /// Has each memory BAR and the ROM answer where it is to: where the owner has put it, if memory is decoded and the function is in D0,
    /// and nowhere else. Done after each write to configuration space; a hypervisor calls it once at first, and where something that was
    /// in a BAR's way has gone.
    ///
    /// # Errors
    /// The first that cannot be taken from where it was; the owner still has it there.
    pub fn show<H: Hardware>(&mut self, hardware: &mut H) -> Result<(), Fault> {
        let awake = self.power == PowerState::D0;
        let mut result = Ok(());
        let bars = self.config.bars().iter().map(|bar| &bar.host);
        for (bar, placed) in bars.zip(&mut self.placed).filter(|(bar, _)| bar.is_memory()) {
            let asked = self.config.bar_asked(bar.index).filter(|_| awake);
            let wanted = asked.filter(|at| self.config.may_answer(bar, *at));
            if *placed == wanted {
                // Nothing changes, unless it is where it may not be.
            } else if let Some(at) = *placed {
                let gone = hardware.unmap(bar, at);
                result = result.and(gone);
                if gone.is_err() {
                    continue;
                }
                *placed = None;
            }
            match (wanted, asked) {
                (Some(at), _) if placed.is_none() => {
                    *placed = hardware.map(bar, at).is_ok().then_some(at);
                }
                (None, Some(at)) => hardware.misplaced(bar, at),
                _ => {}
            }
        }
        result
    }

    /// Resets the function alone. Its owner finds it as after a reset by hardware: it decodes nothing and masters no bus, MSI and MSI-X are
    /// off and forgotten. Its BARs are where the owner had put them, and an INTx that the owner has asked for goes on.
    ///
    /// # Errors
    /// It cannot be reset alone ([`Fault::Unknown`]), the owner's mappings do not go, or the reset did not work. In the last case all is as
    /// if it had, as far as the function obeys.
    pub fn reset<H: Hardware>(&mut self, hardware: &mut H) -> Result<(), Fault> {
        if !hardware.can_reset() {
            return Err(Fault::Unknown);
        }
        self.hide(hardware)?;
        self.forget_vectors(hardware);
        let done = hardware.reset();
        self.config.reset();
        self.see_power(hardware);
        self.line_freed(hardware);
        let told = self.set_command(hardware, 0);
        self.line_goes_on(hardware);
        done.and(told)
    }

    /// Goes to a power state, as the owner asks for. Where the function loses its state on the way, it gets back what the owner had
    /// programmed, but for bus mastering.
    pub(super) fn set_power<H: Hardware>(
        &mut self,
        hardware: &mut H,
        state: PowerState,
    ) -> Result<(), Fault> {
        if state != PowerState::D0 {
            self.hide(hardware)?;
        }
        let changed = hardware.set_power_state(state);
        self.see_power(hardware);
        if changed? {
            // What the owner wrote meanwhile was lost with the rest.
            let at = header::COMMAND;
            let now = self.config.read(hardware.config(), at, Width::Word).unwrap_or(0);
            self.set_command(hardware, now)?;
            let _ = self.program_again(hardware);
            self.line_goes_on(hardware);
        }
        if self.power == PowerState::D0 {
            // A guest that cannot have its vectors finds them off.
            let _ = self.programmed_meanwhile(hardware);
        }
        Ok(())
    }

    fn line_goes_on<H: Hardware>(&self, hardware: &mut H) {
        if self.irqs.active() == Some(IrqKind::Intx) {
            hardware.line_goes_on();
        }
    }

    /// Takes note of the state that the function is in: one that does not go where it is told is where it is, and one that
    /// does not answer shows nothing to anybody.
    fn see_power<H: Hardware>(&mut self, hardware: &mut H) {
        self.power = hardware.power_state().unwrap_or(PowerState::D3hot);
        self.config.set_power_state(self.power);
    }

    /// Writes the command register as its owner would, for hardware that has lost its own.
    fn set_command<H: Hardware>(&mut self, hardware: &H, command: u32) -> Result<(), Fault> {
        let written = self
            .config
            .write(hardware.config(), header::COMMAND, Width::Word, command);
        match written {
            Ok(effects) if effects.contains(&Effect::Gone) => Err(Fault::Gone),
            _ => Ok(()),
        }
    }
}
