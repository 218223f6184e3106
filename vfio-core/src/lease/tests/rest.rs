//! Owners that start anew: what is done to their devices, who may have these meanwhile, and every step made to fail.

use std::vec::Vec;

use super::failing::{failure, failure_of, way_back, way_of_close};
use super::{GUEST, OTHER, Table, calls, domain, lease, plan, region, table};
use crate::cohort::Refusal;
use crate::lease::{CohortState, OpenFailure, RemoveError, Resting};
use crate::testing::machine::{demo, id};
use crate::testing::platform::{Call, Recorder};
use crate::{DeviceId, Requester};

/// A slot with one reset for two functions.
fn pair() -> [DeviceId; 2] {
    [id("01:00.0"), id("01:00.1")]
}

fn requesters(table: &Table) -> [Requester; 2] {
    pair().map(|device| table.cohorts().device(device).unwrap().requesters[0])
}

/// The calls of a rest, by the definition of its order.
fn way_of_rest(table: &Table) -> Vec<Call> {
    let mut way = way_of_close(table, &pair());
    way.extend(pair().map(Call::CheckAlive));
    way
}

/// How many calls waking the pair up makes, with two mappings.
const STEPS_OF_WAKE: usize = 8;

#[test]
fn an_owner_starts_anew_with_what_it_had() {
    let table = table(demo());
    let domain = domain(&table, GUEST);
    let number = domain.id();
    let mut lease = lease(&table, &domain, &pair());
    let cohort = lease.cohort();
    calls(&table);
    // Often, since that is what restarts do.
    for life in 0..50u64 {
        let resting = lease.rest().unwrap();
        assert_eq!(calls(&table), way_of_rest(&table));
        assert_eq!(table.state(cohort), Some(CohortState::Resting(GUEST)));
        assert_eq!(
            (resting.owner(), resting.devices(), resting.cohort()),
            (GUEST, &pair()[..], cohort)
        );
        assert_eq!(resting.not_reset(), None);
        let view = table.platform().view();
        assert!(view.attached.is_empty() && view.live.is_empty() && view.opened.is_empty());
        assert!(view.interrupts.is_empty() && view.mapped.is_empty());
        // No unit hears of what is mapped meanwhile: it is mapped when the devices come back.
        domain.map(region(0x10_0000 + life * 0x1000)).unwrap();
        assert_eq!(calls(&table), []);
        lease = resting.wake().unwrap();
        let [ra, rb] = requesters(&table);
        let woken = calls(&table);
        let maps: Vec<Call> = domain
            .mappings()
            .into_iter()
            .map(|mapping| Call::Map(crate::domain::UnitId(0), number, mapping))
            .collect();
        assert_eq!(maps.len() as u64, 3 + life);
        let [a, b] = pair();
        let rest = [
            Call::Attach(rb),
            Call::Open(a),
            Call::Open(b),
            Call::Enable(a),
            Call::Enable(b),
        ];
        assert_eq!(woken, [&[Call::Attach(ra)], &maps[..], &rest].concat());
        assert_eq!(table.state(cohort), Some(CohortState::Open(GUEST)));
    }
    lease.close().unwrap();
    assert_eq!(table.state(cohort), Some(CohortState::Quarantined));
    assert_eq!(table.soiled_by(cohort), None);
    assert_eq!(domain.close().unwrap().len(), 52);
}

#[test]
fn nobody_gets_what_rests_and_its_domain_stays() {
    let table = table(demo());
    let [a, _] = pair();
    let (mine, theirs) = (domain(&table, GUEST), domain(&table, OTHER));
    let early = plan(&table, OTHER, &pair());
    let resting = lease(&table, &mine, &pair()).rest().unwrap();
    let taken = Refusal::OwnedByAnother {
        device: a,
        owner: GUEST,
    };
    assert_eq!(table.plan_open(OTHER, &pair(), false).unwrap_err(), taken);
    assert_eq!(
        table.open(&early, &theirs).unwrap_err(),
        OpenFailure::Refused(taken)
    );
    let state = CohortState::Resting(GUEST);
    let twice = Refusal::NotQuarantined { device: a, state };
    assert_eq!(table.plan_open(GUEST, &pair(), false).unwrap_err(), twice);
    assert!(table.plan_hot_reset(GUEST, a).is_err());
    let mine = mine.close().unwrap_err().domain;
    // Given up, anybody may have it; nothing is left to be done to the devices.
    calls(&table);
    drop(resting);
    assert_eq!(calls(&table), []);
    drop(table.open(&early, &theirs).unwrap());
    drop(mine.close().unwrap());
}

#[test]
fn what_nothing_resets_comes_back_to_its_owner_and_to_nobody_else() {
    let table = table(demo());
    let bare = id("00:00.0");
    let domain = domain(&table, GUEST);
    let resting = lease(&table, &domain, &[bare]).rest().unwrap();
    assert_eq!(resting.not_reset(), Some(bare));
    let cohort = resting.cohort();
    let resting = resting.wake().unwrap().rest().unwrap();
    drop(resting);
    assert_eq!(table.soiled_by(cohort), Some(GUEST));
    assert!(table.plan_open(OTHER, &[bare], false).is_err());
    drop(lease(&table, &domain, &[bare]));
}

#[test]
fn a_device_that_leaves_meanwhile_does_not_come_back() {
    let table = table(demo());
    let [a, b] = pair();
    let domain = domain(&table, GUEST);
    let resting = lease(&table, &domain, &[a, b]).rest().unwrap();
    let cohort = resting.cohort();
    let state = CohortState::Resting(GUEST);
    let in_use = RemoveError::InUse { device: b, state };
    assert_eq!(table.remove(b), Err(in_use));
    let refused = resting.wake().map(drop).unwrap_err();
    assert_eq!(refused, OpenFailure::Refused(Refusal::Removed(b)));
    assert_eq!(table.state(cohort), Some(CohortState::Quarantined));
    table.remove(b).unwrap();
    drop(lease(&table, &domain, &[a]));
    drop(domain.close().unwrap());
}

#[test]
fn every_step_of_a_rest_fails_once_and_all_are_done() {
    let steps = way_of_rest(&table(demo())).len();
    for at in 0..steps {
        let table = table(demo());
        let domain = domain(&table, GUEST);
        let lease = lease(&table, &domain, &pair());
        let cohort = lease.cohort();
        calls(&table);
        table.platform().fail_at([at]);
        let failed = lease.rest().map(drop).unwrap_err();
        let tried: Vec<Call> = table
            .platform()
            .take_trace()
            .iter()
            .map(|(call, _)| *call)
            .collect();
        assert_eq!(
            tried,
            way_of_rest(&table),
            "a failing step must not keep the others from being done"
        );
        assert_eq!(failed.0, failure(tried[at]));
        assert_eq!(table.state(cohort), Some(CohortState::Broken(failed.0)));
        assert!(table.plan_open(GUEST, &pair(), false).is_err());
        assert_eq!(domain.close().is_err(), matches!(tried[at], Call::Quarantine(_)));
    }
}

/// A cohort that rests, in a table of its own.
fn resting<'t>(table: &'t Table, domain: &crate::lease::Domain<'t, Recorder>) -> Resting<'t, Recorder> {
    let resting = lease(table, domain, &pair()).rest().unwrap();
    calls(table);
    resting
}

#[test]
fn every_step_of_waking_fails_once_and_is_undone() {
    for at in 0..STEPS_OF_WAKE {
        let table = table(demo());
        let domain = domain(&table, GUEST);
        let resting = resting(&table, &domain);
        let (cohort, before) = (resting.cohort(), table.platform().view());
        table.platform().fail_at([at]);
        let error = resting.wake().map(drop).unwrap_err();
        let trace = table.platform().take_trace();
        assert_eq!(error, OpenFailure::Failed(failure_of(&trace[..=at])));
        let back: Vec<Call> = trace[at + 1..].iter().map(|(call, _)| *call).collect();
        assert_eq!(back, way_back(&trace[..=at]));
        assert_eq!(table.platform().view(), before);
        assert_eq!(table.state(cohort), Some(CohortState::Quarantined));
        assert_eq!(
            table.soiled_by(cohort),
            None,
            "it was reset, and nobody has used it since"
        );
        table.platform().fail_at([]);
        let theirs = super::domain(&table, OTHER);
        drop(lease(&table, &theirs, &pair()));
        drop(domain.close().unwrap());
    }
}

#[test]
fn waking_breaks_a_cohort_where_the_way_back_fails() {
    let mut broken = 0;
    for at in 0..STEPS_OF_WAKE {
        for nth in 0.. {
            let table = table(demo());
            let domain = domain(&table, GUEST);
            let resting = resting(&table, &domain);
            let cohort = resting.cohort();
            table.platform().fail_at([at, at + 1 + nth]);
            let error = resting.wake().map(drop).unwrap_err();
            let trace = table.platform().take_trace();
            let Some(&(failed, false)) = trace.get(at + 1 + nth) else {
                break;
            };
            let back: Vec<Call> = trace[at + 1..].iter().map(|(call, _)| *call).collect();
            assert_eq!(
                back,
                way_back(&trace[..=at]),
                "the others are undone all the same"
            );
            assert!(matches!(error, OpenFailure::Broken { .. }), "{error}");
            assert_eq!(table.state(cohort), Some(CohortState::Broken(failure(failed))));
            assert_eq!(domain.close().is_err(), matches!(failed, Call::Quarantine(_)));
            broken += 1;
        }
    }
    assert!(broken > STEPS_OF_WAKE, "{broken}");
}
