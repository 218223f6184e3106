//! Every call of the IOMMU made to fail, before it had its effect or after: what is said to be unmapped is reached by nobody.

use std::vec::Vec;

use super::*;
use crate::domain::MapError;
use crate::lease::{MapFailure, OpenFailure, UnmapFailure};

/// Two units with requesters, and mappings in both.
fn two_units(table: &Table) -> (Domain<'_, Recorder>, [Lease<'_, Recorder>; 2]) {
    let mappings = Vec::from([map(0, 2), map(4, 1), map(5, 1)]);
    let domain = table.domain(GUEST, mappings).unwrap();
    let leases = [open(table, &pair(), &domain), open(table, &single(), &domain)];
    (domain, leases)
}

/// Failures at one call or at two, early and late.
fn failures() -> impl Iterator<Item = (Vec<usize>, bool)> {
    let points = (0..6).flat_map(|first| (first..6).map(move |second| Vec::from([first, second])));
    points.flat_map(|points| [(points.clone(), false), (points, true)])
}

#[test]
fn a_map_that_fails_is_taken_back_or_keeps_its_range() {
    let (mut failed, mut poisoned) = (0, 0);
    for (points, late) in failures() {
        let table = table();
        let (domain, leases) = two_units(&table);
        table.platform().fail_late(late);
        table.platform().fail_at(points.clone());
        let result = domain.map(map(8, 2));
        table.platform().fail_at([]);
        assert_truth(&table, &domain);
        match result {
            Ok(()) => assert!(points.iter().all(|at| *at >= 2), "{points:?}"),
            Err(MapFailure::Fault { mapping, .. }) => {
                failed += 1;
                assert_eq!(mapping, map(8, 2));
                assert_eq!(domain.mappings().len(), 3);
                assert_in_step(&table, &domain);
            }
            Err(MapFailure::Poisoned { .. }) => {
                poisoned += 1;
                assert_eq!(domain.find(Iova(8 * PAGE)), None, "nobody may rely on it");
                assert!(matches!(
                    domain.map(map(9, 1)),
                    Err(MapFailure::Refused(MapError::Overlap { .. }))
                ));
                assert_eq!(domain.unmap(Iova(8 * PAGE), 2 * PAGE), Ok(2 * PAGE));
                assert_in_step(&table, &domain);
            }
            Err(other) => panic!("{other}"),
        }
        if domain.find(Iova(8 * PAGE)).is_none() {
            domain.map(map(8, 2)).unwrap();
        }
        assert_in_step(&table, &domain);
        drop(leases);
        domain.close().unwrap();
    }
    assert!(failed > 4 && poisoned > 4, "{failed} {poisoned}");
}

#[test]
fn an_unmap_that_fails_unmaps_nothing_as_far_as_anybody_may_know() {
    let mut poisoned = 0;
    for (points, late) in failures() {
        let table = table();
        let (domain, leases) = two_units(&table);
        table.platform().fail_late(late);
        table.platform().fail_at(points.clone());
        let result = domain.unmap(Iova(3 * PAGE), 5 * PAGE);
        table.platform().fail_at([]);
        assert_truth(&table, &domain);
        match result {
            Ok(bytes) => {
                assert!(points.iter().all(|at| *at >= 2));
                assert_eq!(bytes, 2 * PAGE);
            }
            Err(UnmapFailure::Poisoned { range, unit, .. }) => {
                poisoned += 1;
                assert_eq!((range, unit), (pages(4, 5), UnitId(points[0] as u32)));
                assert_eq!(domain.mappings().len(), 3);
                assert_eq!(domain.find(Iova(4 * PAGE)), None);
                assert_eq!(
                    domain.find(Iova(0)),
                    Some(map(0, 2)),
                    "the others are as they were"
                );
                // A unit that comes meanwhile is not told of what was to go.
                drop(leases);
                let again = open(&table, &legacy(), &domain);
                assert!(
                    in_units(&table.platform().view(), &domain).contains(&(UnitId(1), [map(0, 2)].to_vec()))
                );
                assert_eq!(domain.unmap(Iova(3 * PAGE), 5 * PAGE), Ok(2 * PAGE));
                assert_in_step(&table, &domain);
                drop(again);
                assert_eq!(domain.close().unwrap(), [map(0, 2)]);
                continue;
            }
            Err(other) => panic!("{other}"),
        }
        assert_in_step(&table, &domain);
    }
    assert!(poisoned > 8);
}

#[test]
fn a_replay_that_fails_is_undone_and_the_other_unit_does_not_notice() {
    for late in [false, true] {
        for at in 0.. {
            let table = table();
            let domain = table
                .domain(GUEST, Vec::from([map(0, 2), map(4, 1), map(5, 1)]))
                .unwrap();
            let kept = open(&table, &pair(), &domain);
            let before = table.platform().view();
            let plan = table.plan_open(GUEST, &single(), false).unwrap();
            calls(&table);
            table.platform().fail_late(late);
            table.platform().fail_at([at]);
            let result = table.open(&plan, &domain);
            table.platform().fail_at([]);
            assert_truth(&table, &domain);
            let Err(failure) = result else {
                assert!(at > 6, "attach and three maps are among the calls");
                break;
            };
            assert!(matches!(failure, OpenFailure::Failed(_)), "{failure}");
            let after = table.platform().view();
            assert_eq!(
                (&after.attached, &after.mapped),
                (&before.attached, &before.mapped)
            );
            let members = domain.0.shared.state.lock().members.clone();
            assert!(
                members
                    .iter()
                    .all(|member| member.attached && member.unit == UnitId(0))
            );
            drop(table.open(&plan, &domain).unwrap());
            assert_in_step(&table, &domain);
            drop(kept);
            domain.close().unwrap();
        }
    }
}

/// A unit from which a requester could not be taken after half a replay takes no other, and the domain stays for good.
#[test]
fn half_a_replay_that_stays_is_never_taken_for_whole() {
    let table = table();
    let domain = table.domain(GUEST, Vec::from([map(0, 2), map(4, 1)])).unwrap();
    let plan = table.plan_open(GUEST, &single(), false).unwrap();
    calls(&table);
    drop(table.open(&plan, &domain).unwrap());
    let trace = calls(&table);
    let second_map = trace
        .iter()
        .rposition(|call| matches!(call, Call::Map(..)))
        .unwrap();
    table.platform().fail_at([second_map, second_map + 1]);
    let failure = table.open(&plan, &domain).unwrap_err();
    assert!(matches!(failure, OpenFailure::Broken { .. }), "{failure}");
    table.platform().fail_at([]);
    assert_truth(&table, &domain);
    let other = table.plan_open(GUEST, &legacy(), false).unwrap();
    assert!(matches!(table.open(&other, &domain), Err(OpenFailure::Failed(_))));
    // Elsewhere all is well, and what is unmapped is unmapped in that unit too.
    let lease = open(&table, &pair(), &domain);
    domain.unmap_all().unwrap();
    let view = table.platform().view();
    assert_eq!(view.reached(requester(0x400), UnitId(1)), []);
    drop(lease);
    assert!(domain.close().is_err());
}
