//! Several opens of one device by one owner, beside the lease's own.

use std::thread;
use std::vec::Vec;

use super::{GUEST, calls, domain, lease, table};
use crate::lease::CohortState;
use crate::set::{Counts, OpenError, Patience, SetPhase};
use crate::testing::machine::{demo, id};
use crate::testing::platform::Call;

#[test]
fn p3_handles_on_a_lease_are_counted_and_call_nothing() {
    let table = table(demo());
    let domain = domain(&table, GUEST);
    let (a, b) = (id("01:00.0"), id("01:00.1"));
    let lease = lease(&table, &domain, &[a, b]);
    calls(&table);
    let first = lease.handle(a, Patience::NONE).unwrap();
    let second = lease.handle(a, Patience::NONE).unwrap();
    assert_eq!(first.counts(), Counts { device: 3, set: 4 });
    assert_eq!((second.device(), second.owner()), (a, Some(GUEST)));
    drop(first);
    assert_eq!(second.counts(), Counts { device: 2, set: 3 });
    second.close().unwrap();
    let set = table.sets().set(table.cohorts().device(a).unwrap().set).unwrap();
    assert_eq!(
        set.counts(a),
        Counts { device: 1, set: 2 },
        "the lease's own is left"
    );
    let refused = lease.handle(id("04:00.0"), Patience::NONE).map(|_| ());
    assert_eq!(
        refused,
        Err(OpenError::Unregistering(id("04:00.0"))),
        "another's device"
    );
    assert_eq!(calls(&table), []);
    lease.close().unwrap();
    assert_eq!(set.counts(a), Counts { device: 0, set: 0 });
}

/// While a set is reset its opens are refused or wait, those of other sets go on, and so does all of another cohort.
#[test]
fn a_reset_keeps_out_its_own_set_and_nobody_else() {
    let table = table(demo());
    let domain = domain(&table, GUEST);
    let (a, b, other) = (id("01:00.0"), id("01:00.1"), id("04:00.0"));
    let lease = lease(&table, &domain, &[a, b]);
    let before = lease.handle(b, Patience::NONE).unwrap();
    let plan = table.plan_hot_reset(GUEST, a).unwrap();
    let platform = table.platform();
    platform.hold_up(Call::Reset(a));
    let set = table.sets().set(plan.set()).unwrap();
    thread::scope(|scope| {
        let resetting = scope.spawn(|| lease.hot_reset(&plan, Patience::NONE));
        platform.await_held_up();
        assert_eq!(table.state(lease.cohort()), Some(CohortState::Resetting(GUEST)));
        assert_eq!(set.phase(), SetPhase::Resetting);
        // Its own set: refused, and a close that is not the last goes on.
        for device in [a, b] {
            let refused = lease.handle(device, Patience::NONE).map(|_| ());
            assert_eq!(refused, Err(OpenError::Resetting));
        }
        before.close().unwrap();
        assert!(lease.reset_device(a, Patience::NONE).is_err());
        // Patience has an end.
        let looked = std::sync::atomic::AtomicU32::new(0);
        let look = || {
            looked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        };
        let refused = lease.handle(a, Patience::times(3, &look)).map(|_| ());
        assert_eq!(refused, Err(OpenError::Resetting));
        assert_eq!(looked.load(std::sync::atomic::Ordering::SeqCst), 3);
        // Others: everything goes on.
        let leases = table
            .open(&super::plan(&table, GUEST, &[other]), &domain)
            .unwrap();
        drop(leases[0].handle(other, Patience::NONE).unwrap());
        drop(leases);
        // Whoever waits long enough is let in.
        let waiting = scope.spawn(|| {
            let relax = thread::yield_now;
            lease
                .handle(a, Patience::times(u32::MAX, &relax))
                .map(|handle| handle.counts())
        });
        platform.let_go();
        resetting.join().unwrap().unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(Counts { device: 2, set: 3 }));
    });
    assert_eq!(table.state(lease.cohort()), Some(CohortState::Open(GUEST)));
}

/// An open of a cohort that another owner is just closing is refused, or waits for the end of it.
#[test]
fn an_open_waits_for_a_close_if_it_is_told_to() {
    let table = table(demo());
    let (mine, theirs) = (domain(&table, GUEST), domain(&table, super::OTHER));
    let device = id("04:00.0");
    let late = super::plan(&table, super::OTHER, &[device]);
    let lease = lease(&table, &mine, &[device]);
    table.platform().hold_up(Call::Close(device));
    thread::scope(|scope| {
        let closing = scope.spawn(|| lease.close());
        table.platform().await_held_up();
        assert!(table.open(&late, &theirs).is_err(), "refused at once");
        let waiting = scope.spawn(|| {
            let relax = thread::yield_now;
            let leases = table.open_patiently(&late, &theirs, Patience::times(u32::MAX, &relax));
            leases
                .unwrap()
                .iter()
                .map(|lease| lease.owner())
                .collect::<Vec<_>>()
        });
        table.platform().let_go();
        closing.join().unwrap().unwrap();
        assert_eq!(waiting.join().unwrap(), [super::OTHER]);
    });
    // One that is open is not waited for: it may stay so for ever.
    let lease = super::lease(&table, &mine, &[device]);
    let never = || panic!("waits for an owner");
    assert!(
        table
            .open_patiently(&late, &theirs, Patience::times(1, &never))
            .is_err()
    );
    drop(lease);
}
