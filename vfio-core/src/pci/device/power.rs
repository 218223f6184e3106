//! Power states as the power management capability has them (PCI Express Base Specification 6.0, sections 5.3 and 7.5.2).

use super::AssignedFunction;
use crate::clock::MILLISECOND;
use crate::fault::Fault;
use crate::pci::Bdf;
use crate::pci::config::Registers;
use crate::pci::reset::{Host, ResetError, SavedConfig};
use crate::pci::spec::pm;

/// How long a change from or to D2 takes (section 5.9).
const D2_TIME: u64 = MILLISECOND / 5;
/// How long a change from or to D3hot takes.
const D3HOT_TIME: u64 = 10 * MILLISECOND;

/// A power state that software can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PowerState {
    /// In use.
    D0,
    /// Light sleep; optional.
    D1,
    /// Deeper sleep; optional.
    D2,
    /// Off, as far as software can say. Only configuration space answers.
    D3hot,
}

impl PowerState {
    /// The state as bits 1:0 of the control register.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        match bits & pm::STATE_MASK {
            0 => Self::D0,
            1 => Self::D1,
            2 => Self::D2,
            _ => Self::D3hot,
        }
    }

    const fn bits(self) -> u16 {
        self as u16
    }
}

/// What became of a change of power state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerChange {
    /// The state before.
    pub from: PowerState,
    /// The function was reset on the way and has its configuration again, but neither its MSI-X table nor whatever else
    /// lies behind its BARs. Bus mastering, MSI and MSI-X are off.
    pub lost_state: bool,
}

/// Why a function did not go to a power state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PowerError {
    /// It has no such state. Nothing was done.
    #[error("{function} has no {state:?}")]
    Unsupported {
        /// Which function.
        function: Bdf,
        /// Which state.
        state: PowerState,
    },
    /// From a deeper state the only way is to D0. Nothing was done.
    #[error("{function} cannot go from {from:?} to {state:?}; it must go to D0 first")]
    NotFrom {
        /// Which function.
        function: Bdf,
        /// Its state.
        from: PowerState,
        /// The state asked for.
        state: PowerState,
    },
    /// It stays where it is.
    #[error("{function} stays in {from:?} instead of {state:?}")]
    Stays {
        /// Which function.
        function: Bdf,
        /// Where it stays.
        from: PowerState,
        /// The state asked for.
        state: PowerState,
    },
    /// It is gone, is not itself any more, or does not take its configuration back.
    #[error(transparent)]
    Lost(#[from] ResetError),
}

impl From<PowerError> for Fault {
    fn from(error: PowerError) -> Self {
        match error {
            PowerError::Unsupported { .. } => Self::Unknown,
            PowerError::NotFrom { .. } | PowerError::Stays { .. } => Self::Rejected,
            PowerError::Lost(error) => error.into(),
        }
    }
}

impl AssignedFunction<'_> {
    /// The state that the function is in. One without the capability is always in D0.
    ///
    /// # Errors
    /// It is gone.
    pub fn power_state(&self, host: &impl Host) -> Result<PowerState, ResetError> {
        let Some(found) = self.function.pm else {
            return Ok(PowerState::D0);
        };
        let control = Registers::new(host, self.function.bdf).u16(found.offset + pm::CONTROL);
        if control == u16::MAX {
            Err(ResetError::Gone(self.function.bdf))
        } else {
            Ok(PowerState::from_bits(control))
        }
    }

    /// Whether the function loses its state on the way back from D3hot, so that it must be put back.
    #[must_use]
    pub fn needs_pm_restore(&self) -> bool {
        self.function.pm.is_some_and(|found| !found.no_soft_reset)
    }

    /// Takes the function to `state`, as its owner asks for through a virtual power management capability, or as a reset
    /// needs it. Whoever shows its registers to an owner takes them away before it leaves D0.
    ///
    /// # Errors
    /// [`PowerError`]; where nothing was done it says so.
    pub fn set_power_state(
        &mut self,
        host: &impl Host,
        state: PowerState,
    ) -> Result<PowerChange, PowerError> {
        let function = self.function;
        let from = self.power_state(host)?;
        let unchanged = PowerChange {
            from,
            lost_state: false,
        };
        if from == state {
            return Ok(unchanged);
        }
        let found = function.pm.filter(|_| self.has_state(host, state));
        let offset = found
            .ok_or(PowerError::Unsupported {
                function: function.bdf,
                state,
            })?
            .offset
            + pm::CONTROL;
        if state != PowerState::D0 && state < from {
            return Err(PowerError::NotFrom {
                function: function.bdf,
                from,
                state,
            });
        }
        // What it loses on the way back can be read to the last moment; before anybody could write nonsense is better.
        let loses = self.needs_pm_restore();
        if loses && (state == PowerState::D3hot || from == PowerState::D3hot && self.life.asleep.is_none()) {
            self.life.asleep = Some(SavedConfig::read(host, function)?);
        }
        let registers = Registers::new(host, function.bdf);
        let control = registers.u16(offset);
        // The status bit is cleared by writing one to it.
        registers.set_u16(offset, control & !(pm::STATE_MASK | pm::STATUS) | state.bits());
        host.wait(match from.max(state) {
            PowerState::D3hot => D3HOT_TIME,
            _ => D2_TIME,
        });
        let now = self.power_state(host)?;
        if now != state {
            return Err(PowerError::Stays {
                function: function.bdf,
                from: now,
                state,
            });
        }
        self.alive(host)?;
        match self.life.asleep.take_if(|_| from == PowerState::D3hot) {
            None => Ok(unchanged),
            Some(saved) => {
                saved.restore(host, function)?;
                Ok(PowerChange {
                    from,
                    lost_state: true,
                })
            }
        }
    }

    fn has_state(&self, host: &impl Host, state: PowerState) -> bool {
        let Some(found) = self.function.pm else {
            return false;
        };
        let able = Registers::new(host, self.function.bdf).u16(found.offset + pm::CAPABILITIES);
        match state {
            PowerState::D0 | PowerState::D3hot => true,
            PowerState::D1 => able & pm::CAPABILITIES_D1 != 0,
            PowerState::D2 => able & pm::CAPABILITIES_D2 != 0,
        }
    }
}
