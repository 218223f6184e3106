//! The order of an open and of a close, who may follow whom, and how long a domain lives.

use std::string::ToString;
use std::vec::Vec;

use super::{GUEST, OTHER, Table, calls, domain, plan, region, table};
use crate::cohort::{Cohorts, Refusal};
use crate::lease::{CohortState, CohortTable, DomainError, OpenFailure};
use crate::pci::Topology;
use crate::testing::machine::{demo, id};
use crate::testing::platform::{Call, Recorder};
use crate::{Fault, MappingError, Owner, Requester};

#[test]
fn everything_starts_quiet_and_in_quarantine() {
    let cohorts = Cohorts::new(&Topology::new(demo()).unwrap());
    let table = CohortTable::new(cohorts, Recorder::default()).unwrap();
    let started = calls(&table);
    for device in table.cohorts().devices() {
        let quiet = started
            .iter()
            .position(|call| *call == Call::Quiesce(device.id))
            .unwrap();
        let denied = started
            .iter()
            .position(|call| *call == Call::Quarantine(device.requesters[0]));
        assert!(denied.is_some_and(|at| at != quiet));
        assert_eq!(table.state(device.cohort), Some(CohortState::Quarantined));
    }
}

#[test]
fn a_cohort_that_cannot_be_quarantined_starts_out_of_service() {
    let cohorts = Cohorts::new(&Topology::new(demo()).unwrap());
    let platform = Recorder::with_remapping();
    platform.fail_at([1]);
    let table = CohortTable::new(cohorts, platform).unwrap();
    let refused = table.plan_open(GUEST, &[id("00:00.0")], false).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "0000:00:00.0 is out of service: putting requester 0000:00:00.0 into quarantine failed: \
         it did not answer in time"
    );
    assert!(table.plan_open(GUEST, &[id("04:00.0")], false).is_ok());
}

#[test]
fn open_and_close_run_in_order() {
    let table = table(demo());
    let (a, b) = (id("01:00.0"), id("01:00.1"));
    let (ra, rb) = (
        Requester::Pci {
            segment: 0,
            id: 0x100,
        },
        Requester::Pci {
            segment: 0,
            id: 0x101,
        },
    );
    let domain = domain(&table, GUEST);
    let number = domain.id();
    let maps = [
        Call::Map(number, region(0x1000)),
        Call::Map(number, region(0x4000)),
    ];
    assert_eq!(calls(&table), [Call::Create(GUEST), maps[0], maps[1]]);
    let lease = table
        .open(&plan(&table, GUEST, &[b, a]), &domain)
        .unwrap()
        .pop()
        .unwrap();
    assert_eq!(
        calls(&table),
        [
            Call::Quiesce(a),
            Call::Quiesce(b),
            Call::Reset(a),
            Call::CheckAlive(a),
            Call::CheckAlive(b),
            Call::Attach(ra),
            Call::Attach(rb),
            Call::Open(a),
            Call::Open(b),
            Call::Enable(a),
            Call::Enable(b),
        ]
    );
    assert_eq!((lease.owner(), lease.devices()), (GUEST, &[a, b][..]));
    assert_eq!(table.state(lease.cohort()), Some(CohortState::Open(GUEST)));
    drop(lease);
    assert_eq!(
        calls(&table),
        [
            Call::Quiesce(b),
            Call::Quiesce(a),
            Call::Close(b),
            Call::Close(a),
            Call::Release(b),
            Call::Release(a),
            Call::Quarantine(rb),
            Call::Quarantine(ra),
            Call::Reset(a),
        ]
    );
    drop(domain);
    assert_eq!(calls(&table), [Call::Destroy(number)]);
}

/// P8: callbacks run while the page table is there, from before the first open to after the last close.
#[test]
fn p8_callbacks_run_while_attached() {
    let table = table(demo());
    let everything: Vec<_> = table.cohorts().devices().iter().map(|device| device.id).collect();
    let domain = domain(&table, GUEST);
    drop(table.open(&plan(&table, GUEST, &everything), &domain).unwrap());
    let calls = calls(&table);
    for device in table.cohorts().devices() {
        let at = |wanted: Call| calls.iter().position(|call| *call == wanted).unwrap();
        let requester = device.requesters[0];
        assert!(at(Call::Attach(requester)) < at(Call::Open(device.id)));
        assert!(at(Call::Close(device.id)) < at(Call::Quarantine(requester)));
    }
}

#[test]
fn functions_behind_one_bridge_are_attached_once() {
    let table = table(demo());
    let domain = domain(&table, GUEST);
    calls(&table);
    let leases = table
        .open(&plan(&table, GUEST, &[id("03:00.0"), id("03:01.0")]), &domain)
        .unwrap();
    let bridge = Requester::Pci {
        segment: 0,
        id: 0x300,
    };
    let attached: Vec<Call> = calls(&table)
        .into_iter()
        .filter(|c| matches!(c, Call::Attach(_)))
        .collect();
    assert_eq!(attached, [Call::Attach(bridge)]);
    assert_eq!(leases.len(), 1);
}

#[test]
fn one_domain_serves_all_cohorts_of_its_owner_and_no_other() {
    let table = table(demo());
    let domain = domain(&table, GUEST);
    let devices = [id("04:00.0"), id("00:00.0")];
    let mut leases = table.open(&plan(&table, GUEST, &devices), &domain).unwrap();
    assert_eq!(
        leases.iter().map(|lease| lease.devices()[0]).collect::<Vec<_>>(),
        devices
    );
    assert_eq!(table.platform().view().domains.len(), 1);
    let other = table
        .plan_open(OTHER, &[id("01:00.0"), id("01:00.1")], false)
        .unwrap();
    let refused = table.open(&other, &domain).unwrap_err();
    assert_eq!(refused, OpenFailure::Refused(Refusal::DomainOfAnother(GUEST)));
    let elsewhere = super::table(demo());
    let foreign = plan(&elsewhere, GUEST, &[id("04:00.0")]);
    assert_eq!(
        table.open(&foreign, &domain).unwrap_err(),
        OpenFailure::Refused(Refusal::ForeignPlan)
    );

    // Memory is given back when no device reaches it any more, and not before.
    let domain = domain.close().unwrap_err().domain;
    leases.pop().unwrap().close().unwrap();
    let domain = domain.close().unwrap_err().domain;
    leases.pop().unwrap().close().unwrap();
    assert_eq!(domain.close().unwrap(), [region(0x1000), region(0x4000)]);
    assert_eq!(table.platform().view().domains.len(), 0);
}

#[test]
fn what_nothing_resets_stays_with_who_had_it() {
    let table = table(demo());
    let bare = [id("00:00.0")];
    // At boot nobody had it, so that anybody may.
    let (mine, theirs) = (domain(&table, GUEST), domain(&table, OTHER));
    drop(table.open(&plan(&table, GUEST, &bare), &mine).unwrap());
    let refused = table.plan_open(OTHER, &bare, false).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "0000:00:00.0 has been used by guest 1 and has no reset method, so nobody else can have it"
    );
    drop(table.open(&plan(&table, GUEST, &bare), &mine).unwrap());
    // What can be reset goes round.
    let fine = [id("04:00.0")];
    drop(table.open(&plan(&table, GUEST, &fine), &mine).unwrap());
    drop(table.open(&plan(&table, OTHER, &fine), &theirs).unwrap());
}

#[test]
fn a_plan_that_time_overtook_is_refused_when_it_is_opened() {
    let table = table(demo());
    let device = id("04:00.0");
    let (mine, theirs) = (domain(&table, GUEST), domain(&table, OTHER));
    let (early, late) = (plan(&table, GUEST, &[device]), plan(&table, OTHER, &[device]));
    let lease = table.open(&early, &mine).unwrap();
    let taken = Refusal::OwnedByAnother { device, owner: GUEST };
    assert_eq!(
        table.open(&late, &theirs).unwrap_err(),
        OpenFailure::Refused(taken.clone())
    );
    assert_eq!(table.plan_open(OTHER, &[device], false).unwrap_err(), taken);
    let again = table.open(&early, &mine).unwrap_err();
    let state = CohortState::Open(GUEST);
    assert_eq!(
        again,
        OpenFailure::Refused(Refusal::NotQuarantined { device, state })
    );
    drop(lease);
    drop(table.open(&late, &theirs).unwrap());
}

#[test]
fn interrupts_that_are_not_isolated_need_leave() {
    let cohorts = Cohorts::new(&Topology::new(demo()).unwrap());
    let table = CohortTable::new(cohorts, Recorder::default()).unwrap();
    let device = id("04:00.0");
    let refused = table.plan_open(Owner::Hypervisor, &[device], false).unwrap_err();
    assert_eq!(refused, Refusal::UnsafeInterrupts { device });
    assert!(table.plan_open(Owner::Hypervisor, &[device], true).is_ok());
}

#[test]
fn a_domain_that_fails_leaves_nothing_behind() {
    let table = table(demo());
    let regions = Vec::from([region(0x1000), region(0x2000), region(0x3000)]);
    for step in 0..4 {
        table.platform().fail_at([step]);
        let error = table.domain(GUEST, regions.clone()).unwrap_err();
        match step.checked_sub(1) {
            None => assert_eq!(error, DomainError::Create(Fault::TimedOut)),
            Some(at) => assert_eq!(
                error,
                DomainError::Map {
                    region: regions[at],
                    fault: Fault::TimedOut
                }
            ),
        }
        assert!(table.platform().view().domains.is_empty());
    }
    assert_eq!(table.lost_domains(), 0);
    // Creating, three maps, and the failing fourth call of the way back.
    table.platform().fail_at([3, 4]);
    assert!(table.domain(GUEST, regions).is_err());
    assert_eq!(table.lost_domains(), 1);
}

#[test]
fn regions_that_cannot_be_one_domain_are_refused() {
    let table = table(demo());
    let refuse = |regions: &[crate::Mapping]| table.domain(GUEST, regions.to_vec()).unwrap_err();
    let low = region(0x1000);
    let high = crate::Mapping {
        iova: crate::addr::Iova(u64::MAX - 0xfff),
        ..low
    };
    let empty = crate::Mapping { size: 0, ..low };
    assert_eq!(
        refuse(&[empty]),
        DomainError::Regions(MappingError::Empty(low.iova))
    );
    let long = crate::Mapping { size: 0x1001, ..high };
    assert_eq!(
        refuse(&[long]),
        DomainError::Regions(MappingError::TooLong(high.iova))
    );
    let over = crate::Mapping { size: 0x1001, ..low };
    let overlap = MappingError::Overlap(low.iova, region(0x2000).iova);
    assert_eq!(refuse(&[region(0x2000), over]), DomainError::Regions(overlap));
    assert!(calls(&table).is_empty());
}

/// Guests end on their own CPUs, and whoever sees it closes their leases.
#[test]
fn leases_and_tables_go_from_cpu_to_cpu() {
    fn sync<T: Sync>() {}
    fn send<T: Send>() {}
    sync::<Table>();
    send::<crate::lease::Lease<'static, Recorder>>();
    send::<crate::lease::Domain<'static, Recorder>>();
}
