//! What owners do with open functions: resets, power states, a controller that must be disabled first; and cohorts that are repaired.

use super::bdf;
use super::fixture::{Fixture, NVME, PAIR, id, region};
use crate::pci::{ConfigAccess, Width};
use vfio_core::lease::{CohortState, ResetFailure};
use vfio_core::pci::device::PowerState;
use vfio_core::pci::spec::{Command, capability, header, pm};
use vfio_core::set::Patience;
use vfio_core::testing::pci::Vice;
use vfio_core::{Fault, Owner};

const GUEST: Owner = Owner::Guest(0);
/// The fixture's NVMe controller, changed to one that must be disabled before it is reset (Samsung SM961).
const FRAGILE: (u16, u16) = (0x144d, 0xa804);
const REGISTERS: u64 = 0xfe60_0000;

#[test]
fn an_owner_resets_its_function_and_finds_it_ready_and_quiet() {
    let fixture = Fixture::new();
    let table = fixture.table();
    let domain = table.domain(GUEST, vec![region(0x1000, 0x20_0000)]).unwrap();
    let plan = table.plan_open(GUEST, &[id(NVME)], true).unwrap();
    let leases = table.open(&plan, &domain).unwrap();
    let assigner = table.platform();
    let nvme = assigner.function(bdf(NVME)).unwrap();
    assigner.route(nvme, 1, 0, 0x55).unwrap();
    fixture.set_command(NVME, Command::MEMORY | Command::BUS_MASTER);
    let (before, time) = (fixture.machine.resets(bdf(NVME)), fixture.machine.time.get());
    leases[0].reset_device(id(NVME), Patience::NONE).unwrap();
    assert_eq!(fixture.machine.resets(bdf(NVME)), before + 1);
    assert!(
        fixture.machine.time.get() - time >= 100_000_000,
        "the wait that is prescribed"
    );
    let command = fixture.command(NVME);
    assert!(command.contains(Command::MEMORY) && !command.contains(Command::BUS_MASTER));
    assert_eq!(fixture.entry(1)[3], 1, "masked");
    assert_eq!(fixture.msix_control() & 0xc000, 0x8000, "and ready to be routed");
    assert_eq!(
        fixture.reaches(0x20, 0x1008),
        Some(0x20_0008),
        "in its domain still"
    );
    let stranger = leases[0].reset_device(id(PAIR[0]), Patience::NONE);
    assert_eq!(stranger, Err(ResetFailure::NotMember(id(PAIR[0]))));
    fixture.change(NVME, |model| model.reset_takes = u64::MAX);
    let failed = leases[0].reset_device(id(NVME), Patience::NONE).unwrap_err();
    assert!(matches!(failed, ResetFailure::Failed(failure) if failure.fault == Fault::Gone));
}

#[test]
fn a_controller_that_must_be_disabled_is_before_its_reset() {
    let fixture = Fixture::with(|mut model| {
        model.put16(header::VENDOR_ID, FRAGILE.0);
        model.put16(header::DEVICE_ID, FRAGILE.1);
        model
    });
    let table = fixture.table();
    let enabled = || fixture.memory.words.borrow().get(&(REGISTERS + 0x14)).copied();
    fixture
        .memory
        .words
        .borrow_mut()
        .insert(REGISTERS + 0x14, 0x0046_0001);
    let domain = table.domain(GUEST, vec![]).unwrap();
    let plan = table.plan_open(GUEST, &[id(NVME)], true).unwrap();
    let leases = table.open(&plan, &domain).unwrap();
    assert_eq!(
        enabled(),
        Some(0x0046_0000),
        "through its registers, which answer"
    );
    assert_eq!(fixture.machine.resets(bdf(NVME)), 1);
    drop(leases);
}

#[test]
fn power_states_are_reached_and_what_is_lost_on_the_way_is_set_up_again() {
    for keeps in [true, false] {
        let fixture = Fixture::with(|model| model.power_management(keeps));
        let mut at = 0;
        fixture.change(NVME, |model| at = model.find(capability::PM));
        let table = fixture.table();
        let domain = table.domain(GUEST, vec![]).unwrap();
        let plan = table.plan_open(GUEST, &[id(NVME)], true).unwrap();
        let leases = table.open(&plan, &domain).unwrap();
        let assigner = table.platform();
        let state = || fixture.machine.read(bdf(NVME), at + pm::CONTROL, Width::Word) & 3;
        assert_eq!(
            assigner.set_power_state(bdf(NVME), PowerState::D3hot, GUEST),
            Ok(false)
        );
        assert_eq!(state(), 3);
        let back = assigner.set_power_state(bdf(NVME), PowerState::D0, GUEST);
        assert_eq!((back, state()), (Ok(!keeps), 0));
        assert_eq!(fixture.msix_control() & 0xc000, 0x8000);
        assert!(fixture.command(NVME).contains(Command::MEMORY));
        assert_eq!(
            assigner.set_power_state(bdf("00:09.0"), PowerState::D0, GUEST),
            Err(Fault::Unknown)
        );
        fixture.change(NVME, |model| model.vice = Vice::StaysAwake);
        let stays = assigner.set_power_state(bdf(NVME), PowerState::D3hot, GUEST);
        assert!(stays.is_err());
        drop(leases);
    }
}

#[test]
fn a_cohort_that_broke_when_it_was_closed_is_repaired_and_opened_again() {
    let fixture = Fixture::new();
    let table = fixture.table();
    let domain = table.domain(GUEST, vec![]).unwrap();
    let plan = table.plan_open(GUEST, &[id(NVME)], true).unwrap();
    let lease = table.open(&plan, &domain).unwrap().remove(0);
    let cohort = lease.cohort();
    fixture.change(NVME, |model| model.vice = Vice::IgnoresReset);
    lease.close().unwrap_err();
    let why = match table.state(cohort) {
        Some(CohortState::Broken(failure)) => failure,
        other => panic!("{other:?}"),
    };
    let stubborn = super::super::repair(&table, cohort).unwrap();
    assert_eq!((stubborn.failure, stubborn.result.is_err()), (why, true));
    fixture.change(NVME, |model| model.vice = Vice::None);
    let repaired = super::super::repair(&table, cohort).unwrap();
    assert_eq!(repaired.result, Ok(()));
    assert_eq!(table.state(cohort), Some(CohortState::Quarantined));
    assert!(
        super::super::repair(&table, cohort).is_none(),
        "nothing to repair"
    );
    let plan = table.plan_open(GUEST, &[id(NVME)], true).unwrap();
    drop(table.open(&plan, &domain).unwrap());
}
