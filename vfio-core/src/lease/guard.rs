//! The lease: proof that an owner holds a whole cohort.

use super::crew::Crew;
use super::{CohortState, CohortTable, Domain, Platform, open};
use crate::cohort::{CohortId, Standing};
use crate::fault::Failure;
use crate::id::{DeviceId, Owner};
use crate::set::{Handle, OpenError, Patience};

/// A cohort that did not close in order. Its devices are as quiet as could be had, and out of service until the cohort is
/// [repaired](CohortTable::repair).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cohort is out of service: {0}")]
pub struct CloseFailure(pub Failure);

/// Proof that an owner holds a whole cohort. Nothing but [`CohortTable::open`] makes one, it cannot be copied, and it
/// does not outlive its table. Dropping it closes the cohort; [`close`](Self::close) also says how that went.
///
/// ```compile_fail,E0382
/// # use vfio_core::lease::{Lease, Platform};
/// fn closes_twice<P: Platform>(lease: Lease<'_, P>) {
///     drop(lease.close());
///     drop(lease.close());
/// }
/// ```
///
/// ```compile_fail,E0515
/// # use vfio_core::lease::{CohortTable, Domain, Platform};
/// fn outlives_its_table<P: Platform>(table: CohortTable<P>) -> Domain<'static, P> {
///     table.domain(vfio_core::Owner::Hypervisor, Vec::new()).unwrap()
/// }
/// ```
///
/// A lease cannot be closed while a handle on one of its devices lives:
///
/// ```compile_fail,E0505
/// # use vfio_core::{DeviceId, lease::{Lease, Platform}, set::Patience};
/// fn closes_under_a_handle<P: Platform>(lease: Lease<'_, P>, device: DeviceId) {
///     let handle = lease.handle(device, Patience::NONE).unwrap();
///     drop(lease.close());
///     drop(handle);
/// }
/// ```
#[must_use = "dropping the lease closes the cohort"]
pub struct Lease<'t, P: Platform> {
    pub(super) table: &'t CohortTable<P>,
    pub(super) cohort: CohortId,
    domain: Domain<'t, P>,
    /// The cohort's members and their tokens; `None` once it is closed.
    pub(super) crew: Option<Crew>,
    /// Who had used the cohort before, in case the lease is never handed out.
    soiled_before: Option<Owner>,
}

impl<P: Platform> core::fmt::Debug for Lease<'_, P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Lease")
            .field("cohort", &self.cohort)
            .field("domain", &self.domain)
            .finish()
    }
}

impl<'t, P: Platform> Lease<'t, P> {
    pub(super) fn new(
        table: &'t CohortTable<P>,
        cohort: CohortId,
        domain: Domain<'t, P>,
        crew: Crew,
        soiled_before: Option<Owner>,
    ) -> Self {
        Self {
            table,
            cohort,
            domain,
            crew: Some(crew),
            soiled_before,
        }
    }

    /// Who holds the cohort.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.domain.owner()
    }

    /// The number of the cohort.
    #[must_use]
    pub const fn cohort(&self) -> CohortId {
        self.cohort
    }

    /// The devices that the owner holds: all members of the cohort that are still there.
    #[must_use]
    pub fn devices(&self) -> &[DeviceId] {
        self.crew.as_ref().map_or(&[], Crew::members)
    }

    /// The domain that they are in.
    #[must_use]
    pub const fn domain(&self) -> &Domain<'t, P> {
        &self.domain
    }

    /// Another open of a device that the owner holds, which closes itself when it is dropped; the lease's own is the first. As
    /// long as it lives the lease cannot be closed. While the device's set is being reset, `patience` says whether to be
    /// refused or to wait.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way; a device that is not the lease's is
    /// [`Unregistering`](OpenError::Unregistering).
    pub fn handle<'l>(
        &'l self,
        device: DeviceId,
        patience: Patience<'l>,
    ) -> Result<Handle<'l, P>, OpenError> {
        let registration = self.crew.as_ref().and_then(|crew| crew.registration(device));
        registration.ok_or(OpenError::Unregistering(device))?.hold(
            self.owner(),
            self.table.platform(),
            patience,
        )
    }

    /// Closes the cohort: it is in quarantine afterwards, or out of service.
    ///
    /// # Errors
    /// A step failed. The others were done nevertheless.
    pub fn close(mut self) -> Result<(), CloseFailure> {
        let soiled_by = Some(self.owner());
        self.finish(soiled_by)
    }

    /// Closes a cohort that nobody got to use.
    pub(super) fn abandon(mut self) {
        let soiled_by = self.soiled_before;
        // A failure shows in the cohort's state.
        let _ = self.finish(soiled_by);
    }

    fn finish(&mut self, soiled_by: Option<Owner>) -> Result<(), CloseFailure> {
        let Some(mut crew) = self.crew.take() else {
            return Ok(());
        };
        let closing = CohortState::Closing(self.domain.owner());
        self.table
            .with_slot(self.cohort, |slot| slot.standing.state = closing);
        let result = open::close(self.table.steps(), &mut crew, &self.domain);
        let standing = match result {
            Ok(()) => Standing {
                state: CohortState::Quarantined,
                soiled_by: soiled_by.filter(|_| crew.unresettable().is_some()),
            },
            Err(failure) => Standing {
                state: CohortState::Broken(failure),
                soiled_by,
            },
        };
        self.table.stand(self.cohort, standing, Some(crew));
        result.map_err(CloseFailure)
    }
}

impl<P: Platform> Drop for Lease<'_, P> {
    fn drop(&mut self) {
        let soiled_by = Some(self.owner());
        // A failure shows in the cohort's state, which stays out of service.
        let _ = self.finish(soiled_by);
    }
}
