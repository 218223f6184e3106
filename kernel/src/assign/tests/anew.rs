//! Guests that start anew, on a machine that obeys and on one that does not, with another guest beside them.

use super::super::{NotAnew, anew, repair};
use super::fixture::{ALIAS, Fixture, LEGACY, NVME, PAIR, TestAssigner, bdf, id, ids, region};
use crate::iommu::virtio::tests::device::Habit;
use core::convert::Infallible;
use vfio_core::lease::{CohortState, CohortTable, Domain, Lease, OpenFailure};
use vfio_core::pci::spec::Command;
use vfio_core::testing::pci::Vice;
use vfio_core::{DeviceId, Owner, Step};

const GUEST: Owner = Owner::Guest(0);
const OTHER: Owner = Owner::Guest(1);
const RUNNING: Command = Command::MEMORY.union(Command::BUS_MASTER);

type Leases<'t, 'm> = Vec<Lease<'t, TestAssigner<'m>>>;

/// The slot and the devices behind a bridge, for a guest; the NVMe controller is another's.
fn devices() -> Vec<DeviceId> {
    [ids(PAIR), ids(LEGACY)].concat()
}

fn open<'t, 'm>(
    table: &'t CohortTable<TestAssigner<'m>>,
    domain: &Domain<'t, TestAssigner<'m>>,
    devices: &[DeviceId],
) -> Leases<'t, 'm> {
    let plan = table.plan_open(domain.owner(), devices, true).unwrap();
    table.open(&plan, domain).unwrap()
}

/// As long as nothing went wrong: the guest's devices run, and reach its memory and nothing else.
fn let_run(fixture: &Fixture) {
    for device in PAIR.into_iter().chain(LEGACY) {
        fixture.set_command(device, RUNNING);
    }
    for endpoint in [0x100, 0x101, ALIAS] {
        assert_eq!(
            fixture.reaches(endpoint, 0x1008),
            Some(0x20_0008),
            "{endpoint:#x}"
        );
    }
}

fn are_denied(fixture: &Fixture) {
    for endpoint in [0x100, 0x101, ALIAS] {
        assert_eq!(fixture.reaches(endpoint, 0x1000), None, "{endpoint:#x}");
    }
    for device in PAIR.into_iter().chain(LEGACY) {
        assert!(!fixture.command(device).contains(Command::BUS_MASTER), "{device}");
    }
}

fn resets(fixture: &Fixture, at: &str) -> u32 {
    fixture.machine.resets(bdf(at))
}

/// The other guest has its device, running, in its own memory.
fn other_runs(fixture: &Fixture, table: &CohortTable<TestAssigner<'_>>) {
    let cohort = table.cohorts().cohort_of(id(NVME)).unwrap().id();
    assert_eq!(table.state(cohort), Some(CohortState::Open(OTHER)));
    assert_eq!(fixture.reaches(0x20, 0x3008), Some(0x50_0008));
    assert!(fixture.command(NVME).contains(RUNNING));
    assert_eq!(resets(fixture, NVME), 1);
}

#[test]
fn a_guest_starts_anew_again_and_again_and_nobody_else_notices() {
    let fixture = Fixture::new();
    let table = fixture.table();
    let domain = table.domain(GUEST, vec![region(0x1000, 0x20_0000)]).unwrap();
    let theirs = table.domain(OTHER, vec![region(0x3000, 0x50_0000)]).unwrap();
    let other = open(&table, &theirs, &[id(NVME)]);
    fixture.set_command(NVME, RUNNING);
    let mut leases = open(&table, &domain, &devices());
    let order: Vec<_> = leases.iter().map(Lease::cohort).collect();
    for life in 0..50 {
        let_run(&fixture);
        let made = anew(&mut leases, || {
            are_denied(&fixture);
            for cohort in &order {
                assert_eq!(table.state(*cohort), Some(CohortState::Resting(GUEST)));
            }
            Ok::<_, Infallible>(life)
        });
        assert_eq!(made.unwrap(), life);
        assert_eq!(leases.iter().map(Lease::cohort).collect::<Vec<_>>(), order);
        for device in PAIR.into_iter().chain(LEGACY) {
            assert_eq!(resets(&fixture, device), 2 + life, "{device}");
            assert!(!fixture.command(device).contains(Command::BUS_MASTER));
        }
        other_runs(&fixture, &table);
    }
    let_run(&fixture);
    leases.into_iter().for_each(|lease| lease.close().unwrap());
    are_denied(&fixture);
    domain.close().unwrap();
    drop(other);
}

#[test]
fn memory_that_cannot_be_loaded_leaves_everything_in_quarantine() {
    let fixture = Fixture::new();
    let table = fixture.table();
    let domain = table.domain(GUEST, vec![region(0x1000, 0x20_0000)]).unwrap();
    let mut leases = open(&table, &domain, &devices());
    let_run(&fixture);
    let failed = anew(&mut leases, || Err::<(), _>("the image is gone")).unwrap_err();
    assert_eq!(failed.to_string(), "the image is gone");
    assert!(failed.cohort().is_none() && leases.is_empty());
    are_denied(&fixture);
    for device in devices() {
        let cohort = table.cohorts().cohort_of(device).unwrap().id();
        assert_eq!(table.state(cohort), Some(CohortState::Quarantined));
    }
    domain.close().unwrap();
}

/// For each device: one that cannot be reset any more breaks its own cohort; the guest is not started, and loses the rest in order.
#[test]
fn a_reset_that_fails_breaks_its_set_and_the_guest_is_not_started() {
    for bad in [PAIR[0], PAIR[1], LEGACY[0], LEGACY[1]] {
        for vice in [true, false] {
            let fixture = Fixture::new();
            let table = fixture.table();
            let domain = table.domain(GUEST, vec![region(0x1000, 0x20_0000)]).unwrap();
            let theirs = table.domain(OTHER, vec![region(0x3000, 0x50_0000)]).unwrap();
            let other = open(&table, &theirs, &[id(NVME)]);
            fixture.set_command(NVME, RUNNING);
            let mut leases = open(&table, &domain, &devices());
            let_run(&fixture);
            // It ignores the reset, or is gone after it.
            fixture.change(bad, |model| match vice {
                true => model.vice = Vice::IgnoresReset,
                false => model.reset_takes = u64::MAX,
            });
            let failed = anew(&mut leases, || -> Result<(), Infallible> {
                panic!("nothing is loaded")
            })
            .unwrap_err();
            let NotAnew::Rest(cohort, failure) = &failed else {
                panic!("{failed}");
            };
            assert!(matches!(failure.0.step, Step::Reset(_)), "{failure}");
            assert_eq!(table.cohorts().cohort_of(id(bad)).unwrap().id(), *cohort);
            assert_eq!(table.state(*cohort), Some(CohortState::Broken(failure.0)));
            assert!(failed.to_string().contains("0000:"), "{failed}");
            leases.into_iter().for_each(|lease| lease.close().unwrap());
            for endpoint in [0x100, 0x101, ALIAS] {
                assert_eq!(fixture.reaches(endpoint, 0x1000), None, "{bad}: {endpoint:#x}");
            }
            for device in devices() {
                let state = table
                    .state(table.cohorts().cohort_of(device).unwrap().id())
                    .unwrap();
                assert!(matches!(state, CohortState::Quarantined | CohortState::Broken(_)));
            }
            other_runs(&fixture, &table);
            // Nothing was reached any more when the reset failed: the memory is free.
            domain.close().unwrap();
            // The repair fails as long as the device is like that, and works after.
            assert!(repair(&table, *cohort).unwrap().result.is_err());
            fixture.change(bad, |model| {
                model.vice = Vice::None;
                model.reset_takes = 0;
            });
            if vice {
                assert_eq!(repair(&table, *cohort).unwrap().result, Ok(()));
                let again = table.domain(GUEST, vec![region(0x1000, 0x20_0000)]).unwrap();
                drop(open(&table, &again, &devices()));
            }
            drop(other);
        }
    }
}

/// Starts anew on an IOMMU that answers `good` requests more and then refuses everything, or says nothing. Returns whether that sufficed.
fn anew_while_it_answers(good: u32, habit: Habit) -> bool {
    let fixture = Fixture::new();
    let table = fixture.table();
    let domain = table.domain(GUEST, vec![region(0x1000, 0x20_0000)]).unwrap();
    let mut leases = open(&table, &domain, &devices());
    let_run(&fixture);
    let silent = matches!(habit, Habit::Silent);
    fixture.iommu.set(|state| {
        state.habit = habit;
        state.good = good;
    });
    let mut loaded = false;
    let result = anew(&mut leases, || {
        loaded = true;
        are_denied(&fixture);
        Ok::<_, Infallible>(())
    });
    let failed = match result {
        Ok(()) => {
            fixture.iommu.set(|state| state.habit = Habit::Obedient);
            let_run(&fixture);
            return true;
        }
        Err(failed) => failed,
    };
    for device in PAIR.into_iter().chain(LEGACY) {
        let held = leases.iter().any(|lease| lease.devices().contains(&id(device)));
        assert!(
            held || !fixture.command(device).contains(Command::BUS_MASTER),
            "{device}"
        );
    }
    let cohort = failed.cohort().unwrap();
    let broken = matches!(table.state(cohort), Some(CohortState::Broken(_)));
    match &failed {
        NotAnew::Rest(_, failure) => {
            assert!(!loaded && broken);
            assert!(matches!(failure.0.step, Step::Quarantine(_)), "{failure}");
        }
        NotAnew::Wake(_, OpenFailure::Broken { failure, .. }) => {
            assert!(loaded && broken);
            assert!(matches!(failure.step, Step::Attach(_)), "{failure}");
        }
        // The driver knows that the endpoint is still in quarantine.
        NotAnew::Wake(_, OpenFailure::Failed(failure)) => {
            assert!(loaded && !broken && !silent);
            assert!(matches!(failure.step, Step::Attach(_)), "{failure}");
        }
        other => panic!("{other}"),
    }
    // What is still held is closed as far as it goes, and no memory is given back that a device may reach.
    let mut stuck = broken;
    for lease in leases {
        stuck |= lease.close().is_err();
    }
    for device in PAIR.into_iter().chain(LEGACY) {
        assert!(!fixture.command(device).contains(Command::BUS_MASTER), "{device}");
    }
    let closed = domain.close();
    assert_eq!(closed.is_err(), stuck);
    if silent {
        return false;
    }
    // It answers again: repairs put everything into quarantine, and the domain can be closed.
    fixture.iommu.set(|state| state.habit = Habit::Obedient);
    for device in devices() {
        let cohort = table.cohorts().cohort_of(device).unwrap().id();
        if let Some(repaired) = repair(&table, cohort) {
            assert_eq!(repaired.result, Ok(()));
        }
        assert_eq!(table.state(cohort), Some(CohortState::Quarantined));
    }
    are_denied(&fixture);
    if let Err(in_use) = closed {
        in_use.domain.close().unwrap();
    }
    assert_eq!(table.lost_domains(), 0);
    let again = table.domain(GUEST, vec![region(0x1000, 0x20_0000)]).unwrap();
    drop(open(&table, &again, &devices()));
    false
}

#[test]
fn an_iommu_that_fails_at_any_request_of_a_restart_leaves_nothing_reachable_that_is_used_again() {
    // Silence, and VIRTIO_IOMMU_S_DEVERR.
    for habit in [|| Habit::Silent, || Habit::Status(3)] {
        let enough = (0..100).find(|good| anew_while_it_answers(*good, habit()));
        assert!(
            enough.is_some_and(|enough| enough >= 7),
            "three endpoints leave, three come, and mappings with them: {enough:?}"
        );
    }
}
