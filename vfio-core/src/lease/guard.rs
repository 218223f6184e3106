//! The lease: proof that an owner holds a whole cohort.

use alloc::vec::Vec;

use super::{CohortState, CohortTable, Domain, Platform, open};
use crate::cohort::{Cohort, CohortId, Standing};
use crate::fault::Failure;
use crate::id::{DeviceId, Owner};
use crate::set::OpenToken;

/// A cohort that did not close in order. Its devices are as quiet as could be had, and out of service for good.
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
#[must_use = "dropping the lease closes the cohort"]
pub struct Lease<'t, P: Platform> {
    table: &'t CohortTable<P>,
    cohort: CohortId,
    domain: Domain<'t, P>,
    tokens: Vec<OpenToken>,
    /// Who had used the cohort before, in case the lease is never handed out.
    soiled_before: Option<Owner>,
    open: bool,
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
        tokens: Vec<OpenToken>,
        soiled_before: Option<Owner>,
    ) -> Self {
        Self {
            table,
            cohort,
            domain,
            tokens,
            soiled_before,
            open: true,
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

    /// The devices that the owner holds: all members of the cohort.
    #[must_use]
    pub fn devices(&self) -> &'t [DeviceId] {
        self.table.cohorts().get(self.cohort).map_or(&[], Cohort::members)
    }

    /// The domain that they are in.
    #[must_use]
    pub const fn domain(&self) -> &Domain<'t, P> {
        &self.domain
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
        let Some((cohort, slot)) = self.table.cohort_and_slot(self.cohort).filter(|_| self.open) else {
            return Ok(());
        };
        self.open = false;
        slot.set_state(CohortState::Closing(self.domain.owner()));
        let tokens = core::mem::take(&mut self.tokens);
        let result = open::close(self.table.platform(), cohort, &self.domain, tokens);
        self.domain.leave(cohort.requesters());
        slot.set(match result {
            Ok(()) => {
                let soiled_by = soiled_by.filter(|_| cohort.unresettable().is_some());
                Standing {
                    state: CohortState::Quarantined,
                    soiled_by,
                }
            }
            Err(failure) => Standing {
                state: CohortState::Broken(failure),
                soiled_by,
            },
        });
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
