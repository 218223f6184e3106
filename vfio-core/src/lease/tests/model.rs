//! Random requests by two guests, beside a model: who holds which cohort, and what cannot be had any more.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

use super::{GUEST, OTHER, cohort_at, domain, table};
use crate::Owner;
use crate::cohort::Refusal;
use crate::lease::{CohortState, Lease, OpenFailure};
use crate::testing::cases;
use crate::testing::machine::arbitrary;
use crate::testing::platform::Recorder;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Opens the cohort of a device, or all of it but one member, for one of two guests; a step may fail.
    Open {
        device: usize,
        whole: bool,
        other: bool,
        fail: Option<usize>,
    },
    Close {
        lease: usize,
        fail: Option<usize>,
    },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let fail = prop::option::weighted(0.15, 0..12usize);
    let op = prop_oneof![
        (0..32usize, prop::bool::weighted(0.9), any::<bool>(), fail.clone()).prop_map(
            |(device, whole, other, fail)| Op::Open {
                device,
                whole,
                other,
                fail
            }
        ),
        (0..32usize, fail).prop_map(|(lease, fail)| Op::Close { lease, fail }),
    ];
    prop::collection::vec(op, 1..if cfg!(miri) { 10 } else { 40 })
}

/// How a cohort stands, by the model.
#[derive(Clone, Copy, Default)]
struct Held {
    by: Option<Owner>,
    last: Option<Owner>,
    broken: bool,
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn p9_what_is_granted_is_what_the_model_grants(functions in arbitrary(), ops in ops()) {
        let table = table(functions);
        let domains = [domain(&table, GUEST), domain(&table, OTHER)];
        let mut leases: Vec<Lease<'_, Recorder>> = Vec::new();
        let mut model: BTreeMap<_, Held> = BTreeMap::new();
        for op in ops {
            let fail = match op {
                Op::Open { fail, .. } | Op::Close { fail, .. } => fail,
            };
            table.platform().fail_at(fail);
            table.platform().take_trace();
            match op {
                Op::Open { device, whole, other, .. } => {
                    let (owner, domain) = if other { (OTHER, &domains[1]) } else { (GUEST, &domains[0]) };
                    let mut devices = cohort_at(&table, device);
                    let cohort = table.cohorts().cohort_of(devices[0]).unwrap();
                    let half = !whole && devices.len() > 1;
                    if half {
                        devices.remove(0);
                    }
                    let held = model.entry(cohort.id()).or_default();
                    let result = table.plan_open(owner, &devices, false);
                    if half {
                        assert!(matches!(result, Err(Refusal::HalfCohort { .. })));
                    } else if held.broken {
                        assert!(matches!(result, Err(Refusal::Broken { .. })));
                    } else if held.by == Some(owner) {
                        assert!(matches!(result, Err(Refusal::NotQuarantined { .. })));
                    } else if let Some(holder) = held.by {
                        let taken = matches!(result, Err(Refusal::OwnedByAnother { owner, .. }) if owner == holder);
                        prop_assert!(taken);
                    } else if held.last.is_some_and(|last| last != owner) && cohort.unresettable().is_some() {
                        assert!(matches!(result, Err(Refusal::NoReset { .. })));
                    } else {
                        match table.open(&result.unwrap(), domain) {
                            Ok(mut opened) => {
                                leases.append(&mut opened);
                                (held.by, held.last) = (Some(owner), Some(owner));
                            }
                            Err(error) => {
                                assert!(matches!(error, OpenFailure::Failed(_)));
                                prop_assert!(fail.is_some());
                            }
                        }
                    }
                }
                Op::Close { lease, .. } if !leases.is_empty() => {
                    let lease = leases.swap_remove(lease % leases.len());
                    let held = model.get_mut(&lease.cohort()).unwrap();
                    prop_assert_eq!(held.by.take(), Some(lease.owner()));
                    let result = lease.close();
                    let failed = table.platform().take_trace().iter().any(|(_, ok)| !ok);
                    prop_assert_eq!(result.is_err(), failed);
                    held.broken = failed;
                }
                Op::Close { .. } => {}
            }
            // The hardware is as the model says, too.
            table.platform().fail_at([]);
            let view = table.platform().view();
            for cohort in table.cohorts().iter() {
                let held = model.get(&cohort.id()).copied().unwrap_or_default();
                let state = table.state(cohort.id()).unwrap();
                match held.by {
                    _ if held.broken => assert!(matches!(state, CohortState::Broken(_))),
                    Some(owner) => {
                        prop_assert_eq!(state, CohortState::Open(owner));
                        let number = domains[usize::from(owner == OTHER)].id();
                        prop_assert!(cohort.requesters().iter().all(|r| view.attached[r] == number));
                        prop_assert!(cohort.members().iter().all(|d| view.opened[d] == owner));
                        prop_assert!(cohort.members().iter().all(|d| view.interrupts[d] == owner));
                    }
                    None => {
                        prop_assert_eq!(state, CohortState::Quarantined);
                        prop_assert!(!cohort.requesters().iter().any(|r| view.attached.contains_key(r)));
                        prop_assert!(!cohort.members().iter().any(|d| view.opened.contains_key(d)));
                        prop_assert!(!cohort.members().iter().any(|d| view.interrupts.contains_key(d)));
                        prop_assert!(!cohort.members().iter().any(|d| view.live.contains(d)));
                    }
                }
            }
        }
    }
}
