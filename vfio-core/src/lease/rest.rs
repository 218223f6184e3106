//! A cohort whose owner starts anew: closed as far as hardware goes, in quarantine and reset, and nobody else's meanwhile.
//!
//! A guest that restarts gets the devices that it had. Between its lives nothing of them may reach its memory, which is wiped
//! and loaded then, and nobody may take them: a close and an open would leave a gap for that. So the lease becomes a
//! [`Resting`] cohort and that a lease again. The domain stays joined, so that no mapping comes that the devices do not take.

use super::crew::Crew;
use super::{CloseFailure, CohortState, CohortTable, Domain, Lease, OpenFailure, Platform, open};
use crate::cohort::{CohortId, Refusal, Standing};
use crate::fault::Failure;
use crate::id::{DeviceId, Owner};

/// A cohort in quarantine that is kept for its owner. [`Lease::rest`] makes one, [`wake`](Self::wake) gives the lease back.
/// Dropping it ends the keeping: the cohort is in quarantine as after a close, and anybody may have it.
#[must_use = "dropping it gives the cohort up"]
pub struct Resting<'t, P: Platform> {
    table: &'t CohortTable<P>,
    cohort: CohortId,
    domain: Domain<'t, P>,
    /// `None` once it is given up or a lease again.
    crew: Option<Crew>,
}

impl<P: Platform> core::fmt::Debug for Resting<'_, P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Resting")
            .field("cohort", &self.cohort)
            .field("domain", &self.domain)
            .finish()
    }
}

impl<'t, P: Platform> Lease<'t, P> {
    /// Takes the devices from their owner as a close does, sees whether they answer after the reset, and keeps them for the owner.
    /// When this is `Ok`, no device of the cohort reaches memory any more.
    ///
    /// # Errors
    /// A step failed: the cohort is out of service, as after a close that failed. The other steps were done nevertheless.
    pub fn rest(mut self) -> Result<Resting<'t, P>, CloseFailure> {
        let mut resting = Resting {
            table: self.table,
            cohort: self.cohort,
            domain: self.domain().share(),
            crew: self.crew.take(),
        };
        let owner = self.owner();
        let state = CohortState::Resting(owner);
        resting
            .table
            .with_slot(resting.cohort, |slot| slot.standing.state = state);
        let steps = resting.table.steps();
        let rested = match &mut resting.crew {
            Some(crew) => open::rest(steps, crew, &resting.domain),
            None => Ok(()),
        };
        match rested {
            Ok(()) => Ok(resting),
            Err(failure) => {
                resting.give_up(Some(failure));
                Err(CloseFailure(failure))
            }
        }
    }
}

impl<'t, P: Platform> Resting<'t, P> {
    /// Who it is kept for.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.domain.owner()
    }

    /// The number of the cohort.
    #[must_use]
    pub const fn cohort(&self) -> CohortId {
        self.cohort
    }

    /// The devices that are kept.
    #[must_use]
    pub fn devices(&self) -> &[DeviceId] {
        self.crew.as_ref().map_or(&[], Crew::members)
    }

    /// A device that nothing resets, if there is one: it comes back to its owner as the owner left it, but for bus mastering
    /// and interrupts, which are off.
    #[must_use]
    pub fn not_reset(&self) -> Option<DeviceId> {
        self.crew.as_ref().and_then(Crew::unresettable)
    }

    /// Gives the devices back to their owner: attaches, opens, interrupts, as the last steps of an open.
    ///
    /// # Errors
    /// [`OpenFailure`]: a member is to be removed, or a step failed. The owner has lost the cohort, which is in quarantine or out of
    /// service.
    pub fn wake(mut self) -> Result<Lease<'t, P>, OpenFailure> {
        let owner = self.owner();
        let leaving = self
            .devices()
            .iter()
            .find(|device| self.table.is_removed(**device));
        if let Some(device) = leaving.copied() {
            return Err(Refusal::Removed(device).into());
        }
        let mut crew = self.crew.take().ok_or(Refusal::NoDevices)?;
        let state = CohortState::Opening(owner);
        self.table
            .with_slot(self.cohort, |slot| slot.standing.state = state);
        let soiled_by = Some(owner).filter(|_| crew.unresettable().is_some());
        let woken = open::wake(self.table.steps(), &mut crew, &self.domain);
        self.table
            .conclude(self.cohort, &self.domain, crew, soiled_by, woken)
    }

    /// Leaves the cohort in quarantine for anybody, or out of service.
    fn give_up(&mut self, failure: Option<Failure>) {
        let Some(crew) = self.crew.take() else { return };
        self.domain.leave(crew.requesters());
        let soiled = failure.is_some() || crew.unresettable().is_some();
        let standing = Standing {
            state: failure.map_or(CohortState::Quarantined, CohortState::Broken),
            soiled_by: Some(self.owner()).filter(|_| soiled),
        };
        self.table.stand(self.cohort, standing, Some(crew));
    }
}

impl<P: Platform> Drop for Resting<'_, P> {
    fn drop(&mut self) {
        self.give_up(None);
    }
}
