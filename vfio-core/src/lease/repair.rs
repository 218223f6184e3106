//! Bringing cohorts back that are out of service, and taking devices out that are gone.

use alloc::vec::Vec;

use super::crew::Crew;
use super::{CohortState, CohortTable, Platform, open};
use crate::cohort::{Cohort, CohortId, Standing};
use crate::fault::Failure;
use crate::id::{DeviceId, Requester};
use crate::set::Registration;

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
    /// There never was such a device.
    #[error("{0} is not there")]
    NotFound(DeviceId),
    /// Its cohort is open or being worked on. No new open of it succeeds, and it goes when the cohort is closed and either
    /// opened again or this is called again.
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
    /// them, and sees whether they answer. It is in quarantine afterwards, as after a close. Devices that were removed since it
    /// broke are denied all memory too.
    ///
    /// A domain that the cohort could not be taken out of when it broke can be closed again after this: what
    /// [`Domain::close`](super::Domain::close) refused then is to be tried again. A domain that was dropped meanwhile is
    /// lost.
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
        let (mut crew, soiled_by) = claimed.ok_or(RepairError::NotFound)??;
        let result = open::repair(self.steps(), &mut crew);
        let standing = match result {
            Ok(()) => {
                for registration in crew.registrations() {
                    registration.set().mend();
                }
                crew.forget_strays();
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
    /// members that are left. Nothing is done to hardware. A device that is gone already stays so.
    ///
    /// # Errors
    /// [`RemoveError::InUse`] while its cohort is open or being worked on. From then on the device counts as removed for
    /// everybody else, and no further open of it succeeds: whoever holds the cohort closes it, and then this works.
    pub fn remove(&self, device: DeviceId) -> Result<(), RemoveError> {
        let not_found = RemoveError::NotFound(device);
        let known = self.cohorts().device(device).ok_or(not_found)?;
        let cohort = self.cohorts().get(known.cohort).ok_or(not_found)?;
        self.removed.lock().insert(device, ());
        if let Some(set) = self.sets().set(known.set) {
            set.refuse_opens(device);
        }
        let taken = self.with_slot(cohort.id(), |slot| {
            let state = slot.standing.state;
            let at_rest = matches!(state, CohortState::Quarantined | CohortState::Broken(_));
            let crew = if at_rest { slot.crew.take() } else { None };
            let broken = matches!(state, CohortState::Broken(_));
            crew.map(|crew| (crew, broken))
                .ok_or(RemoveError::InUse { device, state })
        });
        let (crew, broken) = taken.ok_or(not_found)??;
        let mut kept: Vec<Requester> = crew.strays().to_vec();
        if broken {
            kept.extend_from_slice(crew.requesters());
        }
        let mut crew = self.dismiss(cohort, crew);
        crew.lose(kept);
        let gone = crew.registration(device).is_none();
        self.with_slot(cohort.id(), |slot| {
            let state = slot.standing.state;
            // What is left was reset when it was closed.
            if crew.unresettable().is_none() && state == CohortState::Quarantined {
                slot.standing.soiled_by = None;
            }
            slot.crew = Some(crew);
            if gone {
                Ok(())
            } else {
                Err(RemoveError::InUse { device, state })
            }
        })
        .unwrap_or(Err(not_found))
    }

    /// The crew without those members that are to be removed. These are closed, so that they leave their sets.
    pub(super) fn dismiss(&self, cohort: &Cohort, crew: Crew) -> Crew {
        let leaves = |registration: &Registration| self.is_removed(registration.device());
        if !crew.registrations().iter().any(leaves) {
            return crew;
        }
        let (registrations, stuck) = crew.disband();
        let (leaving, mut staying): (Vec<Registration>, Vec<Registration>) =
            registrations.into_iter().partition(leaves);
        for registration in leaving {
            if let Err(still) = self.sets().unregister(registration) {
                staying.push(still.registration);
            }
        }
        staying.sort_unstable_by_key(Registration::device);
        let mut crew = Crew::new(self.cohorts(), cohort, staying);
        crew.set_stuck(stuck);
        crew
    }
}
