//! Cohorts and refusals.

#![cfg(not(loom))]

mod kinds;
mod split;

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::lease::CohortState;
use crate::pci::{Function, FunctionReset, GroupCause, ResetMethods};
use crate::testing::cases;
use crate::testing::machine::{arbitrary, bdf, demo, id};
use crate::{Failure, Fault, Owner, Step};

const SAFE: Terms = Terms {
    interrupts_isolated: true,
    allow_unsafe_interrupts: false,
};
const GUEST: Owner = Owner::Guest(1);

fn cohorts(functions: Vec<Function>) -> Cohorts {
    Cohorts::new(&Topology::new(functions).unwrap())
}

fn refusal(cohorts: &Cohorts, devices: &[&str]) -> Refusal {
    let devices: Vec<DeviceId> = devices.iter().map(|text| id(text)).collect();
    cohorts.plan_open(GUEST, &devices, SAFE).unwrap_err()
}

#[test]
fn half_a_cohort_is_refused_with_what_is_missing_and_why() {
    let cohorts = cohorts(demo());
    let said = refusal(&cohorts, &["01:00.0"]).to_string();
    assert_eq!(
        said,
        "0000:01:00.1 must come with 0000:01:00.0: both are reset by slot 0000:01:00"
    );
    let said = refusal(&cohorts, &["01:00.1"]).to_string();
    assert_eq!(
        said,
        "0000:01:00.0 must come with 0000:01:00.1: both are reset by slot 0000:01:00"
    );
    let said = refusal(&cohorts, &["04:00.0", "03:01.0"]).to_string();
    assert_eq!(
        said,
        "0000:03:00.0 must come with 0000:03:01.0: both are reset by bus 0000:03"
    );
    // All that is missing is said at once.
    let Refusal::HalfCohort { missing } = refusal(&cohorts, &["03:00.0", "01:00.1"]) else {
        panic!("another refusal")
    };
    let missing: Vec<DeviceId> = missing.iter().map(|missing| missing.device).collect();
    assert_eq!(missing, [id("03:01.0"), id("01:00.0")]);
    // Two groups that one set joins into one cohort.
    let mut functions = demo();
    functions[2].acs = None;
    let said = self::cohorts(functions);
    let causes: Vec<Cause> = said
        .cohort_of(id("01:00.0"))
        .unwrap()
        .links()
        .iter()
        .map(|link| link.cause)
        .collect();
    assert!(matches!(
        causes[..],
        [
            Cause::Set(_),
            Cause::Group(GroupCause::MultifunctionLacksAcs { .. })
        ]
    ));
}

#[test]
fn a_request_is_refused_for_what_is_wrong_with_it() {
    let mut functions = demo();
    functions[3].not_assignable = Some(NotAssignable::BypassesIommu);
    let cohorts = cohorts(functions);
    assert_eq!(
        cohorts.plan_open(GUEST, &[], SAFE).unwrap_err(),
        Refusal::NoDevices
    );
    assert_eq!(refusal(&cohorts, &["09:00.0"]), Refusal::NotFound(id("09:00.0")));
    assert_eq!(
        refusal(&cohorts, &["00:01.0"]),
        Refusal::NotFound(id("00:01.0")),
        "a port"
    );
    assert_eq!(
        refusal(&cohorts, &["04:00.0", "04:00.0"]),
        Refusal::ListedTwice(id("04:00.0"))
    );
    let said = refusal(&cohorts, &["01:00.0"]).to_string();
    assert!(
        said.starts_with("0000:01:00.1 cannot be assigned: it bypasses the IOMMU"),
        "{said}"
    );
    assert!(said.ends_with("(and it must come with 0000:01:00.0)"), "{said}");
    let said = refusal(&cohorts, &["01:00.1"]).to_string();
    assert!(said.ends_with("(QEMU: iommu_platform=on)"), "{said}");
    let unsafe_terms = Terms {
        interrupts_isolated: false,
        allow_unsafe_interrupts: false,
    };
    let device = id("04:00.0");
    assert_eq!(
        cohorts.plan_open(GUEST, &[device], unsafe_terms).unwrap_err(),
        Refusal::UnsafeInterrupts { device }
    );
    let allowed = Terms {
        allow_unsafe_interrupts: true,
        ..unsafe_terms
    };
    assert_eq!(
        cohorts
            .plan_open(GUEST, &[device], allowed)
            .unwrap()
            .cohorts()
            .count(),
        1
    );
}

#[test]
fn how_a_cohort_stands_decides_who_may_have_it() {
    let cohorts = cohorts(demo());
    let (bare, slot) = (
        cohorts.cohort_of(id("00:00.0")).unwrap(),
        cohorts.cohort_of(id("01:00.0")).unwrap(),
    );
    let other = Owner::Guest(2);
    let standing = |state, soiled_by| Standing { state, soiled_by };
    let device = id("00:00.0");
    for state in [
        CohortState::Opening(other),
        CohortState::Open(other),
        CohortState::Closing(other),
    ] {
        let taken = Refusal::OwnedByAnother { device, owner: other };
        assert_eq!(standing(state, None).admits(GUEST, bare), Err(taken));
        let twice = Refusal::NotQuarantined { device, state };
        assert_eq!(standing(state, None).admits(other, bare), Err(twice));
    }
    let failure = Failure {
        step: Step::Quiesce(device),
        fault: Fault::Gone,
    };
    let broken = standing(CohortState::Broken(failure), None);
    assert_eq!(
        broken.admits(GUEST, bare),
        Err(Refusal::Broken { device, failure })
    );
    let used = standing(CohortState::Quarantined, Some(other));
    assert_eq!(
        used.admits(GUEST, bare),
        Err(Refusal::NoReset {
            device,
            last_owner: other
        })
    );
    assert_eq!(used.admits(other, bare), Ok(()));
    assert_eq!(used.admits(GUEST, slot), Ok(()), "it can be reset");
}

#[test]
fn each_set_is_reset_once_by_the_largest_scope() {
    let cohorts = cohorts(demo());
    let resets = |text| cohorts.cohort_of(id(text)).unwrap().resets().to_vec();
    assert_eq!(resets("00:00.0"), []);
    let members = Vec::from([id("01:00.0"), id("01:00.1")]);
    let set = SetId::PciSlot {
        segment: 0,
        bus: 1,
        slot: 0,
    };
    assert_eq!(
        resets("01:00.0"),
        [ResetAction::Set {
            set,
            by: SetReset::Port(bdf("00:01.0")),
            members
        }]
    );
    assert_eq!(resets("03:00.0").len(), 1);
    // A member that no bus reset may touch leaves the set to the functions' own resets.
    let mut functions = demo();
    functions[2].resets = ResetMethods::FLR | ResetMethods::PM;
    let cohorts = self::cohorts(functions);
    let cohort = cohorts.cohort_of(id("01:00.0")).unwrap();
    assert_eq!(
        cohort.resets(),
        [ResetAction::Device {
            device: id("01:00.0"),
            method: DeviceReset::Function(FunctionReset::Flr)
        }]
    );
    assert_eq!(cohort.unresettable(), Some(id("01:00.1")));
}

proptest! {
    #![proptest_config(cases(48))]

    /// Same set or same group, closed transitively, and nothing else.
    #[test]
    fn cohorts_are_the_components_of_sets_and_groups(functions in arbitrary()) {
        let topology = Topology::new(functions).unwrap();
        let cohorts = Cohorts::new(&topology);
        let mut name: BTreeMap<DeviceId, usize> = BTreeMap::new();
        for (number, device) in cohorts.devices().iter().enumerate() {
            name.insert(device.id, number);
        }
        let links: BTreeSet<(DeviceId, DeviceId)> =
            topology.group_links().iter().map(|link| (link.a.into(), link.b.into())).collect();
        loop {
            let before = name.clone();
            for a in cohorts.devices() {
                for b in cohorts.devices() {
                    let grouped = links.contains(&(a.id, b.id));
                    if grouped || a.set == b.set {
                        let least = name[&a.id].min(name[&b.id]);
                        name.insert(a.id, least);
                        name.insert(b.id, least);
                    }
                }
            }
            if before == name {
                break;
            }
        }
        for a in cohorts.devices() {
            for b in cohorts.devices() {
                prop_assert_eq!(a.cohort == b.cohort, name[&a.id] == name[&b.id]);
            }
        }
        let members: usize = cohorts.iter().map(|cohort| cohort.members().len()).sum();
        prop_assert_eq!(members, cohorts.devices().len());
    }

    /// A request is granted exactly if it consists of whole cohorts; else every missing device is named, with a
    /// reason that leads from what is there.
    #[test]
    fn whole_cohorts_or_nothing(functions in arbitrary(), pick in any::<u64>()) {
        let cohorts = cohorts(functions);
        let picked: Vec<DeviceId> = cohorts.devices().iter().map(|device| device.id).enumerate()
            .filter(|(at, _)| pick >> (at % 64) & 1 == 1).map(|(_, id)| id).collect();
        prop_assume!(!picked.is_empty());
        let there: BTreeSet<DeviceId> = picked.iter().copied().collect();
        match cohorts.plan_open(GUEST, &picked, SAFE) {
            Ok(plan) => {
                let opened: BTreeSet<DeviceId> =
                    plan.cohorts().flat_map(|cohort| cohort.members().iter().copied()).collect();
                prop_assert_eq!(opened, there);
            }
            Err(Refusal::HalfCohort { missing }) => {
                prop_assert!(!missing.is_empty());
                let mut named: BTreeSet<DeviceId> = there;
                let mut left = missing.clone();
                while let Some(at) = left.iter().position(|m| named.contains(&m.link.b)) {
                    let found = left.remove(at);
                    prop_assert_eq!(found.link.a, found.device);
                    prop_assert!(named.insert(found.device), "not missing at all");
                    if let Cause::Set(set) = found.link.cause {
                        prop_assert_eq!(cohorts.device(found.link.a).unwrap().set, set);
                        prop_assert_eq!(cohorts.device(found.link.b).unwrap().set, set);
                    }
                }
                prop_assert!(left.is_empty(), "a reason that leads nowhere: {left:?}");
                for cohort in picked.iter().filter_map(|id| cohorts.cohort_of(*id)) {
                    prop_assert!(cohort.members().iter().all(|member| named.contains(member)));
                }
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    /// Of a cohort, each member is reset by exactly one action, or by none and then it is said so.
    #[test]
    fn resets_cover_each_member_once(functions in arbitrary()) {
        let cohorts = cohorts(functions);
        for cohort in cohorts.iter() {
            let mut times: BTreeMap<DeviceId, usize> = cohort.members().iter().map(|id| (*id, 0)).collect();
            for device in cohort.resets().iter().flat_map(ResetAction::devices) {
                *times.get_mut(device).unwrap() += 1;
            }
            prop_assert!(times.values().all(|times| *times <= 1));
            prop_assert_eq!(times.values().any(|times| *times == 0), cohort.unresettable().is_some());
        }
    }
}
