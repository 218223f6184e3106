//! The steps one by one, on a machine that obeys and on one that does not.

mod anew;
mod cohorts;
pub(crate) mod fixture;
mod owner;

use crate::pci::{ConfigAccess, Width};
use fixture::{ALIAS, Fixture, LEGACY, MSI, NVME, PENDING, VECTORS, bdf, id, region};
use vfio_core::Fault;
use vfio_core::lease::{DeviceOps, DmaDomains, Interrupts, Quiesce, Reset};
use vfio_core::pci::Bdf;
use vfio_core::pci::spec::{Command, msi, msix};
use vfio_core::{Owner, Requester};

const GUEST: Owner = Owner::Guest(1);

#[test]
fn quiesce_stops_memory_accesses_and_every_kind_of_interrupt() {
    let fixture = Fixture::new();
    assert_eq!(fixture.msi_control() & u32::from(msi::ENABLE), 1);
    let assigner = fixture.assigner();
    fixture.set_command(NVME, Command::MEMORY | Command::BUS_MASTER);
    assigner.quiesce(id(NVME)).unwrap();
    assert_eq!(fixture.command(NVME), Command::MEMORY | Command::INTX_DISABLE);
    assert_eq!(fixture.msi_control() & u32::from(msi::ENABLE), 0);
    let control = fixture.msix_control() as u16;
    assert_eq!(
        control & (msix::ENABLE | msix::FUNCTION_MASK),
        msix::FUNCTION_MASK
    );
    let before = fixture.machine.bytes();
    assigner.quiesce(id(NVME)).unwrap();
    assert_eq!(fixture.machine.bytes(), before, "a quiet device stays as it is");
}

#[test]
fn a_device_that_is_gone_or_another_or_unknown_is_named_as_that() {
    let fixture = Fixture::new();
    let assigner = fixture.assigner();
    assert_eq!(assigner.quiesce(id("00:09.0")), Err(Fault::Unknown));
    assert_eq!(assigner.check_alive(id("00:09.0")), Err(Fault::Unknown));
    assert_eq!(assigner.check_alive(id(NVME)), Ok(()));
    assert_eq!(
        assigner.close_device(id(NVME), GUEST),
        Err(Fault::Unknown),
        "not open"
    );
    assigner.open_device(id(NVME), GUEST).unwrap();
    fixture.change(NVME, |model| model.put16(2, 0xbeef));
    assert_eq!(assigner.check_alive(id(NVME)), Err(Fault::Rejected));
    fixture.remove(NVME);
    assert_eq!(assigner.quiesce(id(NVME)), Err(Fault::Gone));
    assert_eq!(assigner.check_alive(id(NVME)), Err(Fault::Gone));
    assert_eq!(
        assigner.open_device(id(NVME), GUEST),
        Err(Fault::Busy),
        "it is open"
    );
    assert_eq!(assigner.enable_interrupts(id(NVME), GUEST), Err(Fault::Gone));
    assert_eq!(assigner.close_device(id(NVME), GUEST), Err(Fault::Gone));
    assert_eq!(assigner.open_device(id(NVME), GUEST), Err(Fault::Gone));
}

#[test]
fn a_device_that_keeps_mastering_the_bus_is_refused() {
    let fixture = Fixture::new();
    let assigner = fixture.assigner();
    fixture.change(NVME, |model| *model = model.clone().writable(4, 0));
    assert_eq!(assigner.quiesce(id(NVME)), Err(Fault::Rejected));
    assert_eq!(assigner.open_device(id(NVME), GUEST), Err(Fault::Rejected));
}

#[test]
fn msix_goes_on_with_every_entry_masked() {
    let fixture = Fixture::new();
    let assigner = fixture.assigner();
    assigner.enable_interrupts(id(NVME), GUEST).unwrap();
    for entry in 0..VECTORS {
        assert_eq!(fixture.entry(entry)[3], 1, "entry {entry}");
    }
    let control = fixture.msix_control() as u16;
    assert_eq!(control & (msix::ENABLE | msix::FUNCTION_MASK), msix::ENABLE);
    assert_eq!(fixture.memory.unanswered.get(), 0, "the table was decoded");
    assert!(
        !fixture.command(NVME).contains(Command::MEMORY),
        "and is not any more"
    );
    assigner.release_interrupts(id(NVME)).unwrap();
    assert_eq!(fixture.msix_control() as u16 & msix::ENABLE, 0);
    assert_eq!(
        assigner.enable_interrupts(id(LEGACY[0]), GUEST),
        Ok(()),
        "it has none"
    );
}

#[test]
fn msix_that_cannot_be_turned_on_is_refused() {
    let fixture = Fixture::new();
    let assigner = fixture.assigner();
    fixture.change(NVME, |model| {
        *model = model.clone().writable(0x7c, 0x4000_0000);
        model.put16(0x7e, VECTORS - 1);
    });
    assert_eq!(assigner.enable_interrupts(id(NVME), GUEST), Err(Fault::Rejected));
}

#[test]
fn route_and_unroute_write_the_real_table_and_leave_the_command_as_it_was() {
    let fixture = Fixture::new();
    let assigner = fixture.assigner();
    let nvme = assigner.function(bdf(NVME)).unwrap();
    for command in [Command::empty(), Command::MEMORY | Command::BUS_MASTER] {
        fixture.set_command(NVME, command);
        assigner.route(nvme, 2, 3, 0x41).unwrap();
        assert_eq!(fixture.entry(2), [0xfee0_3000, 0, 0x41, 0]);
        assert_eq!(fixture.command(NVME), command);
        assigner.unroute(nvme, 2).unwrap();
        assert_eq!(fixture.entry(2)[3], 1);
        assert_eq!(fixture.command(NVME), command);
    }
    assert_eq!(fixture.entry(1), [0; 4], "no other entry is touched");
    assert_eq!(fixture.entry(3), [0; 4]);
    assert_eq!(fixture.memory.unanswered.get(), 0);
}

#[test]
fn msi_is_programmed_with_one_vector_and_turned_off() {
    let fixture = Fixture::new();
    let keeps = |mask| {
        fixture.change(NVME, |model| {
            *model = model.clone().writable(MSI + 4, mask).writable(MSI + 8, 0xffff);
        });
    };
    let assigner = fixture.assigner();
    let nvme = assigner.function(bdf(NVME)).unwrap();
    let dword = |offset| fixture.machine.read(bdf(NVME), offset, Width::Dword);
    keeps(!3);
    fixture.machine.write(bdf(NVME), MSI + 2, Width::Word, 0x71);
    assigner.route_msi(nvme, 3, 0x41).unwrap();
    assert_eq!((dword(MSI + 4), dword(MSI + 8)), (0xfee0_3000, 0x41));
    assert_eq!(fixture.msi_control(), u32::from(msi::ENABLE), "one vector");
    assigner.unroute_msi(nvme).unwrap();
    assert_eq!(fixture.msi_control(), 0, "it has no mask");
    keeps(0);
    fixture.change(NVME, |model| model.put32(MSI + 4, 0));
    assert_eq!(assigner.route_msi(nvme, 3, 0x41), Err(Fault::Rejected));
    assert_eq!(
        fixture.msi_control(),
        0,
        "what does not keep its address sends nothing"
    );
    let without = assigner.function(bdf(LEGACY[0])).unwrap();
    assert_eq!(assigner.route_msi(without, 0, 0x41), Err(Fault::Unknown));
    assert_eq!(assigner.unroute_msi(without), Err(Fault::Unknown));
    fixture.remove(NVME);
    assert_eq!(assigner.route_msi(nvme, 0, 0x41), Err(Fault::Gone));
}

#[test]
fn entries_that_the_function_does_not_have_are_refused() {
    let fixture = Fixture::new();
    let assigner = fixture.assigner();
    let nvme = assigner.function(bdf(NVME)).unwrap();
    for entry in [VECTORS, VECTORS + 1, u16::MAX] {
        assert_eq!(assigner.route(nvme, entry, 0, 0x41), Err(Fault::Unknown));
        assert_eq!(assigner.unroute(nvme, entry), Err(Fault::Unknown));
    }
    let without = assigner.function(bdf(LEGACY[0])).unwrap();
    assert_eq!(assigner.route(without, 0, 0, 0x41), Err(Fault::Unknown));
    assert_eq!(assigner.pending(without, 0), Err(Fault::Unknown));
    let mut nowhere = nvme.clone();
    nowhere.bars[0].address = 0;
    assert_eq!(assigner.route(&nowhere, 0, 0, 0x41), Err(Fault::BadAddress));
    assert_eq!(assigner.pending(&nowhere, 0), Err(Fault::BadAddress));
    assert!(fixture.memory.words.borrow().is_empty(), "nothing was written");
}

#[test]
fn a_table_that_does_not_keep_what_is_written_is_refused() {
    let fixture = Fixture::new();
    let assigner = fixture.assigner();
    let nvme = assigner.function(bdf(NVME)).unwrap();
    fixture.memory.forgets.set(true);
    assert_eq!(assigner.unroute(nvme, 0), Err(Fault::Rejected));
    assert_eq!(assigner.enable_interrupts(id(NVME), GUEST), Err(Fault::Rejected));
    fixture.memory.forgets.set(false);
    assigner.unroute(nvme, 0).unwrap();
    fixture.memory.forgets.set(true);
    assert_eq!(
        assigner.route(nvme, 0, 0, 0x41),
        Err(Fault::Rejected),
        "it stays masked"
    );
    fixture.remove(NVME);
    assert_eq!(assigner.route(nvme, 0, 0, 0x41), Err(Fault::Rejected));
}

#[test]
fn pending_bits_are_read_word_by_word_within_the_array() {
    let fixture = Fixture::new();
    let assigner = fixture.assigner();
    let nvme = assigner.function(bdf(NVME)).unwrap();
    fixture.memory.words.borrow_mut().insert(PENDING, 0b100);
    assert_eq!(assigner.pending(nvme, 0), Ok(0b100));
    assert_eq!(
        assigner.pending(nvme, 1),
        Ok(0),
        "the array comes in units of 8 bytes"
    );
    assert_eq!(assigner.pending(nvme, 2), Err(Fault::Unknown));
    assert_eq!(assigner.pending(nvme, u16::MAX), Err(Fault::Unknown));
}

#[test]
fn devices_behind_a_bridge_are_moved_by_the_requester_id_that_speaks_for_them() {
    let fixture = Fixture::new();
    let assigner = fixture.assigner();
    let topology = fixture.topology();
    let &[alias] = topology.dma_aliases(bdf(LEGACY[1])) else {
        panic!("one requester id");
    };
    assert_eq!(
        alias,
        Requester::Pci {
            segment: 0,
            id: ALIAS as u16
        }
    );
    assigner.quarantine(alias).unwrap();
    let domain = assigner.create_domain(GUEST).unwrap();
    let unit = assigner.unit_of(alias).unwrap();
    assigner.attach(domain, alias).unwrap();
    assert_eq!(fixture.reaches(ALIAS, 0x1000), None, "attached, but not mapped");
    assigner.map(unit, domain, region(0x1000, 0x20_0000)).unwrap();
    assert_eq!(fixture.reaches(ALIAS, 0x1234), Some(0x20_0234));
    assert_eq!(fixture.reaches(ALIAS, 0x2000), None);
    assert_eq!(assigner.destroy_domain(domain), Err(Fault::Busy));
    assigner.quarantine(alias).unwrap();
    assert_eq!(fixture.reaches(ALIAS, 0x1000), None);
    assigner.destroy_domain(domain).unwrap();
    assert_eq!(assigner.attach(domain, alias), Err(Fault::Unknown));
}

#[test]
fn a_requester_that_the_iommu_does_not_translate_is_refused() {
    let fixture = Fixture::new();
    let assigner = fixture.assigner();
    for bdf in [bdf("00:1f.0"), Bdf::new(1, 0, 4, 0)] {
        let requester = Requester::from(bdf);
        assert_eq!(assigner.quarantine(requester), Err(Fault::Unknown), "{bdf}");
        assert_eq!(assigner.unit_of(requester), Err(Fault::Unknown), "{bdf}");
        assert_eq!(assigner.reserved(requester), Err(Fault::Unknown), "{bdf}");
    }
    let absent = Requester::from(bdf("00:09.0"));
    assert_eq!(
        assigner.quarantine(absent),
        Err(Fault::Unknown),
        "the IOMMU says so"
    );
    assert!(
        !assigner.interrupts_isolated(),
        "a virtio-iommu remaps no interrupts"
    );
}
