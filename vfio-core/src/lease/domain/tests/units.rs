//! Domains that span units: replay, changes in all of them, and what does not fit a newcomer.

use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::Fault;
use crate::domain::{MapError, Misfit, ReservedKind, ReservedRegion, UnitLimits};
use crate::lease::{CohortState, JoinRefusal, MapFailure, OpenFailure, UnmapFailure};

#[test]
fn a_unit_hears_of_all_mappings_with_its_first_requester_and_of_changes_from_then_on() {
    let table = table();
    let domain = table.domain(GUEST, Vec::from([map(4, 1), map(1, 2)])).unwrap();
    domain.map(map(8, 1)).unwrap();
    assert_eq!(calls(&table), [Call::Create(GUEST)], "nobody is attached");
    let first = open(&table, &pair(), &domain);
    let number = domain.id();
    let told = |unit, call: Vec<Mapping>| {
        call.into_iter()
            .map(move |mapping| Call::Map(unit, number, mapping))
    };
    let maps = |calls: Vec<Call>| {
        calls
            .into_iter()
            .filter(|call| matches!(call, Call::Map(..)))
            .collect::<Vec<_>>()
    };
    let all = Vec::from([map(1, 2), map(4, 1), map(8, 1)]);
    assert_eq!(
        maps(calls(&table)),
        told(UnitId(0), all.clone()).collect::<Vec<_>>()
    );
    let second = open(&table, &single(), &domain);
    assert_eq!(maps(calls(&table)), told(UnitId(1), all).collect::<Vec<_>>());
    let third = open(&table, &legacy(), &domain);
    assert_eq!(maps(calls(&table)), [], "unit 1 knows");
    domain.map(map(16, 4)).unwrap();
    assert_eq!(
        calls(&table),
        UNITS.map(|unit| Call::Map(unit, number, map(16, 4)))
    );
    assert_in_step(&table, &domain);
    // One request for a range, from the first mapping in it to the last.
    assert_eq!(domain.unmap(Iova(3 * PAGE), 10 * PAGE), Ok(2 * PAGE));
    assert_eq!(
        calls(&table),
        UNITS.map(|unit| Call::Unmap(unit, number, pages(4, 8)))
    );
    assert_eq!(domain.unmap(Iova(3 * PAGE), 10 * PAGE), Ok(0), "nothing is there");
    assert_eq!(calls(&table), [], "so nobody is asked");
    assert_in_step(&table, &domain);
    drop(second);
    drop(third);
    calls(&table);
    domain.map(map(4, 1)).unwrap();
    assert_eq!(
        calls(&table),
        [Call::Map(UnitId(0), number, map(4, 1))],
        "unit 1 has nobody any more"
    );
    let second = open(&table, &legacy(), &domain);
    assert_in_step(&table, &domain);
    assert_eq!(domain.unmap_all(), Ok(7 * PAGE));
    assert!(
        in_units(&table.platform().view(), &domain)
            .iter()
            .all(|(_, mapped)| mapped.is_empty())
    );
    drop((first, second));
    assert_eq!(domain.close().unwrap(), []);
}

#[test]
fn a_cohort_whose_reserved_region_is_mapped_is_refused_before_anything_is_touched() {
    let table = table();
    let region = ReservedRegion {
        kind: ReservedKind::Msi,
        range: pages(16, 31),
    };
    table.platform().reserve(requester(0x101), region);
    let domain = table.domain(GUEST, Vec::from([map(0, 4), map(10, 8)])).unwrap();
    calls(&table);
    let plan = table
        .plan_open(GUEST, &[single(), pair()].concat(), false)
        .unwrap();
    let refused = table.open(&plan, &domain).unwrap_err();
    let misfit = Misfit::Reserved {
        mapping: pages(10, 17),
        requester: requester(0x101),
        region,
    };
    let expected = JoinRefusal::Misfit {
        requester: requester(0x101),
        unit: UnitId(0),
        misfit,
    };
    assert_eq!(refused, OpenFailure::Domain(expected));
    assert_eq!(
        refused.to_string(),
        "0000:01:00.1, behind IOMMU 0, cannot be in the domain: the mapping 0xa000 to 0x11fff meets the interrupt \
         region 0x10000 to 0x1ffff of 0000:01:00.1; unmap that first"
    );
    assert_eq!(
        calls(&table),
        [],
        "no device was touched, of the other cohort of the plan neither"
    );
    domain.unmap(Iova(10 * PAGE), 8 * PAGE).unwrap();
    let leases = table.open(&plan, &domain).unwrap();
    // While it is open, nobody maps there; other mappings come and go.
    calls(&table);
    let over = domain.map(map(31, 1)).unwrap_err();
    assert!(
        matches!(over, MapFailure::Refused(MapError::Reserved { .. })),
        "{over}"
    );
    assert_eq!(calls(&table), []);
    assert_eq!(domain.limits().allowed().len(), 2);
    domain.map(map(32, 1)).unwrap();
    drop(leases);
    domain.map(map(31, 1)).unwrap();
    assert_eq!(domain.limits().allowed().len(), 1);
}

#[test]
fn a_unit_with_larger_pages_or_a_smaller_aperture_is_refused_what_does_not_fit() {
    let small = |change: fn(&mut UnitLimits)| {
        let table = table();
        let mut limits = UnitLimits::any();
        change(&mut limits);
        table.platform().limit(UnitId(1), limits);
        let domain = table.domain(GUEST, Vec::from([map(0, 16), map(64, 1)])).unwrap();
        drop(open(&table, &pair(), &domain));
        let kept = open(&table, &pair(), &domain);
        let plan = table.plan_open(GUEST, &single(), false).unwrap();
        let refused = table.open(&plan, &domain).unwrap_err();
        let state = table
            .cohorts()
            .cohort_of(single()[0])
            .map(|cohort| table.state(cohort.id()));
        assert_eq!(state, Some(Some(CohortState::Quarantined)));
        // It does not say what cannot be had: without the mapping it works.
        domain.unmap(Iova(64 * PAGE), PAGE).unwrap();
        let lease = table.open(&plan, &domain).unwrap();
        assert!(domain.map(map(64, 1)).is_err());
        drop((kept, lease));
        domain.map(map(64, 1)).unwrap();
        match refused {
            OpenFailure::Domain(JoinRefusal::Misfit {
                unit: UnitId(1),
                misfit,
                ..
            }) => misfit,
            other => panic!("{other}"),
        }
    };
    let granule = small(|limits| limits.page_sizes = 0x1_0000);
    assert!(
        matches!(granule, Misfit::Granule { mapping, granule: 0x1_0000, .. } if mapping == pages(64, 64))
    );
    let aperture = small(|limits| limits.apertures = Vec::from([pages(0, 63)]));
    let nearest = Some(pages(0, 63));
    assert_eq!(
        aperture,
        Misfit::NotAllowed {
            mapping: pages(64, 64),
            nearest
        }
    );
}

#[test]
fn a_requester_without_a_unit_is_refused() {
    let table = table();
    let domain = table.domain(GUEST, Vec::new()).unwrap();
    table.platform().lose(requester(0x400));
    let plan = table.plan_open(GUEST, &single(), false).unwrap();
    let unknown = JoinRefusal::Unknown {
        requester: requester(0x400),
        fault: Fault::Unknown,
    };
    assert_eq!(
        table.open(&plan, &domain).unwrap_err(),
        OpenFailure::Domain(unknown)
    );
}

#[test]
fn refusals_leave_everything_as_it_was() {
    let table = table();
    let domain = table.domain(GUEST, Vec::from([map(4, 4)])).unwrap();
    let _lease = open(&table, &pair(), &domain);
    let before = (table.platform().view(), domain.mappings());
    calls(&table);
    assert!(matches!(
        domain.map(map(4, 4)),
        Err(MapFailure::Refused(MapError::Overlap { .. }))
    ));
    assert!(matches!(
        domain.map(map(4, 0)),
        Err(MapFailure::Refused(MapError::Range(_)))
    ));
    assert!(matches!(
        domain.unmap(Iova(0), 5 * PAGE),
        Err(UnmapFailure::Refused(_))
    ));
    assert!(matches!(
        domain.unmap(Iova(6 * PAGE), 5 * PAGE),
        Err(UnmapFailure::Refused(_))
    ));
    assert!(matches!(domain.unmap(Iova(0), 0), Err(UnmapFailure::Refused(_))));
    assert_eq!(calls(&table), []);
    assert_eq!((table.platform().view(), domain.mappings()), before);
}

#[test]
fn a_view_outlives_the_domain() {
    let table = table();
    let domain = table.domain(GUEST, Vec::from([map(4, 4)])).unwrap();
    let view = domain.view();
    domain.map(map(8, 1)).unwrap();
    assert_eq!(view.find(Iova(8 * PAGE)), Some(map(8, 1)));
    domain.unmap(Iova(8 * PAGE), PAGE).unwrap();
    assert_eq!(view.find(Iova(8 * PAGE)), None);
    domain.close().unwrap();
    assert_eq!(view.find(Iova(5 * PAGE)), Some(map(4, 4)));
}
