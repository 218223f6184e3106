//! A domain that several cohorts of one owner can be opened into: one guest, one domain, one mapping for each
//! region of its memory, however many cohorts it holds and however many IOMMU units translate for them.
//!
//! The table of mappings is here and nowhere else. A unit hears of them when the first requester behind it is attached
//! (all are mapped there, one by one), and of each change from then on; with the last requester it forgets them.
//!
//! Mapping, unmapping, attaching and quarantining take turns within a domain (`Turn`): the lock is held to look at the
//! table and to change it, never while an IOMMU or a mediated device is waited for. Who does not get a turn in time is
//! refused as busy, and nothing was done.

mod attach;
mod change;
mod error;
mod software;
mod state;
#[cfg(test)]
mod tests;

pub(in crate::lease) use attach::Stuck;
pub use error::{DomainError, JoinRefusal, MapFailure, SoftwareRefusal, UnmapFailure};
pub use software::{Release, SoftwareDma, UnmapListener};

use alloc::vec::Vec;

use super::{CohortTable, Platform};
use crate::addr::Iova;
use crate::domain::{DEFAULT_LIMIT, DEFAULT_PINNED, Limits, Mapping, Mappings};
use crate::id::{DomainId, Owner};
use crate::sync::{Arc, Mutex};
use state::State;

/// How much a domain may hold. Each mapping and each pinned page takes some memory of the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainOptions {
    /// Mappings at most.
    pub mappings: usize,
    /// Pages that mediated devices may have pinned, counted for each device.
    pub pinned_pages: usize,
}

impl Default for DomainOptions {
    fn default() -> Self {
        Self {
            mappings: DEFAULT_LIMIT,
            pinned_pages: DEFAULT_PINNED,
        }
    }
}

/// A domain that cannot be taken down, because devices may still reach what it maps.
#[derive(thiserror::Error)]
#[error("leases, mediated devices, or cohorts that are out of service, still use the domain")]
pub struct DomainInUse<'t, P: Platform> {
    /// To try again with.
    pub domain: Domain<'t, P>,
}

impl<P: Platform> core::fmt::Debug for DomainInUse<'_, P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DomainInUse")
            .field("domain", &self.domain)
            .finish()
    }
}

/// What is left when the domain is gone: views and handles of mediated devices hold it too.
struct Shared {
    state: Mutex<State>,
}

struct Inner<'t, P: Platform> {
    table: &'t CohortTable<P>,
    owner: Owner,
    id: DomainId,
    shared: Arc<Shared>,
}

/// A domain of one owner. Leases share it; the domain is destroyed after the last of them is closed and this
/// handle is gone. The memory it maps may be used for something else only after it was unmapped, or after
/// [`close`](Self::close) is `Ok`.
pub struct Domain<'t, P: Platform>(Arc<Inner<'t, P>>);

impl<P: Platform> core::fmt::Debug for Domain<'_, P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Domain")
            .field("owner", &self.0.owner)
            .field("id", &self.0.id)
            .finish()
    }
}

/// A look at what a domain maps, which does not keep it alive: when the domain is gone, at what it mapped last.
#[derive(Clone)]
pub struct DomainView(Arc<Shared>);

impl core::fmt::Debug for DomainView {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("DomainView")
    }
}

impl DomainView {
    /// The mapping at `iova`.
    #[must_use]
    pub fn find(&self, iova: Iova) -> Option<Mapping> {
        self.0.state.lock().mappings.find(iova)
    }
}

impl<'t, P: Platform> Domain<'t, P> {
    /// Creates the domain with `mappings`, in any order. No requester is in it, so that no unit hears of them yet.
    pub(super) fn build(
        table: &'t CohortTable<P>,
        owner: Owner,
        mappings: Vec<Mapping>,
        options: DomainOptions,
    ) -> Result<Self, DomainError> {
        let mut state = State::new(Mappings::new(options.mappings), options.pinned_pages);
        for mapping in mappings {
            state.mappings.map(mapping, &state.limits)?;
        }
        let id = table
            .platform()
            .create_domain(owner)
            .map_err(DomainError::Create)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
        });
        Ok(Self(Arc::new(Inner {
            table,
            owner,
            id,
            shared,
        })))
    }

    /// Whose domain it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.0.owner
    }

    /// The platform's name for it.
    #[must_use]
    pub fn id(&self) -> DomainId {
        self.0.id
    }

    /// What it maps, in order of address; what failed to be unmapped too.
    #[must_use]
    pub fn mappings(&self) -> Vec<Mapping> {
        self.0.shared.state.lock().mappings.iter().collect()
    }

    /// The mapping at `iova`, unless it is poisoned.
    #[must_use]
    pub fn find(&self, iova: Iova) -> Option<Mapping> {
        self.0.shared.state.lock().mappings.find(iova)
    }

    /// How many more mappings it can have.
    #[must_use]
    pub fn mappings_left(&self) -> usize {
        self.0.shared.state.lock().mappings.left()
    }

    /// What mappings must keep to now: ask before memory is laid out.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.0.shared.state.lock().limits.clone()
    }

    /// A look at its mappings that does not keep it alive.
    #[must_use]
    pub fn view(&self) -> DomainView {
        DomainView(Arc::clone(&self.0.shared))
    }

    pub(super) fn is_of(&self, table: &CohortTable<P>) -> bool {
        core::ptr::eq(self.0.table, table)
    }

    /// Another handle, for a lease.
    pub(super) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Destroys the domain, and returns the mappings that no device reaches any more. `Ok` even if the IOMMU failed to
    /// destroy the domain: no requester is attached to it.
    ///
    /// # Errors
    /// Leases or mediated devices still use it, or a cohort went out of service with a requester attached. The memory
    /// stays reachable.
    pub fn close(self) -> Result<Vec<Mapping>, DomainInUse<'t, P>> {
        let in_use = {
            let state = self.0.shared.state.lock();
            state.is_pinned() || !state.listeners.is_empty()
        };
        if in_use {
            return Err(DomainInUse { domain: self });
        }
        match Arc::try_unwrap(self.0) {
            Ok(inner) => Ok(inner.shared.state.lock().mappings.iter().collect()),
            Err(shared) => Err(DomainInUse { domain: Self(shared) }),
        }
    }
}

impl<P: Platform> Drop for Inner<'_, P> {
    fn drop(&mut self) {
        if self.shared.state.lock().is_pinned() {
            return;
        }
        if self.table.platform().destroy_domain(self.id).is_err() {
            self.table.count_lost_domain();
        }
    }
}
