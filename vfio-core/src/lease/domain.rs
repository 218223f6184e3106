//! A domain that several cohorts of one owner can be opened into: one guest, one domain, one mapping for each
//! region of its memory, however many cohorts it holds.

use alloc::vec::Vec;

use super::{CohortTable, Platform};
use crate::domain::{Mapping, MappingError, check_mappings};
use crate::fault::Fault;
use crate::id::{DomainId, Owner};
use crate::sync::{Arc, Mutex};

/// Why there is no domain. Nothing was left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// The regions cannot be one domain.
    #[error(transparent)]
    Regions(#[from] MappingError),
    /// There is no domain to be had.
    #[error("creating a domain failed: {0}")]
    Create(Fault),
    /// A region cannot be mapped.
    #[error("mapping the region at {} failed: {fault}", .region.iova)]
    Map {
        /// The region.
        region: Mapping,
        /// Why.
        fault: Fault,
    },
}

/// A domain that cannot be taken down, because devices may still reach what it maps.
#[derive(thiserror::Error)]
#[error("leases, or cohorts that are out of service, still use the domain")]
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

struct Inner<'t, P: Platform> {
    table: &'t CohortTable<P>,
    owner: Owner,
    id: DomainId,
    regions: Vec<Mapping>,
    /// A requester that could not be put into quarantine is still in it: it must never be destroyed.
    pinned: Mutex<bool>,
}

/// A domain of one owner. Leases share it; the domain is destroyed after the last of them is closed and this
/// handle is gone. The memory it maps may be used for something else only after [`close`](Self::close) is `Ok`.
pub struct Domain<'t, P: Platform>(Arc<Inner<'t, P>>);

impl<P: Platform> core::fmt::Debug for Domain<'_, P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Domain")
            .field("owner", &self.0.owner)
            .field("id", &self.0.id)
            .finish()
    }
}

impl<'t, P: Platform> Domain<'t, P> {
    /// Creates the domain and maps `regions`, in any order.
    pub(super) fn build(
        table: &'t CohortTable<P>,
        owner: Owner,
        mut regions: Vec<Mapping>,
    ) -> Result<Self, DomainError> {
        regions.sort_unstable_by_key(|region| region.iova);
        check_mappings(&regions)?;
        let id = table
            .platform()
            .create_domain(owner)
            .map_err(DomainError::Create)?;
        // From here on, dropping it destroys the domain with all that is mapped.
        let inner = Inner {
            table,
            owner,
            id,
            regions,
            pinned: Mutex::new(false),
        };
        for &region in &inner.regions {
            table
                .platform()
                .map(id, region)
                .map_err(|fault| DomainError::Map { region, fault })?;
        }
        Ok(Self(Arc::new(inner)))
    }

    /// Whose domain it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.0.owner
    }

    /// The IOMMU driver's name for it.
    #[must_use]
    pub fn id(&self) -> DomainId {
        self.0.id
    }

    /// What it maps, in order of address.
    #[must_use]
    pub fn regions(&self) -> &[Mapping] {
        &self.0.regions
    }

    pub(super) fn is_of(&self, table: &CohortTable<P>) -> bool {
        core::ptr::eq(self.0.table, table)
    }

    /// Another handle, for a lease.
    pub(super) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Keeps the domain and what it maps for good: a requester that could not be put into quarantine is still in it.
    pub(super) fn pin(&self) {
        *self.0.pinned.lock() = true;
    }

    /// Destroys the domain, and returns the regions that no device reaches any more. `Ok` even if the IOMMU failed to
    /// destroy the domain: no requester is attached to it.
    ///
    /// # Errors
    /// Leases still use it, or a cohort went out of service with a requester attached. The memory stays reachable.
    pub fn close(self) -> Result<Vec<Mapping>, DomainInUse<'t, P>> {
        if *self.0.pinned.lock() {
            return Err(DomainInUse { domain: self });
        }
        match Arc::try_unwrap(self.0) {
            Ok(mut inner) => Ok(core::mem::take(&mut inner.regions)),
            Err(shared) => Err(DomainInUse { domain: Self(shared) }),
        }
    }
}

impl<P: Platform> Drop for Inner<'_, P> {
    fn drop(&mut self) {
        if *self.pinned.lock() {
            return;
        }
        if self.table.platform().destroy_domain(self.id).is_err() {
            self.table.count_lost_domain();
        }
    }
}
