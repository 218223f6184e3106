//! Whether a function is there, and is what discovery found.

use super::{ANSWER_LIMIT, ResetError, until};
use crate::clock::Clock;
use crate::pci::config::{ConfigAccess, Function, Registers};
use crate::pci::spec::{Command, header};

/// What tells `function` from others: the register, and what it must read. A virtual function's ids read as all ones
/// (section 9.3.4.1), its class and revision do not.
fn identity(function: &Function) -> (u16, u32) {
    if function.physical_function.is_some() {
        (
            header::CLASS_REVISION,
            function.class << 8 | u32::from(function.revision),
        )
    } else {
        (
            header::VENDOR_ID,
            u32::from(function.device) << 16 | u32::from(function.vendor),
        )
    }
}

/// Whether `function` answers as itself now.
///
/// # Errors
/// It is [gone](ResetError::Gone) or has [changed](ResetError::Changed).
pub fn alive(config: &impl ConfigAccess, function: &Function) -> Result<(), ResetError> {
    let (register, expected) = identity(function);
    match Registers::new(config, function.bdf).u32(register) {
        u32::MAX => Err(ResetError::Gone(function.bdf)),
        found if found != expected => Err(ResetError::Changed {
            function: function.bdf,
            expected,
            found,
        }),
        _ => Ok(()),
    }
}

/// A mark in a function that a reset wipes: its INTx is masked. It also decodes nothing and does not master the bus.
pub(super) struct Mark(bool);

impl Mark {
    /// Makes the mark. Functions without INTx may not take it, and nothing can be told of them.
    pub(super) fn make(config: &impl ConfigAccess, function: &Function) -> Self {
        let registers = Registers::new(config, function.bdf);
        registers.set_command(Command::INTX_DISABLE);
        Self(registers.command() == Command::INTX_DISABLE)
    }

    /// Whether the mark is gone, if it was taken.
    pub(super) fn wiped(&self, config: &impl ConfigAccess, function: &Function) -> Result<(), ResetError> {
        let command = Registers::new(config, function.bdf).command();
        if self.0 && command.contains(Command::INTX_DISABLE) {
            Err(ResetError::NotReset(function.bdf))
        } else {
            Ok(())
        }
    }
}

/// Waits until `function` answers, and checks that it is still the same device. `spent` of the time is over already.
pub(super) fn answers(
    config: &impl ConfigAccess,
    clock: &impl Clock,
    function: &Function,
    spent: u64,
) -> Result<(), ResetError> {
    // All ones is no answer; vendor 0x0001 is a request to try again (section 2.3.2).
    let retry = |found: u32| function.physical_function.is_none() && found as u16 == 1;
    let answered = until(clock, ANSWER_LIMIT.saturating_sub(spent), || {
        let found = Registers::new(config, function.bdf).u32(identity(function).0);
        found != u32::MAX && !retry(found)
    });
    if answered {
        alive(config, function)
    } else {
        Err(ResetError::NoAnswer(function.bdf))
    }
}
