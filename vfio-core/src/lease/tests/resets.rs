//! Resets that an owner asks for, what needs a reset and until when, and what a hot reset must not reach.

use proptest::prelude::*;
use std::string::ToString;
use std::sync::atomic::{AtomicU32, Ordering};
use std::vec::Vec;

use super::failing::failure;
use super::{GUEST, OTHER, Table, calls, cohort_at, domain, lease, table};
use crate::cohort::{HotResetRefusal, Obstacle, ResetAction};
use crate::lease::{CohortState, Lease, ResetFailure};
use crate::pci::{Function, PortKind};
use crate::set::Patience;
use crate::testing::cases;
use crate::testing::machine::{arbitrary, bdf, demo, id};
use crate::testing::platform::{Call, Recorder};
use crate::{DeviceId, SetId};

fn needs_reset(table: &Table, device: DeviceId) -> bool {
    let set = table.cohorts().device(device).unwrap().set;
    table.sets().set(set).unwrap().needs_reset(device)
}

#[test]
fn a_device_is_quieted_reset_seen_alive_and_put_back() {
    let table = table(demo());
    let domain = domain(&table, GUEST);
    let device = id("04:00.0");
    let lease = lease(&table, &domain, &[device]);
    calls(&table);
    lease.reset_device(device, Patience::NONE).unwrap();
    let order = [Call::Quiesce, Call::Reset, Call::CheckAlive, Call::Restore];
    assert_eq!(calls(&table), order.map(|call| call(device)));
    assert_eq!(
        lease.reset_device(id("01:00.0"), Patience::NONE),
        Err(ResetFailure::NotMember(id("01:00.0")))
    );
    assert_eq!(calls(&table), []);
}

#[test]
fn a_device_without_a_reset_of_its_own_says_so() {
    let table = table(demo());
    let domain = domain(&table, GUEST);
    let lease = lease(&table, &domain, &[id("01:00.0"), id("01:00.1")]);
    calls(&table);
    let failure = lease.reset_device(id("01:00.1"), Patience::NONE);
    assert_eq!(failure, Err(ResetFailure::NoMethod(id("01:00.1"))));
    assert_eq!(calls(&table), []);
}

#[test]
fn a_set_is_reset_whole_and_its_devices_go_on() {
    let table = table(demo());
    let domain = domain(&table, GUEST);
    let (a, b) = (id("01:00.0"), id("01:00.1"));
    let lease = lease(&table, &domain, &[a, b]);
    calls(&table);
    let plan = table.plan_hot_reset(GUEST, b).unwrap();
    assert_eq!((plan.owner(), plan.action().devices()), (GUEST, &[a, b][..]));
    assert_eq!(calls(&table), [], "a plan touches nothing");
    lease.hot_reset(&plan, Patience::NONE).unwrap();
    assert_eq!(
        calls(&table),
        [
            Call::Quiesce(a),
            Call::Quiesce(b),
            Call::Reset(a),
            Call::CheckAlive(a),
            Call::CheckAlive(b),
            Call::Restore(a),
            Call::Restore(b)
        ]
    );
    let view = table.platform().view();
    assert!(view.live.contains(&a) && view.opened[&b] == GUEST);
}

/// P22: whatever a hot reset would reach beyond what is the owner's refuses it by name, and nothing is touched.
#[test]
fn p22_a_hot_reset_stays_within_what_is_the_owners() {
    let mut functions = demo();
    functions.push(Function {
        parent: Some(bdf("00:03.0")),
        physical_function: Some(bdf("04:00.0")),
        ..Function::new(bdf("04:00.1"), PortKind::Endpoint)
    });
    let table = table(functions);
    let domain = domain(&table, GUEST);
    let refused = |device| table.plan_hot_reset(GUEST, device).unwrap_err();
    // Nobody has it.
    assert_eq!(
        refused(id("01:00.1")).to_string(),
        "hot reset of slot 0000:01:00 refused: 0000:01:00.0 is in its scope and is not open"
    );
    let theirs = super::domain(&table, OTHER);
    let lease = lease(&table, &theirs, &[id("01:00.0"), id("01:00.1")]);
    calls(&table);
    assert_eq!(
        refused(id("01:00.0")).to_string(),
        "hot reset of slot 0000:01:00 refused: 0000:01:00.0 is in its scope and belongs to guest 2"
    );
    // A virtual function is a set of its own, and a bus reset would reach it.
    let set = SetId::PciSlot {
        segment: 0,
        bus: 4,
        slot: 0,
    };
    let obstacle = Obstacle::Outside(id("04:00.1"));
    assert_eq!(refused(id("04:00.0")), HotResetRefusal::Scope { set, obstacle });
    assert_eq!(
        refused(id("04:00.0")).to_string(),
        "hot reset of slot 0000:04:00 refused: 0000:04:00.1 is in its scope and not in the set"
    );
    let own = SetId::Own(id("00:00.0"));
    assert_eq!(refused(id("00:00.0")), HotResetRefusal::NoMethod(own));
    assert_eq!(refused(id("09:00.0")), HotResetRefusal::NotFound(id("09:00.0")));
    // The plan of one owner is no good to another.
    let plan = table.plan_hot_reset(OTHER, id("01:00.0")).unwrap();
    let mine = super::lease(&table, &domain, &[id("03:00.0"), id("03:01.0")]);
    calls(&table);
    let foreign = Err(ResetFailure::Refused(HotResetRefusal::ForeignPlan));
    assert_eq!(mine.hot_reset(&plan, Patience::NONE), foreign);
    let elsewhere = super::table(demo());
    let there = super::domain(&elsewhere, OTHER);
    let _held = super::lease(&elsewhere, &there, &[id("01:00.0"), id("01:00.1")]);
    let plan = elsewhere.plan_hot_reset(OTHER, id("01:00.0")).unwrap();
    assert_eq!(
        lease.hot_reset(&plan, Patience::NONE),
        foreign,
        "made for other cohorts"
    );
    assert_eq!(calls(&table), []);
}

/// Who wants a reset while another one of the cohort runs looks as often as its patience says, and is refused or follows.
#[test]
fn a_reset_beside_another_waits_as_long_as_it_is_told() {
    let table = table(demo());
    let domain = domain(&table, GUEST);
    let device = id("04:00.0");
    let lease = lease(&table, &domain, &[device]);
    calls(&table);
    table.platform().hold_up(Call::Reset(device));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| lease.reset_device(device, Patience::NONE));
        table.platform().await_held_up();
        let looks = AtomicU32::new(0);
        let look = || {
            looks.fetch_add(1, Ordering::SeqCst);
        };
        let busy = Err(ResetFailure::Busy(device));
        assert_eq!(lease.reset_device(device, Patience::NONE), busy);
        assert_eq!(lease.reset_device(device, Patience::times(3, &look)), busy);
        assert_eq!(looks.load(Ordering::SeqCst), 3);
        let let_go = || {
            table.platform().let_go();
            std::thread::yield_now();
        };
        let follows = lease.reset_device(device, Patience::times(u32::MAX, &let_go));
        assert_eq!((follows, first.join().unwrap()), (Ok(()), Ok(())));
    });
    let resets = calls(&table)
        .into_iter()
        .filter(|call| *call == Call::Reset(device));
    assert_eq!(resets.count(), 2);
    assert_eq!(table.state(lease.cohort()), Some(CohortState::Open(GUEST)));
}

/// Every reset that a lease can do, by name.
fn attempts(lease: &Lease<'_, Recorder>, table: &Table) -> Vec<Result<(), ResetFailure>> {
    let device = lease.devices()[0];
    let mut results = Vec::from([lease.reset_device(device, Patience::NONE)]);
    if let Ok(plan) = table.plan_hot_reset(lease.owner(), device) {
        results.push(lease.hot_reset(&plan, Patience::NONE));
    }
    results
}

/// A step of a reset that fails is the owner's loss: it is named, the cohort stays open, and nothing after it is done. The
/// device needs a reset then, which it does not get by being closed with a reset that fails.
#[test]
fn every_step_of_a_reset_fails_once() {
    for device in [id("04:00.0"), id("01:00.0")] {
        for at in 0..8 {
            let table = table(demo());
            let domain = domain(&table, GUEST);
            let members = table.cohorts().cohort_of(device).unwrap().members().to_vec();
            let lease = lease(&table, &domain, &members);
            let run = |lease: &Lease<'_, Recorder>| match table.plan_hot_reset(GUEST, device) {
                Ok(plan) => lease.hot_reset(&plan, Patience::NONE),
                Err(_) => lease.reset_device(device, Patience::NONE),
            };
            calls(&table);
            table.platform().fail_at([at]);
            let result = run(&lease);
            let trace = table.platform().take_trace();
            table.platform().fail_at([]);
            if trace.iter().all(|(_, ok)| *ok) {
                assert_eq!((result, at), (Ok(()), members.len() * 3 + 1), "all were tried");
                break;
            }
            assert_eq!(trace.len(), at + 1, "nothing is done after it");
            assert_eq!(result, Err(ResetFailure::Failed(failure(trace[at].0))));
            assert_eq!(table.state(lease.cohort()), Some(CohortState::Open(GUEST)));
            assert!(members.iter().all(|member| needs_reset(&table, *member)));
            // A reset that works makes all well.
            run(&lease).unwrap();
            assert!(!members.iter().any(|member| needs_reset(&table, *member)));
            lease.close().unwrap();
        }
    }
}

proptest! {
    #![proptest_config(cases(48))]

    /// P20, P21: what was closed needs a reset until one of the device or its set works; at a close each set is reset
    /// at most once, when nothing of it is open any more, and with all of it.
    #[test]
    fn p20_p21_resets_at_a_close(
        functions in arbitrary(), which in any::<prop::sample::Index>(), fail in prop::option::of(0..24usize),
    ) {
        let table = table(functions);
        let devices = cohort_at(&table, which.index(1000));
        let domain = domain(&table, GUEST);
        let lease = lease(&table, &domain, &devices);
        prop_assert!(devices.iter().all(|device| !needs_reset(&table, *device)), "nothing was closed yet");
        for result in attempts(&lease, &table) {
            let refused = matches!(result, Ok(()) | Err(ResetFailure::NoMethod(_)));
            prop_assert!(refused);
        }
        table.platform().take_trace();
        table.platform().fail_at(fail);
        let closed = lease.close();
        let trace = table.platform().take_trace();
        let cohort = table.cohorts().cohort_of(devices[0]).unwrap();
        let mut reset: Vec<DeviceId> = Vec::new();
        for (call, ok) in &trace {
            if let Call::Reset(first) = call {
                let action = cohort.resets().iter().find(|action| action.devices()[0] == *first).unwrap();
                if let ResetAction::Set { set, members, .. } = action {
                    let all: Vec<DeviceId> = table.cohorts().devices().iter()
                        .filter(|device| device.set == *set).map(|device| device.id).collect();
                    prop_assert_eq!(members, &all);
                }
                prop_assert_eq!(trace.iter().filter(|(other, _)| other == call).count(), 1);
                if *ok {
                    reset.extend_from_slice(action.devices());
                }
            }
        }
        for device in &devices {
            prop_assert_eq!(needs_reset(&table, *device), !reset.contains(device));
            let before_reset = trace.iter().position(|(call, _)| *call == Call::Close(*device)).unwrap();
            let at = trace.iter().position(|(call, _)| matches!(call, Call::Reset(_))).unwrap_or(usize::MAX);
            prop_assert!(before_reset < at, "nothing is open when a reset begins");
        }
        prop_assert_eq!(closed.is_err(), trace.iter().any(|(_, ok)| !ok));
    }
}
