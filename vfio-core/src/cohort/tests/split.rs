//! `split-unsafe`: what it cuts, what it cannot cut, and that nothing of it is silent.

use std::collections::BTreeSet;
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::pci::{Acs, AcsCapability};

fn splitting(functions: Vec<Function>, devices: &[DeviceId]) -> Cohorts {
    let mut inventory = Inventory::splitting(devices.iter().copied());
    inventory.add_pci(&Topology::new(functions).unwrap());
    Cohorts::build(inventory).unwrap()
}

/// The demo with functions on bus 1 that are sets of their own by being virtual, below a port without redirection.
fn shared_port() -> Vec<Function> {
    let mut functions = demo();
    functions[1].acs = Some(AcsCapability {
        able: Acs::PORT,
        enabled: Acs::PORT - Acs::REQUEST_REDIRECTION,
    });
    functions[3].physical_function = Some(bdf("01:00.0"));
    functions
}

#[test]
fn a_port_that_lacks_acs_is_overridden_and_named() {
    let (a, b) = (id("01:00.0"), id("01:00.1"));
    let joined = splitting(shared_port(), &[]);
    assert_eq!(joined.device(a).unwrap().cohort, joined.device(b).unwrap().cohort);
    assert!(joined.cuts().is_empty());
    for split in [a, b] {
        let cohorts = splitting(shared_port(), &[split]);
        assert_ne!(
            cohorts.device(a).unwrap().cohort,
            cohorts.device(b).unwrap().cohort
        );
        assert_ne!(cohorts.device(a).unwrap().group, cohorts.device(b).unwrap().group);
        let [cut] = cohorts.cuts() else {
            panic!("{:?}", cohorts.cuts())
        };
        assert_eq!(
            cut.to_string(),
            std::format!(
                "{split} is split off by split-unsafe, although port 0000:00:01.0 lacks ACS request redirection"
            )
        );
        assert!(cohorts.device(split).unwrap().split_unsafe);
        assert!(
            !cohorts
                .device(if split == a { b } else { a })
                .unwrap()
                .split_unsafe
        );
        // Physical and virtual function in two cohorts watch each other.
        assert_eq!(cohorts.cohort_of(a).unwrap().rivals().len(), 1);
    }
}

#[test]
fn sets_and_aliases_cannot_be_cut() {
    // One slot is one reset, whatever the user says.
    let cohorts = splitting(demo(), &[id("01:00.0")]);
    assert_eq!(cohorts.cohort_of(id("01:00.0")).unwrap().members().len(), 2);
    // One requester id is one device to the IOMMU, and no port was overridden for it.
    let cohorts = splitting(demo(), &[id("03:00.0"), id("03:01.0")]);
    assert_eq!(cohorts.cohort_of(id("03:00.0")).unwrap().members().len(), 2);
    assert_eq!(
        cohorts.device(id("03:00.0")).unwrap().group,
        cohorts.device(id("03:01.0")).unwrap().group
    );
    assert!(
        cohorts
            .cuts()
            .iter()
            .all(|cut| cut.device.pci().unwrap().bus() == 3)
    );
}

proptest! {
    #![proptest_config(cases(48))]

    /// Whatever is split off: sets and requesters join as before, everybody else stays grouped as before, and a device that
    /// lost company is named as cut.
    #[test]
    fn a_split_takes_out_what_it_names_and_nothing_else(functions in arbitrary(), pick in any::<u64>()) {
        let plain = splitting(functions.clone(), &[]);
        let split: BTreeSet<DeviceId> = plain.devices().iter().map(|device| device.id).enumerate()
            .filter(|(at, _)| pick >> (at % 64) & 3 == 0).map(|(_, id)| id).collect();
        let cohorts = splitting(functions, &split.iter().copied().collect::<Vec<_>>());
        for (a, before_a) in cohorts.devices().iter().zip(plain.devices()) {
            prop_assert_eq!(a.split_unsafe, split.contains(&a.id));
            let mut lost = false;
            for (b, before_b) in cohorts.devices().iter().zip(plain.devices()) {
                if a.set == b.set || a.requesters == b.requesters {
                    prop_assert_eq!(a.cohort, b.cohort);
                }
                let (was, is) = (before_a.group == before_b.group, a.group == b.group);
                prop_assert!(was || !is, "a split joins nothing");
                if !split.contains(&a.id) && !split.contains(&b.id) {
                    // What only a split alias had held together may come apart, and nothing else does.
                    let aliases = plain.devices().iter().any(|c| {
                        split.contains(&c.id) && plain.devices().iter().any(|d| d.id != c.id && d.requesters == c.requesters)
                    });
                    prop_assert!(was == is || aliases);
                }
                lost |= was && !is;
            }
            if split.contains(&a.id) && lost {
                prop_assert!(!cohorts.cuts_of(a.id).is_empty(), "{} was cut in silence", a.id);
            }
            if !split.contains(&a.id) {
                prop_assert!(cohorts.cuts_of(a.id).is_empty());
            }
        }
    }
}
