//! Turns what is known into records of the report, and the same into lines for people.
//!
//! Pure: what it says is tested on the host. The console sends it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use cohort_abi::report::{Cohort, Device, Record, Refusal};
use core::fmt::{Display, Write as _};
use vfio_core::cohort::{CohortId, Cohorts};
use vfio_core::pci::{Bdf, NotAssignable};
use vfio_core::{DeviceId, cohort};

use crate::pci::Function;

/// The records that describe a machine: every endpoint, then every cohort. `owner` and `state` say of a cohort who it
/// is for and how it stands.
pub fn machine(
    functions: &[Function],
    cohorts: &Cohorts,
    owner: impl Fn(CohortId) -> Option<String>,
    state: impl Fn(CohortId) -> String,
) -> Vec<Record> {
    let known: BTreeMap<Bdf, &Function> = functions
        .iter()
        .map(|function| (function.bdf, function))
        .collect();
    let numbers: BTreeMap<CohortId, u32> = (0..)
        .zip(cohorts.iter())
        .map(|(number, cohort)| (cohort.id(), number))
        .collect();
    let number = |id| numbers.get(&id).copied().unwrap_or(u32::MAX);
    let resets = resets(cohorts);
    let mut records = Vec::new();
    for device in cohorts.devices() {
        // The report knows PCI functions, the only devices that this kernel discovers.
        let Some(bdf) = device.id.pci() else { continue };
        let function = known.get(&bdf);
        records.push(Record::Device(Device {
            bdf,
            id: function.map_or((u16::MAX, u16::MAX), |function| {
                (function.vendor, function.device)
            }),
            class: function.map_or(0, |function| function.class),
            set: text(device.set),
            group: u32::try_from(device.group.0).unwrap_or(u32::MAX),
            cohort: number(device.cohort),
            reset: resets
                .get(&device.id)
                .cloned()
                .unwrap_or_else(|| String::from("none")),
            not_assignable: device.not_assignable.map(|reason| reason.to_string()),
            split_unsafe: split(cohorts, device),
        }));
    }
    for cohort in cohorts.iter() {
        records.push(Record::Cohort(Cohort {
            id: number(cohort.id()),
            members: cohort.members().iter().filter_map(|id| id.pci()).collect(),
            because: cohort.links().iter().map(text).collect(),
            owner: owner(cohort.id()),
            state: state(cohort.id()),
        }));
    }
    records
}

/// What `value` prints, with room for a sentence from the start.
fn text(value: impl Display) -> String {
    let mut text = String::with_capacity(SENTENCE);
    // Writing to a string does not fail.
    let _ = write!(text, "{value}");
    text
}

/// Bytes of most sentences.
const SENTENCE: usize = 160;

/// How each device is reset when it changes hands.
fn resets(cohorts: &Cohorts) -> BTreeMap<DeviceId, String> {
    let actions = cohorts.iter().flat_map(|cohort| cohort.resets());
    let each = actions.flat_map(|action| action.devices().iter().map(move |device| (*device, action)));
    each.map(|(device, action)| (device, action.to_string()))
        .collect()
}

/// What the user's `split-unsafe` did for `device`, a sentence for each thing that it overrides.
fn split(cohorts: &Cohorts, device: &cohort::Device) -> Vec<String> {
    let cuts = cohorts.cuts_of(device.id);
    if device.split_unsafe && cuts.is_empty() {
        return Vec::from([format!(
            "split-unsafe does nothing for {}: no missing ACS joins it to others",
            device.id
        )]);
    }
    cuts.iter().map(ToString::to_string).collect()
}

/// A refusal to open devices for `guest`.
#[must_use]
pub fn refusal(guest: &str, refusal: &cohort::Refusal) -> Refusal {
    use cohort::Refusal as R;
    let (device, missing): (Option<DeviceId>, &[cohort::Missing]) = match refusal {
        R::NoDevices | R::ForeignPlan | R::DomainOfAnother(_) => (None, &[]),
        R::HalfCohort { missing } => (missing.first().map(|missing| missing.link.b), missing),
        R::NotFound(device) | R::ListedTwice(device) | R::Removed(device) => (Some(*device), &[]),
        R::NotAssignable {
            because_of: device, ..
        }
        | R::OwnedByAnother { device, .. }
        | R::NotQuarantined { device, .. }
        | R::NoReset { device, .. }
        | R::UnsafeInterrupts { device }
        | R::VirtualFunctionHeld { device, .. }
        | R::PhysicalFunctionHeld { device, .. }
        | R::Busy { device, .. }
        | R::Broken { device, .. } => (Some(*device), &[]),
    };
    let missing: Vec<Bdf> = missing
        .iter()
        .filter_map(|missing| missing.device.pci())
        .collect();
    let add: Vec<String> = missing.iter().map(|bdf| format!("\"{bdf}\"")).collect();
    let fix = match refusal {
        R::NotFound(_) => String::from("; `cargo run -- sets` lists what there is"),
        R::ListedTwice(_) => String::from("; list it once"),
        R::NotAssignable {
            reason: NotAssignable::BypassesIommu,
            ..
        } => String::from("; in QEMU give it iommu_platform=on (`devices` under [machine])"),
        R::NotAssignable { .. } => {
            String::from("; remove it, `cargo run -- sets` lists what can be assigned")
        }
        _ if add.is_empty() => String::new(),
        _ => format!("; add {} to its devices", add.join(", ")),
    };
    Refusal {
        guest: Some(guest.to_string()),
        device: device.and_then(DeviceId::pci),
        missing,
        text: format!("{refusal}{fix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use vfio_core::Owner;
    use vfio_core::cohort::{Inventory, Terms};
    use vfio_core::pci::{
        Acs, AcsCapability, BusRange, Function as CoreFunction, PortKind, ResetMethods, Topology,
    };

    const TERMS: Terms = Terms {
        interrupts_isolated: false,
        allow_unsafe_interrupts: true,
    };

    fn bdf(text: &str) -> Bdf {
        text.parse().unwrap()
    }

    /// 00:02.0 alone; 01:00.* in one slot that ACS splits into two groups; 02:00.* in one slot and one group.
    fn topology() -> Topology {
        let port = |at, bus| CoreFunction {
            buses: Some(BusRange {
                secondary: bus,
                subordinate: bus,
            }),
            acs: Some(AcsCapability::enabled(Acs::PORT)),
            ..CoreFunction::new(bdf(at), PortKind::RootPort)
        };
        let function = |at, parent: Option<&str>, acs, resets| CoreFunction {
            parent: parent.map(bdf),
            acs,
            resets,
            ..CoreFunction::new(bdf(at), PortKind::Endpoint)
        };
        let (first, second) = (Some("00:1c.0"), Some("00:1d.0"));
        let isolated = Some(AcsCapability::enabled(Acs::FUNCTION));
        Topology::new(vec![
            function("00:02.0", None, None, ResetMethods::FLR),
            port("00:1c.0", 1),
            port("00:1d.0", 2),
            function("01:00.0", first, isolated, ResetMethods::BUS),
            function("01:00.1", first, isolated, ResetMethods::BUS),
            function("02:00.0", second, None, ResetMethods::BUS),
            CoreFunction {
                not_assignable: Some(NotAssignable::NoIommu),
                ..function("02:00.1", second, None, ResetMethods::BUS)
            },
        ])
        .unwrap()
    }

    #[test]
    fn groups_are_counted_by_their_first_members() {
        let cohorts = Cohorts::new(&topology());
        let records = machine(&[], &cohorts, |_| None, |_| String::new());
        let groups: Vec<u32> = records
            .iter()
            .filter_map(|record| match record {
                Record::Device(device) => Some(device.group),
                _ => None,
            })
            .collect();
        assert_eq!(groups, [0, 1, 2, 3, 3], "bridges have none");
    }

    #[test]
    fn what_the_user_split_off_is_said_of_the_device() {
        let names = ["02:00.0", "00:02.0"];
        let mut inventory = Inventory::splitting(names.map(|text| bdf(text).into()));
        inventory.add_pci(&topology());
        let records = machine(
            &[],
            &Cohorts::build(inventory).unwrap(),
            |_| None,
            |_| String::new(),
        );
        let said = |text| {
            records
                .iter()
                .find_map(|record| match record {
                    Record::Device(device) if device.bdf == bdf(text) => Some(device.split_unsafe.join("; ")),
                    _ => None,
                })
                .unwrap()
        };
        assert_eq!(
            said("02:00.0"),
            "0000:02:00.0 is split off by split-unsafe, although 0000:02:00.0 lacks ACS request redirection, \
             completion redirection towards the other functions of its slot"
        );
        assert!(said("00:02.0").contains("does nothing"), "{}", said("00:02.0"));
        assert_eq!(said("01:00.0"), "");
    }

    #[test]
    fn a_machine_is_reported_device_by_device_and_cohort_by_cohort() {
        let cohorts = Cohorts::new(&topology());
        let slot = cohorts.cohort_of(bdf("01:00.0").into()).unwrap().id();
        let records = machine(
            &[],
            &cohorts,
            |id| (id == slot).then(|| String::from("web")),
            |_| String::from("in quarantine"),
        );
        let devices: Vec<&Device> = records
            .iter()
            .filter_map(|record| match record {
                Record::Device(device) => Some(device),
                _ => None,
            })
            .collect();
        let reported: Vec<&Cohort> = records
            .iter()
            .filter_map(|record| match record {
                Record::Cohort(cohort) => Some(cohort),
                _ => None,
            })
            .collect();
        assert_eq!((devices.len(), reported.len()), (5, 3));
        let device = |text| *devices.iter().find(|device| device.bdf == bdf(text)).unwrap();
        assert_eq!(device("00:02.0").reset, "flr");
        assert_eq!(device("01:00.1").reset, "bus reset by 0000:00:1c.0");
        assert_eq!(
            device("00:02.0").id,
            (u16::MAX, u16::MAX),
            "discovery did not find it"
        );
        assert!(device("02:00.1").not_assignable.is_some());
        assert_eq!(device("02:00.0").not_assignable, None);
        let ids: BTreeSet<u32> = reported.iter().map(|cohort| cohort.id).collect();
        assert_eq!(ids, BTreeSet::from([0, 1, 2]));
        for cohort in &reported {
            for member in &cohort.members {
                let found = devices.iter().find(|device| device.bdf == *member).unwrap();
                assert_eq!(found.cohort, cohort.id, "{member}");
            }
            let is_slot = cohort.members == [bdf("01:00.0"), bdf("01:00.1")];
            assert_eq!(cohort.owner.as_deref(), is_slot.then_some("web"));
            assert_eq!(cohort.because.is_empty(), cohort.members.len() == 1);
        }
    }

    #[test]
    fn half_a_cohort_is_refused_with_what_to_add() {
        let cohorts = Cohorts::new(&topology());
        let half = cohorts
            .plan_open(Owner::Guest(0), &[bdf("01:00.0").into()], TERMS)
            .unwrap_err();
        let refusal = refusal("web", &half);
        assert_eq!(
            refusal.text,
            "0000:01:00.1 must come with 0000:01:00.0: both are reset by slot 0000:01:00; \
             add \"0000:01:00.1\" to its devices"
        );
        assert_eq!(refusal.guest.as_deref(), Some("web"));
        assert_eq!(refusal.missing, [bdf("01:00.1")]);
        assert!(refusal.device.is_some());
    }

    #[test]
    fn a_refusal_that_nothing_added_could_cure_says_nothing_of_adding() {
        let cohorts = Cohorts::new(&topology());
        for (device, named) in [("02:00.0", "02:00.1"), ("00:1f.0", "00:1f.0")] {
            let refused = cohorts
                .plan_open(Owner::Guest(0), &[bdf(device).into()], TERMS)
                .unwrap_err();
            let refusal = refusal("web", &refused);
            assert!(refusal.text.starts_with(&refused.to_string()), "{}", refusal.text);
            assert!(!refusal.text.contains("; add"), "{}", refusal.text);
            assert_eq!(refusal.missing, []);
            assert!(refusal.text.contains(named), "{}", refusal.text);
        }
    }
}
