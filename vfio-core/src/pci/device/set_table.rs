//! Resets of whole sets: between owners, at the last close, and as an owner asks for it.

use alloc::vec::Vec;

use super::hot_reset::{Exposure, HotResetError, HotResetRefusal, plan_hot_reset};
use super::set_reset::{SetMember, plan_set_reset, whole};
use super::table::{FunctionTable, Taken};
use super::{FunctionError, PowerError, PowerState, ResetScope};
use crate::pci::Bdf;
use crate::pci::config::Function;
use crate::pci::reset::{Host, ResetError, SavedConfig, secondary_bus_reset};

impl FunctionTable {
    /// Resets the set of `members`, which nobody has, on its way from one owner to another.
    ///
    /// # Errors
    /// No bridge resets it and nothing else, a member is busy, or the reset failed: all need one still.
    pub fn reset_set(&self, host: &impl Host, members: &[Bdf]) -> Result<(), FunctionError> {
        let Some(&first) = members.first() else {
            return Ok(());
        };
        let scope = self.scope(host, first)?;
        whole(&scope, |bdf| members.contains(&bdf))?;
        let mut taken = self.take_all(&scope.affected)?;
        self.reset_taken(host, &scope, &mut taken)
    }

    /// Resets the set of `members` at the last close in it, while `open` of them are open, if [`plan_set_reset`] says
    /// so. The caller holds the set: nobody opens or closes a member meanwhile.
    ///
    /// # Errors
    /// Why it is not reset; or the reset failed, and the next last close tries again.
    pub fn reset_at_last_close(
        &self,
        host: &impl Host,
        members: &[Bdf],
        open: usize,
    ) -> Result<(), FunctionError> {
        let Some(&first) = members.first() else {
            return Ok(());
        };
        let scope = self.scope(host, first)?;
        let mut taken = self.take_all(members)?;
        let states: Vec<SetMember> = taken
            .iter()
            .map(|member| SetMember {
                function: member.function().bdf,
                needs_reset: member.needs_reset(),
            })
            .collect();
        plan_set_reset(&scope, &states, open)?;
        self.reset_taken(host, &scope, &mut taken)
    }

    /// Resets the set of `members`, which is open, because an owner asks for it who owns what `owned` says.
    ///
    /// The owner does not see the registers of any member meanwhile. Afterwards all are in D0 with their configuration,
    /// quiet; interrupts must be set up again.
    ///
    /// # Errors
    /// [`HotResetError`]; it says what was done.
    pub fn hot_reset(
        &self,
        host: &impl Host,
        members: &[Bdf],
        owned: impl Fn(Bdf) -> bool,
        exposure: &impl Exposure,
    ) -> Result<(), HotResetError> {
        let Some(&first) = members.first() else {
            return Ok(());
        };
        let scope = ResetScope::of(self.functions(), host, first).map_err(HotResetRefusal::NoScope)?;
        plan_hot_reset(&scope, members, owned)?;
        let mut taken = self.take_all(&scope.affected).map_err(|error| match error {
            FunctionError::Busy(bdf) => HotResetError::Busy(bdf),
            // Affected functions are members, and the scope found them in the table.
            _ => HotResetRefusal::NotOwned { device: first }.into(),
        })?;
        for (at, &function) in scope.affected.iter().enumerate() {
            if let Err(fault) = exposure.withdraw(function) {
                give_back(exposure, scope.affected.iter().take(at));
                return Err(HotResetError::Exposed { function, fault });
            }
        }
        let done = wake_all(host, &mut taken)
            .map_err(HotResetError::from)
            .and_then(|()| {
                self.reset_taken(host, &scope, &mut taken)
                    .map_err(|error| match error {
                        FunctionError::Reset(error) => error.into(),
                        FunctionError::Power(error) => error.into(),
                        _ => HotResetError::Reset(ResetError::Unsupported(scope.port)),
                    })
            });
        give_back(exposure, scope.affected.iter());
        done
    }

    /// All of `functions`, or none.
    pub(super) fn take_all(&self, functions: &[Bdf]) -> Result<Vec<Taken<'_>>, FunctionError> {
        functions.iter().map(|&bdf| self.take(bdf)).collect()
    }

    /// Makes all that `scope` reaches ready, resets it, and takes note of that. `taken` are at least all of these.
    fn reset_taken(
        &self,
        host: &impl Host,
        scope: &ResetScope,
        taken: &mut [Taken<'_>],
    ) -> Result<(), FunctionError> {
        let port = self
            .function(scope.port)
            .ok_or(FunctionError::Unknown(scope.port))?;
        let mut saved: Vec<(&Function, SavedConfig)> = Vec::new();
        for member in taken
            .iter_mut()
            .filter(|member| scope.affected.contains(&member.function().bdf))
        {
            saved.push((member.function(), member.copy_for_reset(host)?));
        }
        // From here on the reset happens; one that does not get quiet is what it is for.
        for member in taken.iter() {
            let _ = member.quiesce(host);
        }
        let below: Vec<(&Function, &SavedConfig)> =
            saved.iter().map(|(function, saved)| (*function, saved)).collect();
        secondary_bus_reset(host, port, &below)?;
        for member in taken {
            member.life.needs_reset = false;
            member.life.asleep = None;
        }
        Ok(())
    }
}

/// All to D0. If one does not wake up, those that did go back to sleep, as far as they obey.
fn wake_all(host: &impl Host, taken: &mut [Taken<'_>]) -> Result<(), PowerError> {
    let mut woken: Vec<(usize, PowerState)> = Vec::new();
    let mut result = Ok(());
    for (at, member) in taken.iter_mut().enumerate() {
        match member.set_power_state(host, PowerState::D0) {
            Ok(change) => woken.push((at, change.from)),
            // One that is gone may come back by the reset.
            Err(PowerError::Lost(ResetError::Gone(_))) if member.life.last_good.is_some() => {}
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    if result.is_err() {
        for (at, state) in woken.into_iter().rev() {
            if let Some(member) = taken.get_mut(at) {
                let _ = member.set_power_state(host, state);
            }
        }
    }
    result
}

fn give_back<'b>(exposure: &impl Exposure, functions: impl DoubleEndedIterator<Item = &'b Bdf>) {
    for &function in functions.rev() {
        exposure.give_back(function);
    }
}
