//! The functions of a machine, each worked on by one caller at a time.
//!
//! Resets wait, and no lock is held across a wait: who works on a function takes its state out of the table, and who
//! comes meanwhile is told that it is busy. For a set all states are taken, or none.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

use super::function::Life;
use super::hot_reset::{Exposure, HotResetError, HotResetRefusal, plan_hot_reset};
use super::set_reset::{SetMember, plan_set_reset, whole};
use super::{AssignedFunction, Disabled, FunctionError, LastReset, PowerChange, PowerState, ResetScope};
use crate::pci::Bdf;
use crate::pci::config::Function;
use crate::pci::reset::{Host, ResetHooks, ResetMethod, SavedConfig, secondary_bus_reset};
use crate::sync::Mutex;

/// All functions of a machine, bridges included, as discovery found them, with what each went through.
pub struct FunctionTable {
    /// In order of address.
    functions: Vec<Function>,
    /// The state of each; `None` while somebody works on it.
    lives: Vec<Mutex<Option<Life>>>,
}

impl core::fmt::Debug for FunctionTable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("FunctionTable")
            .field("functions", &self.functions)
            .finish_non_exhaustive()
    }
}

/// A function in the hands of one caller; back in the table when this is dropped.
struct Taken<'t> {
    slot: &'t Mutex<Option<Life>>,
    function: AssignedFunction<'t>,
}

impl<'t> Deref for Taken<'t> {
    type Target = AssignedFunction<'t>;

    fn deref(&self) -> &Self::Target {
        &self.function
    }
}

impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.function
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.slot.lock() = Some(core::mem::replace(&mut self.function.life, Life::NEW));
    }
}

impl FunctionTable {
    /// A table of functions that nobody has used yet.
    #[must_use]
    pub fn new(mut functions: Vec<Function>) -> Self {
        functions.sort_unstable_by_key(|function| function.bdf);
        let lives = functions.iter().map(|_| Mutex::new(Some(Life::NEW))).collect();
        Self { functions, lives }
    }

    /// All functions, in order of address.
    #[must_use]
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The function at `bdf`.
    #[must_use]
    pub fn function(&self, bdf: Bdf) -> Option<&Function> {
        self.functions.get(self.index(bdf)?)
    }

    fn index(&self, bdf: Bdf) -> Option<usize> {
        self.functions
            .binary_search_by_key(&bdf, |function| function.bdf)
            .ok()
    }

    fn take(&self, bdf: Bdf) -> Result<Taken<'_>, FunctionError> {
        let at = self.index(bdf).ok_or(FunctionError::Unknown(bdf))?;
        let found = self.functions.get(at).zip(self.lives.get(at));
        let (function, slot) = found.ok_or(FunctionError::Unknown(bdf))?;
        let life = slot.lock().take().ok_or(FunctionError::Busy(bdf))?;
        Ok(Taken {
            slot,
            function: AssignedFunction { function, life },
        })
    }

    /// Looks at the state of `bdf`, or works on it. For what has no method here.
    ///
    /// # Errors
    /// There is no such function, or it is busy.
    pub fn with<R>(
        &self,
        bdf: Bdf,
        work: impl FnOnce(&mut AssignedFunction<'_>) -> R,
    ) -> Result<R, FunctionError> {
        Ok(work(&mut *self.take(bdf)?))
    }

    /// What a reset by the bridge above `device` reaches.
    ///
    /// # Errors
    /// No bridge resets it.
    pub fn scope(&self, hooks: &impl ResetHooks, device: Bdf) -> Result<ResetScope, FunctionError> {
        Ok(ResetScope::of(&self.functions, hooks, device)?)
    }

    /// The bridge whose bus reset is a reset of `bdf` alone.
    fn port_of_one(&self, hooks: &impl ResetHooks, bdf: Bdf) -> Option<&Function> {
        let scope = ResetScope::of(&self.functions, hooks, bdf).ok()?;
        self.function(scope.port).filter(|_| scope.is_only(bdf))
    }

    /// Whether `bdf` can be reset alone.
    ///
    /// # Errors
    /// There is no such function, or it is busy.
    pub fn can_reset(&self, host: &impl Host, bdf: Bdf) -> Result<bool, FunctionError> {
        self.with(bdf, |function| {
            function.can_reset(host, self.port_of_one(host, bdf))
        })
    }

    /// See [`AssignedFunction::enable`].
    ///
    /// # Errors
    /// As there.
    pub fn enable(&self, host: &impl Host, bdf: Bdf) -> Result<(), FunctionError> {
        self.take(bdf)?.enable(host, self.port_of_one(host, bdf))
    }

    /// See [`AssignedFunction::disable`]. Its registers are taken from its owner for good; if that cannot be done, the
    /// function is disabled nevertheless.
    ///
    /// # Errors
    /// As there, or the owner still sees its registers.
    pub fn disable(
        &self,
        host: &impl Host,
        bdf: Bdf,
        when: LastReset,
        exposure: &impl Exposure,
    ) -> Result<Disabled, FunctionError> {
        let mut taken = self.take(bdf)?;
        if !taken.is_enabled() {
            return Err(FunctionError::NotEnabled(bdf));
        }
        let withdrawn = exposure.withdraw(bdf);
        let disabled = taken.disable(host, self.port_of_one(host, bdf), when)?;
        withdrawn.map_err(|fault| FunctionError::Exposed { function: bdf, fault })?;
        Ok(disabled)
    }

    /// See [`AssignedFunction::reset`]. The owner does not see its registers meanwhile.
    ///
    /// # Errors
    /// As there, or its registers could not be taken away.
    pub fn reset(
        &self,
        host: &impl Host,
        bdf: Bdf,
        exposure: &impl Exposure,
    ) -> Result<ResetMethod, FunctionError> {
        let mut taken = self.take(bdf)?;
        exposure
            .withdraw(bdf)
            .map_err(|fault| FunctionError::Exposed { function: bdf, fault })?;
        let done = taken.reset(host, self.port_of_one(host, bdf));
        exposure.give_back(bdf);
        done
    }

    /// See [`AssignedFunction::set_power_state`]. The owner sees its registers in D0 only.
    ///
    /// # Errors
    /// As there, or its registers could not be taken away.
    pub fn set_power_state(
        &self,
        host: &impl Host,
        bdf: Bdf,
        state: PowerState,
        exposure: &impl Exposure,
    ) -> Result<PowerChange, FunctionError> {
        let mut taken = self.take(bdf)?;
        let awake = |taken: &Taken<'_>| taken.power_state(host) == Ok(PowerState::D0);
        let was_awake = awake(&taken);
        if was_awake && state != PowerState::D0 {
            exposure
                .withdraw(bdf)
                .map_err(|fault| FunctionError::Exposed { function: bdf, fault })?;
        }
        let changed = taken.set_power_state(host, state);
        if awake(&taken) && !(was_awake && state == PowerState::D0) {
            exposure.give_back(bdf);
        }
        Ok(changed?)
    }

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
        let scope = ResetScope::of(&self.functions, host, first).map_err(HotResetRefusal::NoScope)?;
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
                        _ => HotResetError::Reset(crate::pci::reset::ResetError::Unsupported(scope.port)),
                    })
            });
        give_back(exposure, scope.affected.iter());
        done
    }

    /// All of `functions`, or none.
    fn take_all(&self, functions: &[Bdf]) -> Result<Vec<Taken<'_>>, FunctionError> {
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
fn wake_all(host: &impl Host, taken: &mut [Taken<'_>]) -> Result<(), super::PowerError> {
    let mut woken: Vec<(usize, PowerState)> = Vec::new();
    let mut result = Ok(());
    for (at, member) in taken.iter_mut().enumerate() {
        match member.set_power_state(host, PowerState::D0) {
            Ok(change) => woken.push((at, change.from)),
            // One that is gone may come back by the reset.
            Err(super::PowerError::Lost(crate::pci::reset::ResetError::Gone(_)))
                if member.life.last_good.is_some() => {}
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
