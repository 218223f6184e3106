//! Turns what is known into records of the report, and the same into lines for people.
//!
//! Pure: what it says is tested on the host. The console sends it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use cohort_abi::report::{Cohort, Device, Record, Refusal};
use vfio_core::cohort::{CohortId, Cohorts, ResetAction};
use vfio_core::pci::{Bdf, Topology};
use vfio_core::{DeviceId, cohort};

use crate::pci::Function;

/// The records that describe a machine: every endpoint, then every cohort. `owner` and `state` say of a cohort who it
/// is for and how it stands.
pub fn machine(
    functions: &[Function],
    topology: &Topology,
    cohorts: &Cohorts,
    owner: impl Fn(CohortId) -> Option<String>,
    state: impl Fn(CohortId) -> String,
) -> Vec<Record> {
    let groups = groups(topology);
    let numbers: BTreeMap<CohortId, u32> = (0..)
        .zip(cohorts.iter())
        .map(|(number, cohort)| (cohort.id(), number))
        .collect();
    let number = |id| numbers.get(&id).copied().unwrap_or(u32::MAX);
    let mut records = Vec::new();
    for device in cohorts.devices() {
        let bdf = pci(device.id);
        let function = functions.iter().find(|function| function.bdf == bdf);
        records.push(Record::Device(Device {
            bdf,
            id: function.map_or((u16::MAX, u16::MAX), |function| {
                (function.vendor, function.device)
            }),
            class: function.map_or(0, |function| function.class),
            set: device.set.to_string(),
            group: groups.get(&bdf).copied().unwrap_or(u32::MAX),
            cohort: number(device.cohort),
            reset: reset(cohorts, device),
            not_assignable: device.not_assignable.map(|reason| reason.to_string()),
        }));
    }
    for cohort in cohorts.iter() {
        records.push(Record::Cohort(Cohort {
            id: number(cohort.id()),
            members: cohort.members().iter().map(|id| pci(*id)).collect(),
            because: cohort.links().iter().map(ToString::to_string).collect(),
            owner: owner(cohort.id()),
            state: state(cohort.id()),
        }));
    }
    records
}

/// How `device` is reset when it changes hands.
fn reset(cohorts: &Cohorts, device: &cohort::Device) -> String {
    let mut actions = cohorts
        .get(device.cohort)
        .into_iter()
        .flat_map(|cohort| cohort.resets());
    match actions.find(|action| action.devices().contains(&device.id)) {
        Some(ResetAction::Device { method, .. }) => format!("{method:?}").to_lowercase(),
        Some(ResetAction::Set { port, .. }) => format!("bus reset by {port}"),
        None => String::from("none"),
    }
}

/// The number of each endpoint's isolation group: the groups are counted in order of their first members.
fn groups(topology: &Topology) -> BTreeMap<Bdf, u32> {
    let mut first: BTreeMap<Bdf, Bdf> = topology
        .endpoints()
        .map(|function| (function.bdf, function.bdf))
        .collect();
    let root = |first: &BTreeMap<Bdf, Bdf>, mut at: Bdf| {
        while let Some(&above) = first.get(&at).filter(|above| **above != at) {
            at = above;
        }
        at
    };
    for link in topology.group_links() {
        let (a, b) = (root(&first, link.a), root(&first, link.b));
        first.insert(a.max(b), a.min(b));
    }
    let mut numbers = BTreeMap::new();
    let mut next = 0..;
    let endpoints: Vec<Bdf> = first.keys().copied().collect();
    endpoints
        .into_iter()
        .filter_map(|bdf| {
            let number = *numbers
                .entry(root(&first, bdf))
                .or_insert_with(|| next.next().unwrap_or(u32::MAX));
            Some((bdf, number))
        })
        .collect()
}

/// The PCI address of a device.
#[must_use]
pub const fn pci(id: DeviceId) -> Bdf {
    let DeviceId::Pci(bdf) = id;
    bdf
}

/// A refusal to open devices for `guest`.
#[must_use]
pub fn refusal(guest: &str, refusal: &cohort::Refusal) -> Refusal {
    use cohort::Refusal as R;
    let (device, missing): (Option<DeviceId>, &[cohort::Missing]) = match refusal {
        R::NoDevices | R::ForeignPlan | R::DomainOfAnother(_) => (None, &[]),
        R::HalfCohort { missing } => (missing.first().map(|missing| missing.link.b), missing),
        R::NotFound(device) | R::ListedTwice(device) => (Some(*device), &[]),
        R::NotAssignable {
            because_of: device, ..
        }
        | R::OwnedByAnother { device, .. }
        | R::NotQuarantined { device, .. }
        | R::NoReset { device, .. }
        | R::UnsafeInterrupts { device }
        | R::Broken { device, .. } => (Some(*device), &[]),
    };
    let missing: Vec<Bdf> = missing.iter().map(|missing| pci(missing.device)).collect();
    let add: Vec<String> = missing.iter().map(|bdf| format!("\"{bdf}\"")).collect();
    let fix = if add.is_empty() {
        String::new()
    } else {
        format!("; add {} to its devices", add.join(", "))
    };
    Refusal {
        guest: Some(guest.to_string()),
        device: device.map(pci),
        missing,
        text: format!("{refusal}{fix}"),
    }
}
