//! Cohorts that are out of service, and the way back.

use std::vec::Vec;

use super::failing::failure;
use super::{GUEST, OTHER, calls, domain, lease, plan, table};
use crate::lease::{CohortState, RepairError};
use crate::set::SetPhase;
use crate::testing::machine::{demo, id};
use crate::testing::platform::Call;

/// For each way to break: what is left over, the repair with each of its steps failing, and the repair that works.
#[test]
fn every_step_of_a_repair_fails_once_and_then_it_works() {
    let (a, b) = (id("01:00.0"), id("01:00.1"));
    let steps_of_close = 9;
    for breaks_at in 0..steps_of_close {
        let table = table(demo());
        let broken_domain = domain(&table, GUEST);
        let lease = lease(&table, &broken_domain, &[a, b]);
        let cohort = lease.cohort();
        let none = Err(RepairError::NotBroken(CohortState::Open(GUEST)));
        assert_eq!(table.repair(cohort), none, "it is not out of service");
        table.platform().fail_at([breaks_at]);
        lease.close().unwrap_err();
        let mut at = 0;
        loop {
            table.platform().take_trace();
            table.platform().fail_at([at]);
            let result = table.repair(cohort);
            let trace = table.platform().take_trace();
            let tried: Vec<Call> = trace.iter().map(|(call, _)| *call).collect();
            let (ra, rb) = (
                table.cohorts().device(a).unwrap().requesters[0],
                table.cohorts().device(b).unwrap().requesters[0],
            );
            assert_eq!(
                tried,
                [
                    Call::Quiesce(b),
                    Call::Quiesce(a),
                    Call::Release(b),
                    Call::Release(a),
                    Call::Quarantine(rb),
                    Call::Quarantine(ra),
                    Call::Reset(a),
                    Call::CheckAlive(a),
                    Call::CheckAlive(b),
                ],
                "every step is tried"
            );
            let Some((failed, false)) = trace.get(at) else {
                assert_eq!(result, Ok(()));
                assert_eq!(at, tried.len());
                break;
            };
            assert_eq!(result, Err(RepairError::Failed(failure(*failed))));
            assert_eq!(table.state(cohort), Some(CohortState::Broken(failure(*failed))));
            assert!(table.plan_open(GUEST, &[a, b], false).is_err());
            at += 1;
        }
        table.platform().fail_at([]);
        assert_eq!(table.state(cohort), Some(CohortState::Quarantined));
        assert_eq!(table.soiled_by(cohort), None, "it was reset");
        let set = table.sets().set(table.cohorts().device(a).unwrap().set).unwrap();
        assert_eq!(set.phase(), SetPhase::Idle, "the set is back too");
        let view = table.platform().view();
        assert!(view.live.is_empty() && view.attached.is_empty() && view.interrupts.is_empty());
        // Anybody may have it, and a close works again.
        let theirs = domain(&table, OTHER);
        calls(&table);
        // A device that could not be closed counts as closed.
        table.platform().settle();
        let again = table.open(&plan(&table, OTHER, &[a, b]), &theirs).unwrap();
        for lease in again {
            lease.close().unwrap();
        }
    }
}

#[test]
fn a_repair_without_a_reset_gives_nothing_to_anybody_else() {
    let table = table(demo());
    let domain = domain(&table, GUEST);
    let bare = id("00:00.0");
    let lease = lease(&table, &domain, &[bare]);
    let cohort = lease.cohort();
    table.platform().fail_at([0]);
    lease.close().unwrap_err();
    table.platform().fail_at([]);
    table.repair(cohort).unwrap();
    assert_eq!(table.soiled_by(cohort), Some(GUEST));
    assert!(table.plan_open(OTHER, &[bare], false).is_err());
    assert!(table.plan_open(GUEST, &[bare], false).is_ok());
    let twice = table.repair(cohort);
    assert_eq!(twice, Err(RepairError::NotBroken(CohortState::Quarantined)));
}

#[test]
fn there_is_nothing_to_repair_in_another_machine() {
    let mut large = demo();
    large.truncate(1);
    let (small, large) = (table(large), table(demo()));
    let last = large.cohorts().iter().last().unwrap().id();
    assert_eq!(small.repair(last), Err(RepairError::NotFound));
}

/// Memory that a device may have reached is free again when a repair has taken the device out of the domain, and not before.
#[test]
fn a_domain_that_could_not_be_left_is_closed_after_the_repair() {
    let (a, b) = (id("01:00.0"), id("01:00.1"));
    // The two quarantines of a close.
    for breaks_at in 6..8 {
        let table = table(demo());
        let (mut broken, theirs) = (domain(&table, GUEST), domain(&table, OTHER));
        let other = lease(&table, &broken, &[id("04:00.0")]);
        let lease = lease(&table, &broken, &[a, b]);
        let cohort = lease.cohort();
        table.platform().fail_at([breaks_at]);
        lease.close().unwrap_err();
        // A repair whose own quarantine of the requester fails leaves it pinned.
        let stuck = if breaks_at == 6 { 4 } else { 5 };
        for at in [&[stuck][..], &[4, 5]] {
            table.platform().fail_at(at.iter().copied());
            assert!(matches!(table.repair(cohort), Err(RepairError::Failed(_))));
            broken = broken.close().unwrap_err().domain;
        }
        table.platform().fail_at([]);
        // Mapping goes on, for the other cohort in it.
        broken.map(super::region(0x20_0000)).unwrap();
        table.repair(cohort).unwrap();
        let still = broken.close().unwrap_err().domain;
        other.close().unwrap();
        assert_eq!(still.close().unwrap().len(), 3);
        assert_eq!(table.platform().view().domains, [theirs.id()].into());
        table.platform().settle();
        drop(super::lease(&table, &theirs, &[a, b]));
    }
}

/// What is still in a domain when everything else is done is what keeps it, not that something failed once.
#[test]
fn a_repair_frees_a_domain_by_its_quarantine_even_if_it_fails_otherwise() {
    let (a, b) = (id("01:00.0"), id("01:00.1"));
    let table = table(demo());
    let broken = domain(&table, GUEST);
    let lease = lease(&table, &broken, &[a, b]);
    let cohort = lease.cohort();
    table.platform().fail_at([6, 7]);
    lease.close().unwrap_err();
    let broken = broken.close().unwrap_err().domain;
    // The reset fails: the cohort stays out of service, but it reaches no memory.
    table.platform().fail_at([6]);
    assert!(matches!(table.repair(cohort), Err(RepairError::Failed(_))));
    assert!(table.platform().view().attached.is_empty());
    broken.close().unwrap();
}

#[test]
fn a_domain_that_was_dropped_while_a_device_was_in_it_is_never_destroyed() {
    let table = table(demo());
    let (a, b) = (id("01:00.0"), id("01:00.1"));
    let domain = domain(&table, GUEST);
    let (number, lease) = (domain.id(), lease(&table, &domain, &[a, b]));
    let cohort = lease.cohort();
    table.platform().fail_at([6]);
    lease.close().unwrap_err();
    table.platform().fail_at([]);
    drop(domain);
    table.repair(cohort).unwrap();
    assert!(table.platform().view().domains.contains(&number));
    assert!(table.platform().view().attached.is_empty());
}
