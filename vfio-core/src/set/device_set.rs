//! One device set: its members, their opens, and the phase that keeps callbacks of two members apart.

use alloc::vec::Vec;

use super::state::{State, Work};
use super::{Counts, OpenError, OpenToken, Patience, ResetError, SetPhase};
use crate::fault::Fault;
use crate::id::{DeviceId, Owner, SetId};
use crate::lease::DeviceOps;
use crate::sync::{Arc, Guard, Mutex, Rank, assert_unlocked};

/// Devices that share one open and reset scope.
// Cache lines of its own (two, since processors fetch pairs): opens in one set must not slow those in its neighbour in memory.
#[repr(align(128))]
pub struct DeviceSet {
    id: SetId,
    /// Tells this set from an earlier one with the same id, whose members have all left.
    generation: u64,
    state: Mutex<State>,
}

impl core::fmt::Debug for DeviceSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DeviceSet")
            .field("id", &self.id)
            .field("generation", &self.generation)
            .finish()
    }
}

impl DeviceSet {
    pub(super) fn new(id: SetId, generation: u64) -> Self {
        Self {
            id,
            generation,
            state: Mutex::ranked(Rank::Set, State::default()),
        }
    }

    pub(super) fn state(&self) -> Guard<'_, State> {
        self.state.lock()
    }

    /// The set's key.
    #[must_use]
    pub const fn id(&self) -> SetId {
        self.id
    }

    /// A number that no other set of the table has or had.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The members, in order.
    #[must_use]
    pub fn members(&self) -> Vec<DeviceId> {
        let mut members: Vec<DeviceId> = self.state().members.keys().copied().collect();
        members.sort_unstable();
        members
    }

    /// What the set is doing at this moment.
    #[must_use]
    pub fn phase(&self) -> SetPhase {
        self.state().phase()
    }

    /// Opens of `device` and of the whole set at this moment. May be called from a callback.
    #[must_use]
    pub fn counts(&self, device: DeviceId) -> Counts {
        self.state().counts(device)
    }

    /// Whether `device` was closed, and no reset of it or of the set has worked since.
    #[must_use]
    pub fn needs_reset(&self, device: DeviceId) -> bool {
        self.state()
            .members
            .get(&device)
            .is_some_and(|member| member.needs_reset)
    }

    /// Links a member, which the table has counted already; `false` if there is no memory for it.
    pub(super) fn link(&self, device: DeviceId) -> bool {
        let mut state = self.state();
        let room = state.members.try_reserve(1).is_ok();
        if room {
            state.members.insert(device, Default::default());
        }
        room
    }

    /// From now on no open of `device` succeeds.
    pub(crate) fn refuse_opens(&self, device: DeviceId) {
        if let Some(member) = self.state().members.get_mut(&device) {
            member.unregistering = true;
        }
    }

    /// From now on no open of `device` succeeds. `Ok` if it is closed, and then it is unlinked.
    pub(super) fn unlink(&self, device: DeviceId) -> Result<(), Counts> {
        let mut state = self.state();
        let counts = state.counts(device);
        let running = match state.work {
            None => false,
            Some(Work::Opening(other) | Work::Closing(other)) => other == device,
            Some(Work::Resetting) => true,
        };
        if let Some(member) = state.members.get_mut(&device) {
            member.unregistering = true;
        }
        if counts.device > 0 || running {
            return Err(counts);
        }
        state.members.remove(&device);
        Ok(())
    }

    /// Opens `device` for `owner`; its first open runs [`DeviceOps::open_device`].
    pub(super) fn open(
        this: &Arc<Self>,
        device: DeviceId,
        owner: Owner,
        ops: &impl DeviceOps,
        mut patience: Patience<'_>,
    ) -> Result<OpenToken, OpenError> {
        let first = loop {
            let begun = this.state().begin_open(device, owner);
            match begun {
                Ok(first) => break first,
                Err(error) if error.is_passing() => {
                    if !patience.wait() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        };
        if first {
            assert_unlocked();
            let result = ops.open_device(device, owner);
            this.state().opened(device, owner, result);
            result.map_err(OpenError::Failed)?;
        }
        Ok(OpenToken {
            set: Arc::clone(this),
            device,
            owner,
        })
    }

    /// Runs `reset`, which resets `devices` and nothing else, while the set is [`Resetting`](SetPhase::Resetting) and no
    /// lock is held. `owner` is who has the set open, if anybody has.
    ///
    /// # Errors
    /// [`ResetError`]; unless it is [`Failed`](ResetError::Failed), `reset` did not run.
    pub fn reset(
        &self,
        devices: &[DeviceId],
        owner: Option<Owner>,
        mut patience: Patience<'_>,
        reset: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<(), ResetError> {
        loop {
            let begun = self.state().begin_reset(devices, owner);
            match begun {
                Ok(()) => break,
                Err(error @ ResetError::Busy(_)) => {
                    if !patience.wait() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.run_reset(devices, reset)
    }

    /// Resets the set as a whole at its last close, if that is called for: no member is open beyond the one that is being
    /// closed, a member needs a reset, and `scope`, the devices that the reset reaches, each once, is all of the set
    /// and nothing else. Whether `reset` ran.
    ///
    /// # Errors
    /// [`ResetError`], as for [`reset`](Self::reset). What needed a reset needs one still, and the next last close tries again.
    pub fn reset_after_last_close(
        &self,
        scope: &[DeviceId],
        reset: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<bool, ResetError> {
        {
            let mut state = self.state();
            if !state.calls_for_reset(scope) {
                return Ok(false);
            }
            let owner = state.owner();
            state.begin_reset(scope, owner)?;
        }
        self.run_reset(scope, reset).map(|()| true)
    }

    /// The reset itself, once the set is `Resetting`.
    fn run_reset(
        &self,
        devices: &[DeviceId],
        reset: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<(), ResetError> {
        assert_unlocked();
        let result = reset();
        self.state().was_reset(devices, result.is_ok());
        result.map_err(ResetError::Failed)
    }

    /// Back into service after the set was reset; `false` if something is open or running.
    pub(crate) fn mend(&self) -> bool {
        self.state().mend()
    }
}
