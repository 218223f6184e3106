//! Which cohorts each guest gets: `vfio-core`'s plans, and that no two of them meet.

use crate::report;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use cohort_abi::bundle::Config;
use cohort_abi::report::Refusal;
use vfio_core::cohort::{self, Cohort, CohortId, OpenPlan};
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
    let mut taken: BTreeMap<CohortId, Owner> = BTreeMap::new();
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
                    if let Some(refusal) = meets(&taken, cohort, owner) {
                        refusals.push(report::refusal(&guest.name, &refusal));
                    }
                    taken.insert(cohort.id(), owner);
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

/// Why `owner` cannot have `cohort` beside those that others get.
fn meets(taken: &BTreeMap<CohortId, Owner>, cohort: &Cohort, owner: Owner) -> Option<cohort::Refusal> {
    let others = |id| taken.get(&id).copied().filter(|holder| *holder != owner);
    if let (Some(&owner), Some(&device)) = (taken.get(&cohort.id()), cohort.members().first()) {
        return Some(cohort::Refusal::OwnedByAnother { device, owner });
    }
    let mut rivals = cohort.rivals().iter();
    rivals.find_map(|rival| Some(rival.refusal(others(rival.cohort)?)))
}

/// Which guest the configuration gives each device to.
pub struct Owners<'c>(BTreeMap<DeviceId, &'c str>);

impl<'c> Owners<'c> {
    /// As `config` says; the first guest that names a device counts.
    #[must_use]
    pub fn new(config: &'c Config) -> Self {
        let mut owners = BTreeMap::new();
        for guest in &config.guests {
            for bdf in &guest.devices {
                owners.entry(DeviceId::from(*bdf)).or_insert(guest.name.as_str());
            }
        }
        Self(owners)
    }

    /// The guest that is given a cohort of these members: the one that is given the first of them.
    #[must_use]
    pub fn of(&self, members: &[DeviceId]) -> Option<String> {
        members
            .iter()
            .find_map(|member| self.0.get(member))
            .map(|name| String::from(*name))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::assign::tests::fixture::{Fixture, LEGACY, NVME, PAIR, bdf, id};
    use cohort_abi::bundle::{Denied, Expect, Guest, Image, Mode, OnExit, OnFault};

    fn config(guests: &[(&str, &[&str])]) -> Config {
        let guests = guests.iter().map(|(name, devices)| Guest {
            name: String::from(*name),
            cpus: Vec::new(),
            memory: 2 << 20,
            memory_at: None,
            image: Image { offset: 0, len: 0 },
            initrd: None,
            denied: Denied::Stop,
            on_fault: OnFault::Report,
            cmdline: String::new(),
            devices: devices.iter().map(|text| bdf(text)).collect(),
            expect: Expect::Any,
            on_exit: OnExit::Stop,
        });
        Config {
            mode: Mode::Run,
            allow_unsafe_interrupts: true,
            split_unsafe: Vec::new(),
            deadline_ms: 0,
            guests: guests.collect(),
        }
    }

    #[test]
    fn each_guest_gets_a_plan_for_whole_cohorts_and_one_without_devices_none() {
        let fixture = Fixture::new();
        let table = fixture.table();
        let devices = [NVME, LEGACY[1], LEGACY[0]];
        let config = config(&[("rogue", &PAIR), ("idle", &[]), ("storage", &devices)]);
        let plans = plans(&table, &config).unwrap();
        let counts: Vec<_> = plans
            .iter()
            .map(|plan| plan.as_ref().map(|plan| (plan.owner(), plan.cohorts().count())))
            .collect();
        assert_eq!(
            counts,
            [Some((Owner::Guest(0), 1)), None, Some((Owner::Guest(2), 2))]
        );
    }

    #[test]
    fn two_guests_cannot_have_one_cohort() {
        let fixture = Fixture::new();
        let table = fixture.table();
        let refusals = plans(&table, &config(&[("first", &PAIR), ("second", &PAIR)])).unwrap_err();
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].guest.as_deref(), Some("second"));
        assert_eq!(refusals[0].device, Some(bdf(PAIR[0])));
        assert!(refusals[0].text.contains("belongs to"), "{}", refusals[0].text);
    }

    #[test]
    fn a_cohort_cannot_be_divided_between_guests_and_both_are_told() {
        let fixture = Fixture::new();
        let table = fixture.table();
        let before = fixture.machine.bytes();
        let refusals = plans(&table, &config(&[("one", &PAIR[..1]), ("two", &PAIR[1..])])).unwrap_err();
        let found: Vec<_> = refusals
            .iter()
            .map(|refusal| (refusal.guest.as_deref(), refusal.missing.as_slice()))
            .collect();
        assert_eq!(
            found,
            [
                (Some("one"), &[bdf(PAIR[1])][..]),
                (Some("two"), &[bdf(PAIR[0])][..])
            ]
        );
        assert_eq!(fixture.machine.bytes(), before, "nothing was touched");
    }

    #[test]
    fn interrupts_that_nothing_isolates_need_the_users_word() {
        let fixture = Fixture::new();
        let table = fixture.table();
        let mut config = config(&[("storage", &[NVME])]);
        config.allow_unsafe_interrupts = false;
        let refusals = plans(&table, &config).unwrap_err();
        assert!(refusals[0].text.contains("allow-unsafe-interrupts = true"));
    }

    #[test]
    fn a_cohort_is_the_guests_that_names_a_member() {
        let config = config(&[("idle", &[]), ("rogue", &PAIR), ("storage", &[NVME])]);
        let owners = Owners::new(&config);
        let of = |device| owners.of(&[id("00:1e.0"), id(device)]);
        assert_eq!(of(PAIR[1]).as_deref(), Some("rogue"));
        assert_eq!(of(NVME).as_deref(), Some("storage"));
        assert_eq!(of(LEGACY[0]), None);
    }
}
