//! The cohorts of a machine with their states: who holds what, and the way to open more.

use alloc::vec::Vec;

use super::crew::Crew;
use super::open::{self, OpenFailure, Unwound};
use super::steps::Steps;
use super::{CohortState, Domain, DomainError, DomainOptions, Lease, Platform};
use crate::cohort::{
    Cohort, CohortId, Cohorts, HotResetPlan, HotResetRefusal, OpenPlan, Present, Refusal, Standing, Terms,
};
use crate::domain::Mapping;
use crate::hash::Map;
use crate::id::{DeviceId, Owner};
use crate::set::{Patience, RegisterError, SetTable};
use crate::sync::{Mutex, Rank};

/// What a cohort needs beside its analysis.
pub(super) struct Slot {
    pub(super) standing: Standing,
    /// Not here while somebody works on the cohort, or holds its lease.
    pub(super) crew: Option<Crew>,
}

/// All cohorts of a machine, and what they are doing.
///
/// It lives as long as the hypervisor does: leases and domains borrow it.
pub struct CohortTable<P: Platform> {
    platform: P,
    cohorts: Cohorts,
    sets: SetTable,
    slots: Vec<Mutex<Slot>>,
    pub(super) removed: Mutex<Map<DeviceId, ()>>,
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
            let mut registrations = Vec::with_capacity(cohort.members().len());
            let mut standing = Standing::FRESH;
            for device in cohort.members().iter().filter_map(|id| cohorts.device(*id)) {
                registrations.push(sets.register(device.id, Some(device.set))?);
            }
            let crew = Crew::new(&cohorts, cohort, registrations);
            if let Err(failure) = open::deny_all(Steps(&platform), &crew) {
                standing.state = CohortState::Broken(failure);
            }
            let crew = Some(crew);
            slots.push(Mutex::ranked(Rank::Cohort, Slot { standing, crew }));
        }
        Ok(Self {
            platform,
            cohorts,
            sets,
            slots,
            removed: Mutex::new(Map::default()),
            lost_domains: Mutex::new(0),
        })
    }

    /// What the hypervisor supplied.
    #[must_use]
    pub const fn platform(&self) -> &P {
        &self.platform
    }

    pub(super) const fn steps(&self) -> Steps<'_, P> {
        Steps(&self.platform)
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

    fn standing(&self, id: CohortId) -> Option<Standing> {
        self.slots.get(id.0).map(|slot| slot.lock().standing)
    }

    /// The state of a cohort; `None` if it is none of these.
    #[must_use]
    pub fn state(&self, id: CohortId) -> Option<CohortState> {
        Some(self.standing(id)?.state)
    }

    /// Who used the cohort last, if nothing has reset it since.
    #[must_use]
    pub fn soiled_by(&self, id: CohortId) -> Option<Owner> {
        self.standing(id)?.soiled_by
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

    /// Whether the device was removed, or is to be removed when its cohort is closed.
    #[must_use]
    pub fn is_removed(&self, device: DeviceId) -> bool {
        self.removed.lock().contains_key(&device)
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
        let present = Present {
            standing: |id| self.standing(id).unwrap_or(Standing::FRESH),
            removed: |device| self.is_removed(device),
        };
        self.cohorts.plan_with(owner, devices, terms, &present)
    }

    /// Whether `owner` may reset the whole set of `device` now. Nothing is done; the owner's lease does it
    /// ([`Lease::hot_reset`]).
    ///
    /// # Errors
    /// [`HotResetRefusal`] names the device that stands in the way.
    pub fn plan_hot_reset(
        &self,
        owner: Owner,
        device: DeviceId,
    ) -> Result<HotResetPlan<'_>, HotResetRefusal> {
        if self.is_removed(device) {
            return Err(HotResetRefusal::NotFound(device));
        }
        self.cohorts.plan_hot_reset(owner, device, |device| {
            match self.state(self.cohorts.device(device)?.cohort)? {
                CohortState::Open(owner) | CohortState::Resetting(owner) => Some(owner),
                _ => None,
            }
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

    /// Opens all cohorts of `plan` into `domain`, or none: a lease for each, in the plan's order. A cohort that somebody else
    /// works on is refused.
    ///
    /// Takes memory for the leases and for what the domain notes of each requester; how many devices there are beside these
    /// makes no difference.
    ///
    /// # Errors
    /// [`OpenFailure`] says what stood in the way, and whether a cohort went out of service.
    pub fn open<'t>(
        &'t self,
        plan: &OpenPlan<'_>,
        domain: &Domain<'t, P>,
    ) -> Result<Vec<Lease<'t, P>>, OpenFailure> {
        self.open_patiently(plan, domain, Patience::NONE)
    }

    /// As [`open`](Self::open), and waits for a cohort that somebody else works on, as `patience` says for each.
    ///
    /// # Errors
    /// [`OpenFailure`] says what stood in the way, and whether a cohort went out of service.
    pub fn open_patiently<'t>(
        &'t self,
        plan: &OpenPlan<'_>,
        domain: &Domain<'t, P>,
        patience: Patience<'_>,
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
        for cohort in plan.cohorts() {
            match self.open_one(cohort, domain, patience) {
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

    fn open_one<'t>(
        &'t self,
        cohort: &Cohort,
        domain: &Domain<'t, P>,
        patience: Patience<'_>,
    ) -> Result<Lease<'t, P>, OpenFailure> {
        let owner = domain.owner();
        let (mut crew, before) = self.claim_patiently(cohort, owner, patience)?;
        if let Err(refusal) = domain.join(crew.requesters()) {
            let standing = Standing {
                state: CohortState::Quarantined,
                soiled_by: before,
            };
            self.stand(cohort.id(), standing, Some(crew));
            return Err(refusal.into());
        }
        let opened = open::run(self.steps(), &mut crew, domain);
        self.conclude(cohort.id(), domain, crew, before, opened)
    }

    /// After the steps of an open: the lease, or the cohort as the way back left it, whose last user was `before`.
    pub(super) fn conclude<'t>(
        &'t self,
        cohort: CohortId,
        domain: &Domain<'t, P>,
        crew: Crew,
        before: Option<Owner>,
        opened: Result<(), Unwound>,
    ) -> Result<Lease<'t, P>, OpenFailure> {
        match opened {
            Ok(()) => {
                let owner = domain.owner();
                let standing = Standing {
                    state: CohortState::Open(owner),
                    soiled_by: Some(owner),
                };
                self.stand(cohort, standing, None);
                Ok(Lease::new(self, cohort, domain.share(), crew, before))
            }
            Err(unwound) => {
                domain.leave(crew.requesters());
                let state = unwound
                    .broken
                    .map_or(CohortState::Quarantined, CohortState::Broken);
                let standing = Standing {
                    state,
                    soiled_by: before,
                };
                self.stand(cohort, standing, Some(crew));
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

    fn claim_patiently(
        &self,
        cohort: &Cohort,
        owner: Owner,
        mut patience: Patience<'_>,
    ) -> Result<(Crew, Option<Owner>), Refusal> {
        loop {
            let (refusal, passing) = match self.claim(cohort, owner) {
                Ok(claimed) => return Ok(claimed),
                Err(refused) => refused,
            };
            if !passing || !patience.wait() {
                return Err(refusal);
            }
        }
    }

    /// Makes a cohort `Opening` for `owner`, and takes its crew. The refusal comes with whether it may pass.
    ///
    /// Of two owners that want a physical and a virtual function at the same time at least one sees the other: each first
    /// says that it wants its own, then looks at the other's.
    fn claim(&self, cohort: &Cohort, owner: Owner) -> Result<(Crew, Option<Owner>), (Refusal, bool)> {
        let slot = self
            .slots
            .get(cohort.id().0)
            .ok_or((Refusal::ForeignPlan, false))?;
        let (crew, before) = {
            let mut slot = slot.lock();
            let Standing { state, soiled_by } = slot.standing;
            slot.standing
                .admits(owner, cohort)
                .map_err(|refusal| (refusal, state.is_passing()))?;
            let device = cohort.members().first().copied();
            let device = device.ok_or((Refusal::NoDevices, false))?;
            // In quarantine and without a crew: a device is being removed.
            let crew = slot.crew.take().ok_or((Refusal::Busy { device, state }, true))?;
            slot.standing.state = CohortState::Opening(owner);
            (crew, soiled_by)
        };
        let at_rest = Standing {
            state: CohortState::Quarantined,
            soiled_by: before,
        };
        // Who was asked to leave while the cohort was open leaves now.
        let crew = self.dismiss(cohort, crew);
        if crew.members().is_empty() {
            self.stand(cohort.id(), at_rest, Some(crew));
            let device = cohort.members().first().copied();
            return Err((device.map_or(Refusal::NoDevices, Refusal::Removed), false));
        }
        for rival in cohort.rivals() {
            let state = self.state(rival.cohort).unwrap_or(CohortState::Quarantined);
            if let Err(refusal) = rival.admits(owner, state) {
                self.stand(cohort.id(), at_rest, Some(crew));
                return Err((refusal, state.is_passing()));
            }
        }
        Ok((crew, before))
    }

    /// Sets how a cohort stands, and puts its crew back if there is one to be put back.
    pub(super) fn stand(&self, id: CohortId, standing: Standing, crew: Option<Crew>) {
        if let Some(slot) = self.slots.get(id.0) {
            let mut slot = slot.lock();
            slot.standing = standing;
            if crew.is_some() {
                slot.crew = crew;
            }
        }
    }

    /// Works on the slot of a cohort, under its lock.
    pub(super) fn with_slot<R>(&self, id: CohortId, work: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        Some(work(&mut self.slots.get(id.0)?.lock()))
    }
}
