//! INTx: whether a function can mask it itself, which decides whether it may share its line.

use super::AssignedFunction;
use crate::pci::config::{Function, Registers};
use crate::pci::reset::{Host, ResetError};
use crate::pci::spec::Command;

/// What a function's INTx is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intx {
    /// There is none, or it is broken.
    #[default]
    None,
    /// The function masks it itself (PCI 2.3), so that others may be on its line.
    Maskable,
    /// Only masking the line masks it: nobody else may be on it.
    Exclusive,
}

/// Finds out by toggling the mask. It is as before afterwards.
///
/// # Errors
/// More of the command register changes than the mask, or it does not go back.
pub(super) fn probe(host: &impl Host, function: &Function) -> Result<Intx, ResetError> {
    if function.interrupt_pin == 0 {
        return Ok(Intx::None);
    }
    let registers = Registers::new(host, function.bdf);
    let before = registers.command();
    registers.set_command(before ^ Command::INTX_DISABLE);
    let toggled = before ^ registers.command();
    registers.set_command(before);
    if registers.command() != before || !Command::INTX_DISABLE.contains(toggled) {
        return Err(ResetError::NotRestored {
            function: function.bdf,
            offset: crate::pci::spec::header::COMMAND,
        });
    }
    let maskable = toggled == Command::INTX_DISABLE;
    Ok(if maskable && host.intx_is_broken(function) {
        Intx::None
    } else if maskable {
        Intx::Maskable
    } else {
        Intx::Exclusive
    })
}

impl AssignedFunction<'_> {
    /// What its INTx is good for, as its opening found out; nothing while it is not enabled.
    #[must_use]
    pub fn intx(&self) -> Intx {
        self.life
            .enabled
            .as_ref()
            .map_or(Intx::None, |enabled| enabled.intx)
    }

    /// Masks INTx in the function, or unmasks it. Returns whether it obeyed: one that is [`Intx::Exclusive`] does not.
    pub fn mask_intx(&self, host: &impl Host, masked: bool) -> bool {
        let registers = Registers::new(host, self.function.bdf);
        let mut command = registers.command();
        command.set(Command::INTX_DISABLE, masked);
        registers.set_command(command);
        registers.command().contains(Command::INTX_DISABLE) == masked
    }
}
