//! What a cohort consists of at this moment: its members without those that were removed, registered with their sets.
//!
//! Whoever works on a cohort takes its crew out of the table, so that nobody else can: an open does, the lease keeps it, and a
//! close, a repair and a removal put it back.

use alloc::vec::Vec;

use super::Platform;
use super::domain::Stuck;
use super::steps::Steps;
use crate::cohort::{Cohort, Cohorts, ResetAction};
use crate::fault::Failure;
use crate::hash::Map;
use crate::id::{DeviceId, Owner, Requester};
use crate::set::{DeviceSet, OpenToken, Registration};

/// A reset, and where to find its set.
pub(super) struct Reset {
    pub(super) action: ResetAction,
    /// Index of a registration of its set.
    registration: usize,
}

/// The members of a cohort.
pub(super) struct Crew {
    /// All that are still there, also those that can be given to nobody.
    registrations: Vec<Registration>,
    /// Those that can be given to somebody, in order.
    members: Vec<DeviceId>,
    requesters: Vec<Requester>,
    /// Of devices that were removed while the cohort was out of service: nobody knows what these can still reach.
    strays: Vec<Requester>,
    resets: Vec<Reset>,
    unresettable: Option<DeviceId>,
    /// The domain that it could not be taken out of, if that happened.
    stuck: Option<Stuck>,
    /// Room for a token for each, so that an open need not look for memory.
    pub(super) tokens: Vec<OpenToken>,
}

impl Crew {
    /// The crew of `cohort` from those members that are registered, in order.
    pub(super) fn new(cohorts: &Cohorts, cohort: &Cohort, registrations: Vec<Registration>) -> Self {
        let mut members = Vec::with_capacity(registrations.len());
        let mut requesters = Vec::new();
        for registration in &registrations {
            let Some(device) = cohorts.device(registration.device()) else {
                continue;
            };
            // What can be given to nobody is left alone: the hypervisor may work with it.
            if device.not_assignable.is_none() {
                members.push(device.id);
                requesters.extend_from_slice(&device.requesters);
            }
        }
        requesters.sort_unstable();
        requesters.dedup();
        let mut crew = Self {
            tokens: Vec::with_capacity(members.len()),
            registrations,
            members,
            requesters,
            strays: Vec::new(),
            resets: Vec::new(),
            unresettable: None,
            stuck: None,
        };
        let mut covered: Map<DeviceId, ()> = Map::default();
        for action in cohort.resets() {
            let here = |device: &&DeviceId| crew.place(**device).is_some();
            let present = action.devices().iter().filter(here);
            let Some(registration) = present.clone().next().and_then(|device| crew.place(*device)) else {
                continue;
            };
            let leaves_alone = present.clone().all(|device| crew.has(*device));
            let action = match action {
                ResetAction::Device { .. } => action.clone(),
                ResetAction::Set { set, by, .. } => ResetAction::Set {
                    set: *set,
                    by: *by,
                    members: present.copied().collect(),
                },
            };
            if leaves_alone {
                covered.extend(action.devices().iter().map(|device| (*device, ())));
                crew.resets.push(Reset { action, registration });
            }
        }
        let bare = |device: &&DeviceId| !covered.contains_key(*device);
        crew.unresettable = crew.members.iter().find(bare).copied();
        crew
    }

    fn has(&self, device: DeviceId) -> bool {
        self.members.binary_search(&device).is_ok()
    }

    fn place(&self, device: DeviceId) -> Option<usize> {
        self.registrations
            .binary_search_by_key(&device, Registration::device)
            .ok()
    }

    pub(super) fn members(&self) -> &[DeviceId] {
        &self.members
    }

    pub(super) fn requesters(&self) -> &[Requester] {
        &self.requesters
    }

    /// Requesters that none of the members has and that may be attached to a domain still.
    pub(super) fn strays(&self) -> &[Requester] {
        &self.strays
    }

    /// Adds `requesters` to the strays, but for those that a member has too.
    pub(super) fn lose(&mut self, requesters: impl IntoIterator<Item = Requester>) {
        let own = |requester: &Requester| self.requesters.binary_search(requester).is_ok();
        self.strays
            .extend(requesters.into_iter().filter(|requester| !own(requester)));
        self.strays.sort_unstable();
        self.strays.dedup();
    }

    /// All strays are in quarantine.
    pub(super) fn forget_strays(&mut self) {
        self.strays.clear();
    }

    /// A member that no reset reaches.
    pub(super) fn unresettable(&self) -> Option<DeviceId> {
        self.unresettable
    }

    /// How it is reset, each with the set that it happens in.
    pub(super) fn resets(&self) -> impl Iterator<Item = (&ResetAction, &DeviceSet)> {
        self.resets.iter().filter_map(|reset| {
            let set = self.registrations.get(reset.registration)?.set();
            Some((&reset.action, set))
        })
    }

    /// Opens each member for `owner`; the tokens of those that are open are kept.
    pub(super) fn open_all<P: Platform>(&mut self, steps: Steps<'_, P>, owner: Owner) -> Result<(), Failure> {
        for registration in &self.registrations {
            self.tokens.push(steps.open(registration, owner)?);
        }
        Ok(())
    }

    /// The registration of a member.
    pub(super) fn registration(&self, device: DeviceId) -> Option<&Registration> {
        self.registrations.get(self.place(device)?)
    }

    /// All registrations, in order.
    pub(super) fn registrations(&self) -> &[Registration] {
        &self.registrations
    }

    /// All registrations, for a new crew, and the domain that they could not be taken out of.
    pub(super) fn disband(self) -> (Vec<Registration>, Option<Stuck>) {
        (self.registrations, self.stuck)
    }

    /// Notes the domain that members could not be taken out of, or that there is none.
    pub(super) fn set_stuck(&mut self, stuck: Option<Stuck>) {
        self.stuck = stuck;
    }

    pub(super) const fn stuck(&self) -> Option<&Stuck> {
        self.stuck.as_ref()
    }
}
