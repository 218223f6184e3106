//! Every step of open and close made to fail, and every step of the way back as well.

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::vec::Vec;

use super::{GUEST, Table, cohort_at, domain, plan, table};
use crate::lease::{CohortState, OpenFailure};
use crate::testing::machine::{arbitrary, demo};
use crate::testing::platform::Call;
use crate::testing::{cases, scaled};
use crate::{DeviceId, Failure, Fault, Step};

/// What undoes the calls of `trace`, in order; the last one failed.
pub(super) fn way_back(trace: &[(Call, bool)]) -> Vec<Call> {
    let mut back = Vec::new();
    for (call, ok) in trace.iter().rev() {
        match call {
            // A failing attach is undone too: nobody knows what the IOMMU made of it.
            Call::Attach(requester) => back.push(Call::Quarantine(*requester)),
            Call::Open(device) if *ok => back.extend([Call::Quiesce(*device), Call::Close(*device)]),
            Call::Enable(device) if *ok => back.push(Call::Release(*device)),
            _ => {}
        }
    }
    back
}

fn step_of(call: Call) -> Step {
    match call {
        Call::Attach(requester) => Step::Attach(requester),
        Call::Quarantine(requester) => Step::Quarantine(requester),
        Call::Quiesce(device) => Step::Quiesce(device),
        Call::Reset(device) => Step::Reset(device),
        Call::CheckAlive(device) => Step::CheckAlive(device),
        Call::Open(device) => Step::OpenDevice(device),
        Call::Close(device) => Step::CloseDevice(device),
        Call::Enable(device) => Step::EnableInterrupts(device),
        Call::Release(device) => Step::ReleaseInterrupts(device),
        Call::Restore(device) => Step::Restore(device),
        Call::Create(_) | Call::Destroy(_) | Call::Map(..) | Call::Unmap(..) => {
            panic!("{call:?} is no step of a cohort")
        }
    }
}

pub(super) fn failure(call: Call) -> Failure {
    Failure {
        step: step_of(call),
        fault: Fault::TimedOut,
    }
}

/// The failure that the last call of `trace` makes. Mappings that are made in a unit with the first attach are part of it.
pub(super) fn failure_of(trace: &[(Call, bool)]) -> Failure {
    let mut steps = trace.iter().rev().map(|(call, _)| *call);
    failure(steps.find(|call| !matches!(call, Call::Map(..))).unwrap())
}

/// How many calls an open of `devices` makes.
fn steps_of_open(table: &Table, devices: &[DeviceId]) -> usize {
    let domain = domain(table, GUEST);
    table.platform().take_trace();
    let leases = table.open(&plan(table, GUEST, devices), &domain).unwrap();
    let steps = table.platform().take_trace().len();
    drop(leases);
    table.platform().take_trace();
    steps
}

/// Opens `devices` with the `at`th step failing: all is as before, by exactly the reverse way.
fn open_fails_cleanly(table: &Table, devices: &[DeviceId], at: usize) {
    let domain = domain(table, GUEST);
    let plan = plan(table, GUEST, devices);
    let cohort = plan.cohorts().next().unwrap().id();
    let before = (
        table.platform().view(),
        table.state(cohort),
        table.soiled_by(cohort),
    );
    table.platform().take_trace();
    table.platform().fail_at([at]);
    let error = table.open(&plan, &domain).unwrap_err();
    let trace = table.platform().take_trace();
    assert_eq!(error, OpenFailure::Failed(failure_of(&trace[..=at])));
    assert!(!trace[at].1);
    let back: Vec<Call> = trace[at + 1..].iter().map(|(call, _)| *call).collect();
    assert_eq!(back, way_back(&trace[..=at]));
    assert_eq!(
        (
            table.platform().view(),
            table.state(cohort),
            table.soiled_by(cohort)
        ),
        before
    );
    for device in devices {
        let set = table
            .sets()
            .set(table.cohorts().device(*device).unwrap().set)
            .unwrap();
        assert_eq!(set.counts(*device).set, 0);
    }
    // Nothing was lost: the same open works once nothing fails.
    table.platform().fail_at([]);
    drop(table.open(&plan, &domain).unwrap());
    drop(domain.close().unwrap());
}

/// Opens with the `at`th step failing, and the `nth` step of the way back: out of service, but all else undone.
fn open_breaks(table: &Table, devices: &[DeviceId], at: usize, nth: usize) -> bool {
    let domain = domain(table, GUEST);
    let plan = plan(table, GUEST, devices);
    let cohort = plan.cohorts().next().unwrap().id();
    table.platform().take_trace();
    table.platform().fail_at([at, at + 1 + nth]);
    let result = table.open(&plan, &domain);
    let trace = table.platform().take_trace();
    table.platform().fail_at([]);
    let Some(&(failed, false)) = trace.get(at + 1 + nth) else {
        return false;
    };
    let broken = failure(failed);
    assert_eq!(
        result.unwrap_err(),
        OpenFailure::Broken {
            failure: failure_of(&trace[..=at]),
            broken
        }
    );
    assert_eq!(table.state(cohort), Some(CohortState::Broken(broken)));
    let back: Vec<Call> = trace[at + 1..].iter().map(|(call, _)| *call).collect();
    assert_eq!(
        back,
        way_back(&trace[..=at]),
        "a failing step must not keep the others from being undone"
    );
    // Memory that a device may still reach is not given back.
    let reachable = matches!(failed, Call::Quarantine(_));
    assert_eq!(domain.close().is_err(), reachable);
    assert!(table.plan_open(GUEST, devices, false).is_err());
    true
}

/// Closes with the `at`th step failing: out of service, but every step is done.
fn close_breaks(table: &Table, devices: &[DeviceId], at: usize) -> bool {
    let domain = domain(table, GUEST);
    let lease = table
        .open(&plan(table, GUEST, devices), &domain)
        .unwrap()
        .pop()
        .unwrap();
    let cohort = lease.cohort();
    table.platform().take_trace();
    table.platform().fail_at([at]);
    let result = lease.close();
    let trace = table.platform().take_trace();
    table.platform().fail_at([]);
    let Some(&(failed, false)) = trace.get(at) else {
        assert!(result.is_ok());
        return false;
    };
    let calls: Vec<Call> = trace.iter().map(|(call, _)| *call).collect();
    assert_eq!(calls, way_of_close(table, devices));
    assert_eq!(result.unwrap_err().0, failure(failed));
    assert_eq!(table.state(cohort), Some(CohortState::Broken(failure(failed))));
    assert_eq!(domain.close().is_err(), matches!(failed, Call::Quarantine(_)));
    assert!(table.plan_open(GUEST, devices, false).is_err());
    true
}

/// The calls of a close of one cohort, by the definition of its order.
pub(super) fn way_of_close(table: &Table, devices: &[DeviceId]) -> Vec<Call> {
    let cohort = table.cohorts().cohort_of(devices[0]).unwrap();
    let mut members = cohort.members().to_vec();
    members.reverse();
    let each = |call: fn(DeviceId) -> Call| members.iter().copied().map(call).collect::<Vec<Call>>();
    let denied = cohort
        .requesters()
        .iter()
        .rev()
        .map(|requester| Call::Quarantine(*requester));
    let resets = cohort
        .resets()
        .iter()
        .map(|action| Call::Reset(action.devices()[0]));
    [each(Call::Quiesce), each(Call::Close), each(Call::Release)]
        .concat()
        .into_iter()
        .chain(denied)
        .chain(resets)
        .collect()
}

#[test]
fn p5_every_step_of_open_and_close_of_every_cohort_fails_once() {
    // Under Miri, one with a set of two.
    for first in scaled(0, 1)..scaled(6, 2) {
        let devices = cohort_at(&table(demo()), first);
        let steps = steps_of_open(&table(demo()), &devices);
        for at in 0..steps {
            open_fails_cleanly(&table(demo()), &devices, at);
            let mut nth = 0;
            while open_breaks(&table(demo()), &devices, at, nth) {
                nth += 1;
            }
        }
        let mut at = 0;
        while close_breaks(&table(demo()), &devices, at) {
            at += 1;
        }
        assert_eq!(at, way_of_close(&table(demo()), &devices).len());
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn p5_a_step_of_open_fails_on_any_machine(
        functions in arbitrary(),
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        nth in 0..8usize,
    ) {
        let table = table(functions.clone());
        let devices = cohort_at(&table, which.index(1000));
        let steps = steps_of_open(&table, &devices);
        open_fails_cleanly(&table, &devices, at.index(steps));
        open_breaks(&self::table(functions.clone()), &devices, at.index(steps), nth);
        close_breaks(&self::table(functions), &devices, nth);
    }

    /// A plan of several cohorts: when one fails, those that were open by then are closed, and nobody has used them.
    #[test]
    fn p5_all_cohorts_of_a_plan_or_none(functions in arbitrary(), at in any::<prop::sample::Index>()) {
        let steps = {
            let table = table(functions.clone());
            let all: Vec<DeviceId> = table.cohorts().devices().iter().map(|device| device.id).collect();
            steps_of_open(&table, &all)
        };
        let table = table(functions);
        let all: Vec<DeviceId> = table.cohorts().devices().iter().map(|device| device.id).collect();
        let domain = domain(&table, GUEST);
        let before = table.platform().view();
        table.platform().fail_at([at.index(steps)]);
        prop_assert!(matches!(table.open(&plan(&table, GUEST, &all), &domain), Err(OpenFailure::Failed(_))));
        prop_assert_eq!(table.platform().view(), before);
        let states: BTreeSet<_> = table.cohorts().iter()
            .map(|cohort| (table.state(cohort.id()) == Some(CohortState::Quarantined), table.soiled_by(cohort.id())))
            .collect();
        prop_assert_eq!(states, BTreeSet::from([(true, None)]));
        prop_assert!(domain.close().is_ok());
    }
}
