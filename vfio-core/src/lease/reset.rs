//! Resets that an owner asks for while its devices are open: of one device, or of a whole set.
//!
//! They run in a state, [`CohortState::Resetting`] and [`SetPhase::Resetting`](crate::set::SetPhase::Resetting), and
//! under no lock: other cohorts are opened and closed meanwhile. What fails is the owner's loss and nobody else's. The
//! devices stay behind the owner's domain and need a reset still, and no close goes past that reset before it works.

use super::steps::{Steps, name_of};
use super::{CohortState, Lease, Platform};
use crate::cohort::{DeviceReset, HotResetPlan, HotResetRefusal, ResetAction};
use crate::fault::{Failure, Fault, Step};
use crate::id::{DeviceId, Owner};
use crate::set::{Patience, ResetError};

/// Why a reset that an owner asked for did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetFailure {
    /// The device is not the lease's.
    #[error("{0} does not belong to the lease")]
    NotMember(DeviceId),
    /// The device has no reset that leaves others alone. Perhaps its set can be reset as a whole.
    #[error("{0} has no reset of its own")]
    NoMethod(DeviceId),
    /// The set cannot be reset as a whole.
    #[error(transparent)]
    Refused(#[from] HotResetRefusal),
    /// Another reset, or a handle's open or close, is running.
    #[error("{0} is being reset, opened or closed; try again when that is done")]
    Busy(DeviceId),
    /// A step failed. The devices stay open; they need a reset still.
    #[error(transparent)]
    Failed(Failure),
}

impl<P: Platform> Lease<'_, P> {
    /// Resets one device and nothing else, and puts it back to work. The best method is that of
    /// [`cohort::Device::reset`](crate::cohort::Device::reset).
    ///
    /// # Errors
    /// [`ResetFailure`]; unless it is [`Failed`](ResetFailure::Failed), no device was touched.
    pub fn reset_device(&self, device: DeviceId, patience: Patience<'_>) -> Result<(), ResetFailure> {
        let method = self.method(device)?;
        self.run_reset(&ResetAction::Device { device, method }, patience)
    }

    fn method(&self, device: DeviceId) -> Result<DeviceReset, ResetFailure> {
        if !self.devices().contains(&device) {
            return Err(ResetFailure::NotMember(device));
        }
        let known = self.table.cohorts().device(device);
        known
            .and_then(|known| known.reset)
            .ok_or(ResetFailure::NoMethod(device))
    }

    /// Resets a whole set and puts its devices back to work.
    ///
    /// # Errors
    /// [`ResetFailure`]; unless it is [`Failed`](ResetFailure::Failed), no device was touched.
    pub fn hot_reset(&self, plan: &HotResetPlan<'_>, patience: Patience<'_>) -> Result<(), ResetFailure> {
        let ours = core::ptr::eq(plan.source, self.table.cohorts()) && plan.owner() == self.owner();
        let crew = self.crew.as_ref().filter(|_| ours);
        // The action as it is now: members may have been removed since the plan was made.
        let action = crew.and_then(|crew| {
            let of_set =
                |action: &&ResetAction| matches!(action, ResetAction::Set { set, .. } if *set == plan.set());
            crew.resets().map(|(action, _)| action).find(of_set)
        });
        let action = action.ok_or(HotResetRefusal::ForeignPlan)?;
        self.run_reset(action, patience)
    }

    fn run_reset(&self, action: &ResetAction, mut patience: Patience<'_>) -> Result<(), ResetFailure> {
        let (owner, name) = (self.owner(), name_of(action));
        let registration = self.crew.as_ref().and_then(|crew| crew.registration(name));
        let set = registration.ok_or(ResetFailure::NotMember(name))?.set();
        loop {
            let begun = self.table.with_slot(self.cohort, |slot| {
                let free = slot.standing.state == CohortState::Open(owner);
                if free {
                    slot.standing.state = CohortState::Resetting(owner);
                }
                free
            });
            match begun {
                Some(true) => break,
                _ if patience.wait() => {}
                _ => return Err(ResetFailure::Busy(name)),
            }
        }
        let steps = self.table.steps();
        let mut failed = Ok(());
        let result = set.reset(action.devices(), Some(owner), patience, || {
            failed = around(steps, action, owner);
            failed.map_err(|failure: Failure| failure.fault)
        });
        self.table
            .with_slot(self.cohort, |slot| slot.standing.state = CohortState::Open(owner));
        failed.map_err(ResetFailure::Failed)?;
        match result {
            Ok(()) => Ok(()),
            Err(ResetError::NotMember(device)) => Err(ResetFailure::NotMember(device)),
            Err(_) => Err(ResetFailure::Busy(name)),
        }
    }
}

/// Quiet, reset, answering, back to work.
fn around<P: Platform>(steps: Steps<'_, P>, action: &ResetAction, owner: Owner) -> Result<(), Failure> {
    let devices = action.devices();
    for &device in devices {
        steps.quiesce(device)?;
    }
    let failed = |fault: Fault| Failure {
        step: Step::Reset(name_of(action)),
        fault,
    };
    steps.0.reset(action).map_err(failed)?;
    for &device in devices {
        steps.check_alive(device)?;
    }
    for &device in devices {
        steps.restore(device, owner)?;
    }
    Ok(())
}
