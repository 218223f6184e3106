//! Whether a request for devices may be granted: pure, without touching a device.

use alloc::vec::Vec;

use super::{Cause, Cohort, CohortId, Cohorts, Missing, Refusal, Rival};
use crate::hash::Map;
use crate::id::{DeviceId, Owner};
use crate::lease::CohortState;

/// What the platform offers and the configuration allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The platform keeps devices from raising other interrupts than their own (interrupt remapping).
    pub interrupts_isolated: bool,
    /// The owner may have devices although the platform does not.
    pub allow_unsafe_interrupts: bool,
}

/// What the plan needs to know of a cohort's present and past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: CohortState,
    /// The last owner, if nothing has reset the cohort since.
    pub(crate) soiled_by: Option<Owner>,
}

impl Standing {
    pub(crate) const FRESH: Self = Self {
        state: CohortState::Quarantined,
        soiled_by: None,
    };

    /// Whether `owner` may open `cohort` as it stands.
    pub(crate) fn admits(self, owner: Owner, cohort: &Cohort) -> Result<(), Refusal> {
        let Some(&device) = cohort.members().first() else {
            return Err(Refusal::NoDevices);
        };
        let state = self.state;
        match state {
            CohortState::Quarantined => {}
            CohortState::Broken(failure) => return Err(Refusal::Broken { device, failure }),
            CohortState::Repairing => return Err(Refusal::Busy { device, state }),
            CohortState::Opening(holder)
            | CohortState::Open(holder)
            | CohortState::Resetting(holder)
            | CohortState::Closing(holder)
            | CohortState::Resting(holder) => {
                return Err(if holder == owner {
                    Refusal::NotQuarantined { device, state }
                } else {
                    Refusal::OwnedByAnother {
                        device,
                        owner: holder,
                    }
                });
            }
        }
        match (self.soiled_by, cohort.unresettable()) {
            (Some(last_owner), Some(device)) if last_owner != owner => {
                Err(Refusal::NoReset { device, last_owner })
            }
            _ => Ok(()),
        }
    }
}

impl Rival {
    /// Whether `owner` may open the cohort that this is a rival of while the other one is in `state`.
    pub(crate) fn admits(&self, owner: Owner, state: CohortState) -> Result<(), Refusal> {
        match state.holder().filter(|holder| *holder != owner) {
            None => Ok(()),
            Some(holder) => Err(self.refusal(holder)),
        }
    }

    /// What is said while `owner` holds the other one.
    #[must_use]
    pub const fn refusal(&self, owner: Owner) -> Refusal {
        if self.holds_physical {
            Refusal::VirtualFunctionHeld {
                device: self.physical_function,
                virtual_function: self.virtual_function,
                owner,
            }
        } else {
            Refusal::PhysicalFunctionHeld {
                device: self.virtual_function,
                physical_function: self.physical_function,
                owner,
            }
        }
    }
}

/// What a plan takes into account beyond the analysis.
pub(crate) struct Present<S, R> {
    /// How each cohort stands.
    pub(crate) standing: S,
    /// Which devices have been removed.
    pub(crate) removed: R,
}

/// Whole cohorts that an owner may open. Only [`Cohorts::plan_open`] and
/// [`CohortTable::plan_open`](crate::lease::CohortTable::plan_open) make one.
#[derive(Debug)]
#[must_use = "a plan opens nothing by itself"]
pub struct OpenPlan<'c> {
    pub(crate) source: &'c Cohorts,
    owner: Owner,
    cohorts: Vec<CohortId>,
}

impl<'c> OpenPlan<'c> {
    /// Who the cohorts are for.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        self.owner
    }

    /// The cohorts to open, in the order in which the request first named a member; those with a physical function come
    /// before the others, because its reset reaches its virtual functions.
    pub fn cohorts(&self) -> impl DoubleEndedIterator<Item = &'c Cohort> {
        let source = self.source;
        self.cohorts.iter().filter_map(move |id| source.get(*id))
    }
}

impl Cohorts {
    /// Whether `owner` could open `devices` on a machine where nothing is open, and what that would open.
    ///
    /// # Errors
    /// [`Refusal`] says what is wrong with the request.
    pub fn plan_open(
        &self,
        owner: Owner,
        devices: &[DeviceId],
        terms: Terms,
    ) -> Result<OpenPlan<'_>, Refusal> {
        let present = Present {
            standing: |_| Standing::FRESH,
            removed: |_| false,
        };
        self.plan_with(owner, devices, terms, &present)
    }

    /// As [`plan_open`](Self::plan_open), on a machine that is as `present` says.
    pub(crate) fn plan_with(
        &self,
        owner: Owner,
        devices: &[DeviceId],
        terms: Terms,
        present: &Present<impl Fn(CohortId) -> Standing, impl Fn(DeviceId) -> bool>,
    ) -> Result<OpenPlan<'_>, Refusal> {
        let &first = devices.first().ok_or(Refusal::NoDevices)?;
        let mut requested: Map<DeviceId, ()> = Map::default();
        let mut named: Map<CohortId, DeviceId> = Map::default();
        let mut cohorts = Vec::new();
        for &id in devices {
            let device = self.device(id).ok_or(Refusal::NotFound(id))?;
            if (present.removed)(id) {
                return Err(Refusal::Removed(id));
            }
            if requested.insert(id, ()).is_some() {
                return Err(Refusal::ListedTwice(id));
            }
            if named
                .insert(device.cohort, *named.get(&device.cohort).unwrap_or(&id))
                .is_none()
            {
                cohorts.push(device.cohort);
            }
        }
        // First what no further device in the request could cure, then all that is missing at once.
        let named_in = |cohort: &Cohort| named.get(&cohort.id).copied();
        let wanted = || cohorts.iter().filter_map(|id| self.get(*id));
        for cohort in wanted() {
            for device in cohort.members().iter().filter_map(|id| self.device(*id)) {
                let Some(reason) = device.not_assignable else {
                    continue;
                };
                let itself = requested.contains_key(&device.id);
                let because_of = named_in(cohort).filter(|_| !itself).unwrap_or(device.id);
                return Err(Refusal::NotAssignable {
                    device: device.id,
                    reason,
                    because_of,
                });
            }
        }
        let mut missing: Vec<Missing> = wanted().flat_map(|cohort| missing(cohort, &requested)).collect();
        missing.retain(|missing| !(present.removed)(missing.device));
        if !missing.is_empty() {
            return Err(Refusal::HalfCohort { missing });
        }
        for cohort in wanted() {
            (present.standing)(cohort.id).admits(owner, cohort)?;
            for rival in cohort.rivals() {
                rival.admits(owner, (present.standing)(rival.cohort).state)?;
            }
        }
        if !terms.interrupts_isolated && !terms.allow_unsafe_interrupts {
            return Err(Refusal::UnsafeInterrupts { device: first });
        }
        cohorts.sort_by_key(|id| {
            let physical = |rival: &Rival| rival.holds_physical;
            !self
                .get(*id)
                .is_some_and(|cohort| cohort.rivals.iter().any(physical))
        });
        Ok(OpenPlan {
            source: self,
            owner,
            cohorts,
        })
    }
}

/// The members of `cohort` that are not in `requested`, each with the link by which it belongs.
///
/// A search from what is there along the causes that join: all devices with one cause are joined pairwise by it,
/// so that the link can name the device from which the search came.
fn missing(cohort: &Cohort, requested: &Map<DeviceId, ()>) -> Vec<Missing> {
    if cohort
        .members()
        .iter()
        .all(|device| requested.contains_key(device))
    {
        return Vec::new();
    }
    let mut causes_of: Map<DeviceId, Vec<Cause>> = Map::default();
    let mut devices_of: Map<Cause, Vec<DeviceId>> = Map::default();
    for link in cohort.links() {
        for device in [link.a, link.b] {
            causes_of.entry(device).or_default().push(link.cause);
            devices_of.entry(link.cause).or_default().push(device);
        }
    }
    let mut reached: Map<DeviceId, ()> = Map::default();
    let mut queue: Vec<DeviceId> = cohort
        .members()
        .iter()
        .copied()
        .filter(|device| requested.contains_key(device))
        .collect();
    reached.extend(queue.iter().map(|device| (*device, ())));
    let mut missing = Vec::new();
    let mut next = 0;
    while let Some(&from) = queue.get(next) {
        next += 1;
        for cause in causes_of.remove(&from).unwrap_or_default() {
            for device in devices_of.remove(&cause).unwrap_or_default() {
                if reached.insert(device, ()).is_none() {
                    missing.push(Missing {
                        device,
                        link: super::Link {
                            a: device,
                            b: from,
                            cause,
                        },
                    });
                    queue.push(device);
                }
            }
        }
    }
    missing.sort_unstable_by_key(|missing| missing.device);
    missing
}
