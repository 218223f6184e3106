//! Devices that leave the machine.

use super::failing::failure;
use super::{GUEST, OTHER, calls, domain, lease, plan, table};
use crate::cohort::Refusal;
use crate::lease::{CohortState, OpenFailure, RemoveError, RepairError};
use crate::set::{OpenError, Patience};
use crate::testing::machine::{demo, id};
use crate::testing::platform::Call;

#[test]
fn a_device_in_quarantine_goes_and_the_others_of_its_cohort_stay() {
    let table = table(demo());
    let (a, b) = (id("01:00.0"), id("01:00.1"));
    let early = plan(&table, GUEST, &[a, b]);
    table.remove(a).unwrap();
    assert_eq!(calls(&table), [], "what is gone is not touched");
    assert_eq!(table.remove(a), Ok(()), "it stays gone");
    let set = table.cohorts().device(b).unwrap().set;
    assert_eq!(table.sets().set(set).unwrap().members(), [b]);
    assert_eq!(
        table.plan_open(GUEST, &[a, b], false).unwrap_err(),
        Refusal::Removed(a)
    );
    let domain = domain(&table, GUEST);
    calls(&table);
    // A plan from before opens what is there.
    for plan in [early, plan(&table, GUEST, &[b])] {
        let leases = table.open(&plan, &domain).unwrap();
        assert_eq!(leases[0].devices(), [b]);
        assert!(!calls(&table).contains(&Call::Open(a)));
        let refused = leases[0].handle(a, Patience::NONE).map(|_| ());
        assert_eq!(refused, Err(OpenError::Unregistering(a)));
        drop(leases);
        assert!(
            calls(&table).contains(&Call::Reset(b)),
            "the slot, by its first member"
        );
    }
    table.remove(b).unwrap();
    assert!(
        table.sets().set(set).is_none(),
        "the set goes with its last member"
    );
    let empty = plan_of_gone(&table);
    assert_eq!(empty, Refusal::Removed(b));
}

fn plan_of_gone(table: &super::Table) -> Refusal {
    table.plan_open(GUEST, &[id("01:00.1")], false).unwrap_err()
}

#[test]
fn a_plan_of_which_everything_left_is_refused() {
    let table = table(demo());
    let device = id("04:00.0");
    let early = plan(&table, GUEST, &[device]);
    table.remove(device).unwrap();
    let domain = domain(&table, GUEST);
    let refused = table.open(&early, &domain).unwrap_err();
    assert_eq!(refused, OpenFailure::Refused(Refusal::Removed(device)));
    assert_eq!(
        table.remove(id("09:00.0")),
        Err(RemoveError::NotFound(id("09:00.0")))
    );
}

/// What a device could reach when its cohort broke is taken from its requester id by the repair, although the device is gone.
#[test]
fn a_device_that_left_while_out_of_service_is_denied_memory_by_the_repair() {
    let table = table(demo());
    let (a, b) = (id("01:00.0"), id("01:00.1"));
    let of = |device| table.cohorts().device(device).unwrap().requesters[0];
    let domain = domain(&table, GUEST);
    let lease = lease(&table, &domain, &[a, b]);
    let cohort = lease.cohort();
    calls(&table);
    // The last of two times four steps: to put the first device into quarantine.
    table.platform().fail_at([7]);
    lease.close().unwrap_err();
    table.platform().fail_at([]);
    table.platform().take_trace();
    table.remove(a).unwrap();
    assert_eq!(calls(&table), [], "what is gone is not touched");
    assert!(table.platform().view().attached.contains_key(&of(a)));
    table.platform().fail_at([3]);
    let stays = RepairError::Failed(failure(Call::Quarantine(of(a))));
    assert_eq!(table.repair(cohort), Err(stays));
    table.platform().fail_at([]);
    table.platform().take_trace();
    table.repair(cohort).unwrap();
    assert_eq!(
        calls(&table),
        [
            Call::Quiesce(b),
            Call::Release(b),
            Call::Quarantine(of(b)),
            Call::Quarantine(of(a)),
            Call::Reset(b),
            Call::CheckAlive(b),
        ]
    );
    assert!(table.platform().view().attached.is_empty());
    // From then on nothing of it comes along.
    let mine = super::domain(&table, GUEST);
    drop(super::lease(&table, &mine, &[b]));
    let touched = calls(&table);
    assert!(!touched.contains(&Call::Attach(of(a))) && !touched.contains(&Call::Quarantine(of(a))));
}

/// P17: opens that begin after it fail, and it is done only when everything is closed.
#[test]
fn p17_a_device_that_is_open_goes_after_its_last_close() {
    let table = table(demo());
    let domain = domain(&table, GUEST);
    let device = id("04:00.0");
    let lease = lease(&table, &domain, &[device]);
    let handle = lease.handle(device, Patience::NONE).unwrap();
    let state = CohortState::Open(GUEST);
    assert_eq!(table.remove(device), Err(RemoveError::InUse { device, state }));
    let late = lease.handle(device, Patience::NONE).map(|_| ());
    assert_eq!(late, Err(OpenError::Unregistering(device)));
    drop(handle);
    assert_eq!(table.remove(device), Err(RemoveError::InUse { device, state }));
    assert_eq!(
        table.plan_hot_reset(GUEST, device).map(|_| ()).unwrap_err(),
        crate::cohort::HotResetRefusal::NotFound(device)
    );
    drop(lease);
    assert_eq!(
        table.plan_open(GUEST, &[device], false).unwrap_err(),
        Refusal::Removed(device)
    );
    table.remove(device).unwrap();
}

#[test]
fn what_broke_when_a_device_went_can_be_repaired_without_it() {
    let table = table(demo());
    let (mine, theirs) = (domain(&table, GUEST), domain(&table, OTHER));
    let (a, b) = (id("03:00.0"), id("03:01.0"));
    let lease = lease(&table, &mine, &[a, b]);
    let cohort = lease.cohort();
    table.platform().fail_at([0]);
    lease.close().unwrap_err();
    table.platform().fail_at([]);
    table.remove(b).unwrap();
    assert!(matches!(table.state(cohort), Some(CohortState::Broken(_))));
    table.platform().take_trace();
    table.repair(cohort).unwrap();
    assert!(!calls(&table).contains(&Call::Quiesce(b)));
    let leases = table.open(&plan(&table, OTHER, &[a]), &theirs).unwrap();
    assert_eq!(leases[0].devices(), [a]);
}

/// The member that nothing resets leaves: what is left may go to anybody, because it was reset when it was closed.
#[test]
fn without_the_member_that_nothing_resets_the_rest_may_change_hands() {
    let mut functions = demo();
    functions[2].resets = crate::pci::ResetMethods::FLR;
    functions[3].resets = crate::pci::ResetMethods::empty();
    let table = table(functions);
    let (a, b) = (id("01:00.0"), id("01:00.1"));
    let domain = domain(&table, GUEST);
    drop(table.open(&plan(&table, GUEST, &[a, b]), &domain).unwrap());
    assert!(table.plan_open(OTHER, &[a, b], false).is_err());
    table.remove(a).unwrap();
    assert!(matches!(
        table.plan_open(OTHER, &[b], false),
        Err(Refusal::NoReset { .. })
    ));
    let table = super::table({
        let mut functions = demo();
        functions[2].resets = crate::pci::ResetMethods::FLR;
        functions[3].resets = crate::pci::ResetMethods::empty();
        functions
    });
    let domain = super::domain(&table, GUEST);
    drop(table.open(&plan(&table, GUEST, &[a, b]), &domain).unwrap());
    table.remove(b).unwrap();
    assert!(table.plan_open(OTHER, &[a], false).is_ok());
}

/// Nobody calls again, and the others of the cohort are opened: the one that was to go is gone by then.
#[test]
fn a_device_that_was_to_go_is_not_opened_again_with_its_cohort() {
    let table = table(demo());
    let domain = domain(&table, GUEST);
    let (a, b) = (id("01:00.0"), id("01:00.1"));
    let first = lease(&table, &domain, &[a, b]);
    assert!(table.remove(a).is_err());
    first.close().unwrap();
    let again = lease(&table, &domain, &[b]);
    assert_eq!(again.devices(), [b]);
    again.close().unwrap();
    assert_eq!(table.remove(a), Ok(()));
}
