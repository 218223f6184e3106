//! Which cohorts each guest gets: `vfio-core`'s plans, and that no two of them meet.

use crate::report;
use alloc::vec::Vec;
use cohort_abi::bundle::Config;
use cohort_abi::report::Refusal;
use vfio_core::cohort::{self, CohortId, OpenPlan};
use vfio_core::lease::{CohortTable, Platform};
use vfio_core::{DeviceId, Owner};

/// A plan for each guest, in the configuration's order; `None` for one without devices.
///
/// # Errors
/// All refusals. Nothing was touched.
pub fn plans<'t, P: Platform>(
    table: &'t CohortTable<P>,
    config: &Config,
) -> Result<Vec<Option<OpenPlan<'t>>>, Vec<Refusal>> {
    let (mut plans, mut refusals) = (Vec::new(), Vec::new());
    let mut taken: Vec<(CohortId, Owner)> = Vec::new();
    for (number, guest) in (0..).zip(&config.guests) {
        let owner = Owner::Guest(number);
        if guest.devices.is_empty() {
            plans.push(None);
            continue;
        }
        let devices: Vec<DeviceId> = guest.devices.iter().map(|bdf| DeviceId::from(*bdf)).collect();
        match table.plan_open(owner, &devices, config.allow_unsafe_interrupts) {
            Err(refusal) => refusals.push(report::refusal(&guest.name, &refusal)),
            Ok(plan) => {
                for cohort in plan.cohorts() {
                    let holder = taken.iter().find(|(id, _)| *id == cohort.id());
                    if let (Some(&(_, owner)), Some(&device)) = (holder, cohort.members().first()) {
                        let refusal = cohort::Refusal::OwnedByAnother { device, owner };
                        refusals.push(report::refusal(&guest.name, &refusal));
                    }
                    taken.push((cohort.id(), owner));
                }
                plans.push(Some(plan));
            }
        }
    }
    if refusals.is_empty() {
        Ok(plans)
    } else {
        Err(refusals)
    }
}

/// The guest that the configuration gives `cohort` to: the first that names a member.
#[must_use]
pub fn owner_of(config: &Config, members: &[DeviceId]) -> Option<alloc::string::String> {
    let names = |guest: &&cohort_abi::bundle::Guest| {
        guest
            .devices
            .iter()
            .any(|bdf| members.contains(&DeviceId::from(*bdf)))
    };
    config.guests.iter().find(names).map(|guest| guest.name.clone())
}
