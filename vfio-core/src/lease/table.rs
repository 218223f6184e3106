//! The cohorts of a machine with their states: who holds what, and the way to open more.

use alloc::vec::Vec;

use super::open::{self, OpenFailure};
use super::{CohortState, Domain, DomainError, DomainOptions, Lease, Platform};
use crate::cohort::{Cohort, CohortId, Cohorts, OpenPlan, Refusal, Standing, Terms};
use crate::domain::Mapping;
use crate::fault::{Failure, Fault, Step};
use crate::id::{DeviceId, Owner, Requester};
use crate::set::{RegisterError, Registration, SetTable};
use crate::sync::Mutex;

/// What a cohort needs beside its analysis.
pub(super) struct Slot {
    standing: Mutex<Standing>,
    pub(super) registrations: Vec<Registration>,
}

/// All cohorts of a machine, and what they are doing.
///
/// It lives as long as the hypervisor does: leases and domains borrow it.
pub struct CohortTable<P: Platform> {
    platform: P,
    cohorts: Cohorts,
    sets: SetTable,
    slots: Vec<Slot>,
    lost_domains: Mutex<u32>,
}

impl<P: Platform> CohortTable<P> {
    /// Registers every device with its set, quiets it and puts it into quarantine; a cohort where that fails
    /// starts out of service. Devices that can be given to nobody are left alone.
    ///
    /// # Errors
    /// A device could not be registered.
    pub fn new(cohorts: Cohorts, platform: P) -> Result<Self, RegisterError> {
        let sets = SetTable::new();
        let mut slots = Vec::new();
        for cohort in cohorts.iter() {
            let mut registrations = Vec::new();
            let mut standing = Standing::FRESH;
            for device in cohort.members().iter().filter_map(|id| cohorts.device(*id)) {
                registrations.push(sets.register(device.id, Some(device.set))?);
            }
            if let Err(failure) = deny_all(&platform, &cohorts, cohort) {
                standing.state = CohortState::Broken(failure);
            }
            slots.push(Slot {
                standing: Mutex::new(standing),
                registrations,
            });
        }
        Ok(Self {
            platform,
            cohorts,
            sets,
            slots,
            lost_domains: Mutex::new(0),
        })
    }

    /// What the hypervisor supplied.
    #[must_use]
    pub const fn platform(&self) -> &P {
        &self.platform
    }

    /// The cohorts.
    #[must_use]
    pub const fn cohorts(&self) -> &Cohorts {
        &self.cohorts
    }

    /// The sets that the devices are registered in.
    #[must_use]
    pub const fn sets(&self) -> &SetTable {
        &self.sets
    }

    /// The state of a cohort; `None` if it is none of these.
    #[must_use]
    pub fn state(&self, id: CohortId) -> Option<CohortState> {
        self.slots.get(id.0).map(|slot| slot.standing.lock().state)
    }

    /// Who used the cohort last, if nothing has reset it since.
    #[must_use]
    pub fn soiled_by(&self, id: CohortId) -> Option<Owner> {
        self.slots
            .get(id.0)
            .and_then(|slot| slot.standing.lock().soiled_by)
    }

    /// How many domains the IOMMU failed to destroy; nothing is attached to these.
    #[must_use]
    pub fn lost_domains(&self) -> u32 {
        *self.lost_domains.lock()
    }

    pub(super) fn count_lost_domain(&self) {
        let mut lost = self.lost_domains.lock();
        *lost = lost.saturating_add(1);
    }

    /// Whether `owner` can open `devices` now, and what that would open. Nothing is done.
    ///
    /// # Errors
    /// [`Refusal`] names the devices and the cause.
    pub fn plan_open(
        &self,
        owner: Owner,
        devices: &[DeviceId],
        allow_unsafe_interrupts: bool,
    ) -> Result<OpenPlan<'_>, Refusal> {
        let terms = Terms {
            interrupts_isolated: self.platform.interrupts_isolated(),
            allow_unsafe_interrupts,
        };
        self.cohorts.plan_with(owner, devices, terms, |id| {
            self.slots
                .get(id.0)
                .map_or(Standing::FRESH, |slot| *slot.standing.lock())
        })
    }

    /// A domain for `owner` that maps `mappings`, for [`open`](Self::open) to open cohorts into.
    ///
    /// # Errors
    /// [`DomainError`]; nothing is left behind.
    pub fn domain(&self, owner: Owner, mappings: Vec<Mapping>) -> Result<Domain<'_, P>, DomainError> {
        self.domain_with(owner, mappings, DomainOptions::default())
    }

    /// The same, with other limits than the usual ones.
    ///
    /// # Errors
    /// [`DomainError`]; nothing is left behind.
    pub fn domain_with(
        &self,
        owner: Owner,
        mappings: Vec<Mapping>,
        options: DomainOptions,
    ) -> Result<Domain<'_, P>, DomainError> {
        Domain::build(self, owner, mappings, options)
    }

    /// Opens all cohorts of `plan` into `domain`, or none: a lease for each, in the plan's order.
    ///
    /// # Errors
    /// [`OpenFailure`] says what stood in the way, and whether a cohort went out of service.
    pub fn open<'t>(
        &'t self,
        plan: &OpenPlan<'_>,
        domain: &Domain<'t, P>,
    ) -> Result<Vec<Lease<'t, P>>, OpenFailure> {
        if !core::ptr::eq(plan.source, &self.cohorts) {
            return Err(Refusal::ForeignPlan.into());
        }
        if domain.owner() != plan.owner() || !domain.is_of(self) {
            return Err(Refusal::DomainOfAnother(domain.owner()).into());
        }
        for cohort in plan.cohorts() {
            domain.admits(cohort.requesters())?;
        }
        let mut leases: Vec<Lease<'t, P>> = Vec::new();
        for id in plan.cohorts().map(Cohort::id) {
            match self.open_one(id, domain) {
                Ok(lease) => leases.push(lease),
                Err(failure) => {
                    while let Some(lease) = leases.pop() {
                        lease.abandon();
                    }
                    return Err(failure);
                }
            }
        }
        Ok(leases)
    }

    fn open_one<'t>(&'t self, id: CohortId, domain: &Domain<'t, P>) -> Result<Lease<'t, P>, OpenFailure> {
        let owner = domain.owner();
        let (cohort, slot) = self.cohort_and_slot(id).ok_or(Refusal::ForeignPlan)?;
        let before = {
            let mut standing = slot.standing.lock();
            standing.admits(owner, cohort)?;
            let before = standing.soiled_by;
            standing.state = CohortState::Opening(owner);
            before
        };
        if let Err(refusal) = domain.join(cohort.requesters()) {
            slot.set_state(CohortState::Quarantined);
            return Err(refusal.into());
        }
        match open::run(&self.platform, cohort, &slot.registrations, domain) {
            Ok(tokens) => {
                *slot.standing.lock() = Standing {
                    state: CohortState::Open(owner),
                    soiled_by: Some(owner),
                };
                Ok(Lease::new(self, id, domain.share(), tokens, before))
            }
            Err(unwound) => {
                domain.leave(cohort.requesters());
                let state = unwound
                    .broken
                    .map_or(CohortState::Quarantined, CohortState::Broken);
                slot.standing.lock().state = state;
                Err(match unwound.broken {
                    None => OpenFailure::Failed(unwound.failure),
                    Some(broken) => OpenFailure::Broken {
                        failure: unwound.failure,
                        broken,
                    },
                })
            }
        }
    }

    pub(super) fn cohort_and_slot(&self, id: CohortId) -> Option<(&Cohort, &Slot)> {
        Some((self.cohorts.get(id)?, self.slots.get(id.0)?))
    }
}

impl Slot {
    pub(super) fn set(&self, standing: Standing) {
        *self.standing.lock() = standing;
    }

    pub(super) fn set_state(&self, state: CohortState) {
        self.standing.lock().state = state;
    }
}

/// Quiets the members of `cohort` and puts their requesters into quarantine.
fn deny_all<P: Platform>(platform: &P, cohorts: &Cohorts, cohort: &Cohort) -> Result<(), Failure> {
    let failed = |step| move |fault: Fault| Failure { step, fault };
    let mut result = Ok(());
    let mut requesters: Vec<Requester> = Vec::new();
    for device in cohort.members().iter().filter_map(|id| cohorts.device(*id)) {
        if device.not_assignable.is_some() {
            continue;
        }
        let quiet = platform
            .quiesce(device.id)
            .map_err(failed(Step::Quiesce(device.id)));
        result = result.and(quiet);
        requesters.extend_from_slice(&device.requesters);
    }
    requesters.sort_unstable();
    requesters.dedup();
    for requester in requesters {
        let denied = platform
            .quarantine(requester)
            .map_err(failed(Step::Quarantine(requester)));
        result = result.and(denied);
    }
    result
}
