//! A guest that starts anew with the cohorts that it has: all rest, its memory and its virtual devices are made new, all wake.

use alloc::vec::Vec;
use vfio_core::cohort::CohortId;
use vfio_core::lease::{CloseFailure, Lease, OpenFailure, Platform, Resting};

/// Why a guest was not started anew. Its cohorts are in quarantine, out of service, or still leased to it.
#[derive(Debug, thiserror::Error)]
pub enum NotAnew<E> {
    /// A cohort did not come to rest.
    #[error("{1}")]
    Rest(CohortId, CloseFailure),
    /// Memory or virtual devices could not be made.
    #[error(transparent)]
    Make(E),
    /// A cohort did not come back.
    #[error("{1}")]
    Wake(CohortId, OpenFailure),
}

impl<E> NotAnew<E> {
    /// The cohort that stood in the way, which is out of service perhaps.
    pub const fn cohort(&self) -> Option<CohortId> {
        match self {
            Self::Rest(cohort, _) | Self::Wake(cohort, _) => Some(*cohort),
            Self::Make(_) => None,
        }
    }
}

/// Takes the cohorts of `leases` from a guest whose processors have all left it, the last opened first, has `make` work while no
/// device reaches anything, and gives the cohorts back in the order of their opening. Waits as long as resets do.
///
/// # Errors
/// [`NotAnew`]; `leases` has those that the guest still holds, to be closed.
pub fn anew<'t, P: Platform, T, E>(
    leases: &mut Vec<Lease<'t, P>>,
    make: impl FnOnce() -> Result<T, E>,
) -> Result<T, NotAnew<E>> {
    let mut resting: Vec<Resting<'t, P>> = Vec::with_capacity(leases.len());
    while let Some(lease) = leases.pop() {
        let cohort = lease.cohort();
        let rests = lease.rest().map_err(|failure| NotAnew::Rest(cohort, failure))?;
        if let Some(device) = rests.not_reset() {
            log::warn!("nothing resets {device}: its guest starts anew with it as it left it, but quiet");
        }
        resting.push(rests);
    }
    let made = make().map_err(NotAnew::Make)?;
    while let Some(rests) = resting.pop() {
        let cohort = rests.cohort();
        let lease = rests.wake().map_err(|failure| NotAnew::Wake(cohort, failure))?;
        leases.push(lease);
    }
    Ok(made)
}
