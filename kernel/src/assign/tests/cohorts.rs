//! Whole cohorts through `vfio-core`'s table, and an IOMMU that stops answering on the way.

use super::fixture::{ALIAS, Fixture, LEGACY, NVME, PAIR, TestAssigner, id, ids, region};
use crate::iommu::virtio::tests::device::Habit;
use vfio_core::lease::{CohortState, CohortTable, OpenFailure, UnmapFailure};
use vfio_core::pci::spec::Command;
use vfio_core::{DeviceId, Fault, Owner, Step};

const GUEST: Owner = Owner::Guest(0);
const ENDPOINTS: [u32; 4] = [0x20, 0x100, 0x101, ALIAS];

fn state(table: &CohortTable<TestAssigner<'_>>, device: DeviceId) -> CohortState {
    let cohort = table.cohorts().cohort_of(device).unwrap();
    table.state(cohort.id()).unwrap()
}

fn resets(fixture: &Fixture, at: &str) -> u32 {
    let mut resets = 0;
    fixture.change(at, |model| resets = model.resets);
    resets
}

#[test]
fn a_table_denies_every_device_before_anything_is_opened() {
    let fixture = Fixture::new();
    let table = fixture.table();
    for endpoint in ENDPOINTS {
        assert_eq!(fixture.reaches(endpoint, 0x1000), None, "{endpoint:#x}");
    }
    for device in [NVME].into_iter().chain(PAIR).chain(LEGACY) {
        assert_eq!(state(&table, id(device)), CohortState::Quarantined);
        assert!(!fixture.command(device).contains(Command::BUS_MASTER), "{device}");
    }
}

#[test]
fn a_cohort_with_a_device_that_is_gone_is_out_of_service_and_the_others_are_not() {
    let fixture = Fixture::new();
    let assigner = fixture.assigner();
    let cohorts = vfio_core::cohort::Cohorts::new(&fixture.topology());
    fixture.remove(PAIR[1]);
    let table = CohortTable::new(cohorts, assigner).unwrap();
    let CohortState::Broken(failure) = state(&table, id(PAIR[0])) else {
        panic!("half of the slot is gone");
    };
    assert_eq!(
        (failure.step, failure.fault),
        (Step::Quiesce(id(PAIR[1])), Fault::Gone)
    );
    assert_eq!(state(&table, id(NVME)), CohortState::Quarantined);
}

#[test]
fn cohorts_are_opened_whole_and_closed_clean() {
    let fixture = Fixture::new();
    let table = fixture.table();
    let domain = table.domain(GUEST, vec![region(0x1000, 0x20_0000)]).unwrap();
    let devices = [&[id(NVME)][..], &ids(PAIR), &ids(LEGACY)].concat();
    let plan = table.plan_open(GUEST, &devices, true).unwrap();
    let leases = table.open(&plan, &domain).unwrap();
    assert_eq!(leases.len(), 3);
    for endpoint in ENDPOINTS {
        assert_eq!(
            fixture.reaches(endpoint, 0x1008),
            Some(0x20_0008),
            "{endpoint:#x}"
        );
        assert_eq!(fixture.reaches(endpoint, 0x20_0000), None, "{endpoint:#x}");
    }
    for device in [NVME].into_iter().chain(PAIR).chain(LEGACY) {
        assert_eq!(resets(&fixture, device), 1, "{device} starts clean");
        assert!(
            !fixture.command(device).contains(Command::BUS_MASTER),
            "that is the guest's to turn on"
        );
    }
    assert!(fixture.command(NVME).contains(Command::MEMORY));
    assert_eq!(fixture.entry(0)[3], 1, "masked until the guest routes it");
    let nvme = table.platform().function(super::bdf(NVME)).unwrap();
    table.platform().route(nvme, 0, 1, 0x55).unwrap();
    fixture.set_command(NVME, Command::MEMORY | Command::BUS_MASTER);
    for lease in leases {
        lease.close().unwrap();
    }
    for endpoint in ENDPOINTS {
        assert_eq!(fixture.reaches(endpoint, 0x1008), None, "{endpoint:#x}");
    }
    for device in [NVME].into_iter().chain(PAIR).chain(LEGACY) {
        assert_eq!(state(&table, id(device)), CohortState::Quarantined);
        assert_eq!(resets(&fixture, device), 2, "{device} is left clean");
        assert!(!fixture.command(device).contains(Command::BUS_MASTER));
    }
    assert_eq!(fixture.msix_control() & 0x8000, 0, "MSI-X is off");
    domain.close().unwrap();
    assert_eq!(table.lost_domains(), 0);
}

#[test]
fn half_a_cohort_is_refused_and_touches_nothing() {
    let fixture = Fixture::new();
    let table = fixture.table();
    let before = fixture.machine.bytes();
    assert!(table.plan_open(GUEST, &[id(PAIR[0])], true).is_err());
    assert!(table.plan_open(GUEST, &[id(LEGACY[1])], true).is_err());
    assert!(
        table.plan_open(GUEST, &[id(NVME)], false).is_err(),
        "unsafe interrupts"
    );
    assert_eq!(fixture.machine.bytes(), before);
}

#[test]
fn a_device_that_does_not_come_back_from_its_reset_is_not_handed_over() {
    let fixture = Fixture::new();
    let table = fixture.table();
    let domain = table.domain(GUEST, vec![region(0, 0x20_0000)]).unwrap();
    let plan = table.plan_open(GUEST, &[id(NVME)], true).unwrap();
    fixture.change(NVME, |model| model.reset_takes = u64::MAX);
    let failure = table.open(&plan, &domain).unwrap_err();
    let OpenFailure::Failed(failure) = failure else {
        panic!("{failure}");
    };
    assert_eq!(
        (failure.step, failure.fault),
        (Step::Reset(id(NVME)), Fault::Gone)
    );
    assert_eq!(fixture.reaches(0x20, 0), None);
    domain.close().unwrap();
}

#[test]
fn a_mapping_that_the_iommu_refuses_on_the_way_in_leaves_the_device_denied() {
    for keeps_domains in [false, true] {
        let fixture = Fixture::new();
        fixture.iommu.set(|state| state.keeps_domains = keeps_domains);
        let table = fixture.table();
        let mappings = vec![region(0x1000, 0x20_0000), region(0x2000, 0x30_0000)];
        let domain = table.domain(GUEST, mappings).unwrap();
        let plan = table.plan_open(GUEST, &[id(NVME)], true).unwrap();
        // ATTACH and the first MAP go well; the second MAP does not, and what follows does again.
        fixture.iommu.set(|state| state.refuse_map_at = Some(0x2000));
        let failure = table.open(&plan, &domain).unwrap_err();
        let OpenFailure::Failed(failure) = failure else {
            panic!("{failure}");
        };
        assert!(matches!(failure.step, Step::Attach(_)));
        assert_eq!(failure.fault, Fault::NoResources);
        assert_eq!(fixture.reaches(0x20, 0x1000), None);
        fixture.iommu.set(|state| state.refuse_map_at = None);
        let leases = table.open(&plan, &domain).unwrap();
        assert_eq!(fixture.reaches(0x20, 0x1000), Some(0x20_0000));
        assert_eq!(fixture.reaches(0x20, 0x2000), Some(0x30_0000));
        drop(leases);
        domain.close().unwrap();
    }
}

#[test]
fn an_open_domain_is_mapped_and_unmapped_and_the_interrupt_window_is_not() {
    let fixture = Fixture::new();
    let table = fixture.table();
    let domain = table.domain(GUEST, vec![region(0x1000, 0x20_0000)]).unwrap();
    let devices = [&[id(NVME)][..], &ids(LEGACY)].concat();
    let plan = table.plan_open(GUEST, &devices, true).unwrap();
    let leases = table.open(&plan, &domain).unwrap();
    domain.map(region(0x5000, 0x50_0000)).unwrap();
    for endpoint in [0x20, ALIAS] {
        assert_eq!(fixture.reaches(endpoint, 0x5008), Some(0x50_0008));
    }
    let sent = table.platform().iommus().commands();
    let window = domain.map(region(0xfee0_0000, 0x60_0000)).unwrap_err();
    assert!(
        window
            .to_string()
            .contains("interrupt region 0xfee00000 to 0xfeefffff"),
        "{window}"
    );
    assert_eq!(table.platform().iommus().commands(), sent);
    assert_eq!(domain.unmap_all(), Ok(0x2000));
    for endpoint in [0x20, ALIAS] {
        assert_eq!(fixture.reaches(endpoint, 0x1000), None);
        assert_eq!(fixture.reaches(endpoint, 0x5000), None);
    }
    // An IOMMU that stops answering: nothing is said to be unmapped.
    domain.map(region(0x5000, 0x50_0000)).unwrap();
    fixture.iommu.set(|state| state.habit = Habit::Silent);
    let failure = domain.unmap_all().unwrap_err();
    assert!(
        matches!(
            failure,
            UnmapFailure::Poisoned {
                fault: Fault::TimedOut,
                ..
            }
        ),
        "{failure}"
    );
    assert_eq!(domain.mappings(), [region(0x5000, 0x50_0000)]);
    drop(leases);
    assert!(domain.close().is_err());
}

/// Opens `devices` on an IOMMU that answers `good` requests more and then none, and returns whether that sufficed.
fn open_while_it_answers(devices: &[&str], good: u32) -> bool {
    let fixture = Fixture::new();
    let table = fixture.table();
    let ids: Vec<_> = devices.iter().map(|text| id(text)).collect();
    let domain = table.domain(GUEST, vec![region(0x1000, 0x20_0000)]).unwrap();
    let plan = table.plan_open(GUEST, &ids, true).unwrap();
    for device in devices {
        fixture.set_command(device, Command::BUS_MASTER);
    }
    fixture.iommu.set(|state| {
        state.habit = Habit::Silent;
        state.good = good;
    });
    let failure = match table.open(&plan, &domain) {
        Ok(leases) => {
            leases.into_iter().for_each(|lease| {
                lease.close().unwrap_err();
            });
            return true;
        }
        Err(failure) => failure,
    };
    let OpenFailure::Broken { failure, broken } = failure else {
        panic!("it cannot have been undone: {failure}");
    };
    assert!(matches!(failure.step, Step::Attach(_)), "{failure}");
    assert_eq!(failure.fault, Fault::TimedOut);
    assert!(matches!(broken.step, Step::Quarantine(_)), "{broken}");
    assert_eq!(state(&table, ids[0]), CohortState::Broken(broken));
    for device in devices {
        assert!(!fixture.command(device).contains(Command::BUS_MASTER), "{device}");
    }
    for other in ENDPOINTS {
        assert_eq!(fixture.reaches(other, 0x20_0000), None, "not by its host address");
    }
    if devices.len() == 1 {
        assert_eq!(fixture.reaches(0x20, 0x1000), None, "the map was never answered");
    }
    let refusal = table.plan_open(GUEST, &ids, true).unwrap_err();
    assert!(matches!(refusal, vfio_core::cohort::Refusal::Broken { .. }));
    assert!(domain.close().is_err(), "its memory must not be used again");
    false
}

#[test]
fn an_iommu_that_stops_answering_during_an_open_takes_the_cohort_out_of_service() {
    for devices in [&[NVME][..], &PAIR, &LEGACY] {
        let enough = (0..100).find(|good| open_while_it_answers(devices, *good));
        let enough = enough.unwrap();
        assert!(
            enough >= 2,
            "{devices:?}: an open attaches and maps, so it cannot do with {enough}"
        );
    }
}
