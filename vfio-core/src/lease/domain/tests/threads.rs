//! Several CPUs change one domain.

use std::vec::Vec;

use super::*;
use crate::lease::domain::state::Turn;
use crate::lease::{JoinRefusal, MapFailure, OpenFailure, UnmapFailure};
use crate::testing::scaled;

#[test]
fn cpus_map_unmap_and_open_in_one_domain_and_all_units_stay_in_step() {
    let rounds = scaled(100, 3);
    let table = table();
    let domain = table.domain(GUEST, Vec::new()).unwrap();
    std::thread::scope(|scope| {
        for cpu in 0..3 {
            let domain = &domain;
            scope.spawn(move || {
                for round in 0..rounds {
                    let mine = map(cpu * 16 + round % 8, 1);
                    domain.map(mine).unwrap();
                    // Everybody wants this one, and one has it.
                    let shared = domain.map(map(100, 1));
                    assert_eq!(domain.find(mine.iova), Some(mine));
                    assert_eq!(domain.unmap(mine.iova, mine.size), Ok(PAGE));
                    if shared.is_ok() {
                        assert_eq!(domain.unmap(Iova(100 * PAGE), PAGE), Ok(PAGE));
                    }
                }
            });
        }
        for _ in 0..rounds {
            let leases = (open(&table, &pair(), &domain), open(&table, &single(), &domain));
            assert_truth(&table, &domain);
            drop(leases);
        }
    });
    let _leases = (open(&table, &pair(), &domain), open(&table, &legacy(), &domain));
    assert_eq!(domain.mappings(), []);
    assert_in_step(&table, &domain);
}

#[test]
fn who_does_not_get_a_turn_is_refused_and_nothing_is_done() {
    let table = table();
    let domain = table.domain(GUEST, Vec::from([map(0, 1)])).unwrap();
    let plan = table.plan_open(GUEST, &single(), false).unwrap();
    let lease = open(&table, &pair(), &domain);
    calls(&table);
    let turn = Turn::take(&domain.0.shared).unwrap();
    assert_eq!(domain.map(map(1, 1)), Err(MapFailure::Busy));
    assert_eq!(domain.unmap(Iova(0), PAGE), Err(UnmapFailure::Busy));
    assert_eq!(domain.unmap_all(), Err(UnmapFailure::Busy));
    assert_eq!(
        table.open(&plan, &domain).unwrap_err(),
        OpenFailure::Domain(JoinRefusal::Busy)
    );
    assert_eq!(calls(&table), []);
    assert_eq!(domain.find(Iova(0)), Some(map(0, 1)), "looking needs no turn");
    // Taking devices away does not wait for ever for anybody.
    lease.close().unwrap();
    drop(turn);
    drop(table.open(&plan, &domain).unwrap());
}
