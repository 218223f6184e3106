//! The functions of a machine, each worked on by one caller at a time.
//!
//! Resets wait, and no lock is held across a wait: who works on a function takes its state out of the table, and who
//! comes meanwhile is told that it is busy. For a set all states are taken, or none.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

use super::function::Life;
use super::hot_reset::Exposure;
use super::{AssignedFunction, Disabled, FunctionError, LastReset, PowerChange, PowerState, ResetScope};
use crate::pci::Bdf;
use crate::pci::config::Function;
use crate::pci::reset::{Host, ResetHooks, ResetMethod};
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
pub(super) struct Taken<'t> {
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

    pub(super) fn take(&self, bdf: Bdf) -> Result<Taken<'_>, FunctionError> {
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
}
