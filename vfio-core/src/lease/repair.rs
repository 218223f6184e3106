//! Bringing cohorts back that are out of service, and taking devices out that are gone.

use super::crew::Crew;
use super::{CohortState, CohortTable, Platform, open};
use crate::cohort::{CohortId, Standing};
use crate::fault::Failure;
use crate::id::DeviceId;

/// Why a cohort was not repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepairError {
    /// There is no such cohort.
    #[error("there is no such cohort")]
    NotFound,
    /// It is not out of service, or somebody else is at it.
    #[error("the cohort is {0}; there is nothing to repair")]
    NotBroken(CohortState),
    /// A step failed, and the cohort is out of service still. The others were done nevertheless.
    #[error("the cohort stays out of service: {0}")]
    Failed(Failure),
}

/// Why a device was not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// There is no such device, or it has been removed.
    #[error("{0} is not there")]
    NotFound(DeviceId),
    /// Its cohort is open or being worked on. No new open of it succeeds; close the cohort, and remove it again.
    #[error(
        "{device} is in use: its cohort is {state}; it is opened no more, and can be removed when that is over"
    )]
    InUse {
        /// The device.
        device: DeviceId,
        /// What its cohort is doing.
        state: CohortState,
    },
}

impl<P: Platform> CohortTable<P> {
    /// Brings a cohort back into service: quiets its devices, takes their interrupts, denies them all memory, resets
    /// them, and sees whether they answer. It is in quarantine afterwards, as after a close.
    ///
    /// A domain that the cohort could not be taken out of when it broke stays pinned all the same, because nobody can tell
    /// what was done through it.
    ///
    /// # Errors
    /// [`RepairError`]; the cohort is as out of service as before.
    pub fn repair(&self, id: CohortId) -> Result<(), RepairError> {
        let claimed = self.with_slot(id, |slot| {
            let Standing { state, soiled_by } = slot.standing;
            let crew = match state {
                CohortState::Broken(_) => slot.crew.take(),
                _ => None,
            };
            let crew = crew.ok_or(RepairError::NotBroken(state))?;
            slot.standing.state = CohortState::Repairing;
            Ok((crew, soiled_by))
        });
        let (crew, soiled_by) = claimed.ok_or(RepairError::NotFound)??;
        let result = open::repair(self.steps(), &crew);
        let standing = match result {
            Ok(()) => {
                for registration in crew.registrations() {
                    registration.set().mend();
                }
                Standing {
                    state: CohortState::Quarantined,
                    soiled_by: soiled_by.filter(|_| crew.unresettable().is_some()),
                }
            }
            Err(failure) => Standing {
                state: CohortState::Broken(failure),
                soiled_by,
            },
        };
        self.stand(id, standing, Some(crew));
        result.map_err(RepairError::Failed)
    }

    /// Takes a device out that is gone or about to go. Its cohort goes on without it, and may be opened again by the
    /// members that are left. Nothing is done to hardware.
    ///
    /// # Errors
    /// [`RemoveError::InUse`] while its cohort is open or being worked on. From then on the device counts as removed for
    /// everybody else, and no further open of it succeeds: whoever holds the cohort closes it, and then this works.
    pub fn remove(&self, device: DeviceId) -> Result<(), RemoveError> {
        let not_found = RemoveError::NotFound(device);
        let known = self.cohorts().device(device).ok_or(not_found)?;
        let cohort = self.cohorts().get(known.cohort).ok_or(not_found)?;
        let set = self.sets().set(known.set).ok_or(not_found)?;
        if !set.members().contains(&device) {
            return Err(not_found);
        }
        self.removed.lock().insert(device, ());
        set.refuse_opens(device);
        let taken = self.with_slot(cohort.id(), |slot| {
            let state = slot.standing.state;
            let at_rest = matches!(state, CohortState::Quarantined | CohortState::Broken(_));
            let crew = if at_rest { slot.crew.take() } else { None };
            crew.ok_or(RemoveError::InUse { device, state })
        });
        let mut registrations = taken.ok_or(not_found)??.disband();
        let mut result = Err(not_found);
        if let Ok(at) = registrations.binary_search_by_key(&device, |registration| registration.device()) {
            result = match self.sets().unregister(registrations.remove(at)) {
                Ok(()) => Ok(()),
                Err(still) => {
                    registrations.insert(at, still.registration);
                    let state = self.state(cohort.id()).unwrap_or(CohortState::Quarantined);
                    Err(RemoveError::InUse { device, state })
                }
            };
        }
        let crew = Crew::new(self.cohorts(), cohort, registrations);
        self.with_slot(cohort.id(), |slot| {
            if crew.unresettable().is_none() && slot.standing.state == CohortState::Quarantined {
                slot.standing.soiled_by = None;
            }
            slot.crew = Some(crew);
        });
        result
    }
}
