//! The copier in a domain, as its owner drives it.

#![cfg(not(loom))]

use proptest::prelude::*;
use std::sync::Mutex;

use super::*;
use crate::addr::{HostPhys, Iova};
use crate::cohort::Cohorts;
use crate::device::{AccessError, Device, IrqAction, IrqError, IrqRange, IrqRequest, IrqSink};
use crate::lease::CohortTable;
use crate::pci::Topology;
use crate::testing::cases;
use crate::testing::machine::demo;
use crate::testing::memory::Memory;
use crate::testing::platform::Recorder;
use crate::{Access, DeviceId, Mapping, Owner};

const NUMBER: MediatedId = MediatedId(3);
const PAGE: u64 = 4096;
const HOST: u64 = 0x10_0000;

/// Counts interrupts.
#[derive(Debug, Default)]
struct Sink(Mutex<u32>);

impl IrqSink for &Sink {
    fn signal(&self, device: DeviceId, index: u32, number: u32) {
        assert_eq!((device, index, number), (DeviceId::Mediated(NUMBER), 0, 0));
        *self.0.lock().unwrap() += 1;
    }
}

impl Sink {
    fn take(&self) -> u32 {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

type Table = CohortTable<Recorder>;
type Copying<'m> = Copier<&'m Sink, &'m Memory>;

fn table() -> Table {
    CohortTable::new(
        Cohorts::new(&Topology::new(demo()).unwrap()),
        Recorder::with_remapping(),
    )
    .unwrap()
}

/// Pages 0 to 3 readable and writable, page 4 read only, page 8 of its own.
fn domain(table: &Table) -> Domain<'_, Recorder> {
    let map = |page: u64, pages: u64, access| Mapping {
        iova: Iova(page * PAGE),
        host: HostPhys(HOST + page * PAGE),
        size: pages * PAGE,
        access,
    };
    let rw = Access::READ | Access::WRITE;
    let mappings = [map(0, 4, rw), map(4, 1, Access::READ), map(8, 1, rw)];
    table.domain(Owner::Guest(1), mappings.to_vec()).unwrap()
}

fn write(device: &mut Copying<'_>, register: Register, value: u64) {
    let bytes = value.to_le_bytes();
    let len = match register {
        Register::Source | Register::Target | Register::Record => 8,
        _ => 4,
    };
    Device::write(device, 0, register as u64, &bytes[..len]).unwrap();
}

fn read(device: &mut Copying<'_>, register: Register) -> u64 {
    let mut bytes = [0; 8];
    let len = if matches!(register, Register::Fault) { 8 } else { 4 };
    Device::read(device, 0, register as u64, &mut bytes[..len]).unwrap();
    u64::from_le_bytes(bytes)
}

fn irq(device: &mut Copying<'_>, action: IrqAction<'_>) -> Result<(), IrqError> {
    let count = u32::from(action != IrqAction::Disable);
    let range = IrqRange { start: 0, count };
    device.set_irqs(&IrqRequest {
        index: 0,
        range,
        action,
    })
}

fn copy(device: &mut Copying<'_>, source: u64, target: u64, length: u64) -> (u64, u64) {
    write(device, Register::Source, source);
    write(device, Register::Target, target);
    write(device, Register::Length, length);
    write(device, Register::Command, 1);
    (read(device, Register::Status), read(device, Register::Fault))
}

#[test]
fn it_is_a_set_by_itself_and_no_iommu_sees_it() {
    assert_eq!(set_of(NUMBER), SetId::Own(DeviceId::Mediated(NUMBER)));
    assert_eq!(REQUESTERS, []);
    let sink = Sink::default();
    let mut device: Copying<'_> = Copier::new(NUMBER, &sink);
    assert_eq!(device.id(), DeviceId::Mediated(NUMBER));
    assert!(device.can_reset() && device.region(1).is_none() && device.irq(1).is_none());
    assert_eq!(
        read(&mut device, Register::Magic),
        u64::from(u32::from_le_bytes(*b"COPY"))
    );
    // Without a domain it does nothing, and says so.
    let started = Device::write(&mut device, 0, Register::Command as u64, &[1, 0, 0, 0]);
    assert_eq!(started, Err(AccessError::Off));
}

#[test]
fn it_copies_what_its_owner_may_reach_and_says_where_it_could_not() {
    let (table, sink, memory) = (table(), Sink::default(), Memory::with(HOST, 9));
    let domain = domain(&table);
    let mut device: Copying<'_> = Copier::new(NUMBER, &sink);
    open(&mut device, &domain, &memory).unwrap();
    irq(&mut device, IrqAction::Signal(&[true])).unwrap();
    memory.write(HostPhys(HOST + 0xff0), &[7; 64]).unwrap();
    assert_eq!(copy(&mut device, 0xff0, 0x2fe0, 64), (1, 0));
    let mut found = [0; 64];
    memory.read(HostPhys(HOST + 0x2fe0), &mut found).unwrap();
    assert_eq!((found, sink.take()), ([7; 64], 1));
    assert_eq!(copy(&mut device, 0, 4 * PAGE, 4), (2, 4 * PAGE), "read only");
    assert_eq!(copy(&mut device, 5 * PAGE, 0, 4), (2, 5 * PAGE), "not mapped");
    assert_eq!(
        copy(&mut device, 0, 9 * PAGE - 4, 8),
        (2, 9 * PAGE),
        "crosses the end"
    );
    assert_eq!(copy(&mut device, u64::MAX - 1, 0, 8), (2, u64::MAX - 1));
    assert_eq!(copy(&mut device, 0, 0, 65_537).0, 2, "too long");
    assert_eq!(sink.take(), 5);
    irq(&mut device, IrqAction::Mask).unwrap();
    assert_eq!(copy(&mut device, 0, 8, 0), (1, 0));
    assert_eq!(copy(&mut device, 0, 8, 1), (1, 0));
    assert_eq!(sink.take(), 0);
    irq(&mut device, IrqAction::Unmask).unwrap();
    assert_eq!(sink.take(), 1, "what was held back comes once");
    irq(&mut device, IrqAction::Trigger).unwrap();
    irq(&mut device, IrqAction::Disable).unwrap();
    copy(&mut device, 0, 8, 1);
    assert_eq!((sink.take(), read(&mut device, Register::Count)), (1, 4));
    assert!(irq(&mut device, IrqAction::Signal(&[true, false])).is_err());
    close(&mut device as &mut dyn Mediated<&Memory>).unwrap();
    assert_eq!(
        read(&mut device, Register::Count),
        0,
        "the next owner finds nothing"
    );
    domain.close().unwrap();
}

#[test]
fn its_pinned_page_is_written_and_let_go_when_it_is_unmapped() {
    let (table, sink, memory) = (table(), Sink::default(), Memory::with(HOST, 9));
    let domain = domain(&table);
    let mut device: Copying<'_> = Copier::new(NUMBER, &sink);
    open(&mut device, &domain, &memory).unwrap();
    let count = || {
        let mut count = [0; 4];
        memory.read(HostPhys(HOST + 8 * PAGE), &mut count).unwrap();
        u32::from_le_bytes(count)
    };
    write(&mut device, Register::Record, 8 * PAGE);
    write(&mut device, Register::Command, 2);
    assert_eq!(read(&mut device, Register::Status), 1);
    write(&mut device, Register::Command, 2);
    assert_eq!(read(&mut device, Register::Status), 2, "one page at a time");
    copy(&mut device, 0, 8, 1);
    copy(&mut device, 0, 8, 1);
    assert_eq!(count(), 2);
    assert_eq!(domain.unmap(Iova(0), 4 * PAGE), Ok(4 * PAGE), "something else");
    assert_eq!(copy(&mut device, 8 * PAGE, 8 * PAGE, 1).0, 1);
    assert_eq!(count(), 3);
    assert_eq!(domain.unmap(Iova(8 * PAGE), PAGE), Ok(PAGE));
    assert_eq!(copy(&mut device, 4 * PAGE, 4 * PAGE, 0).0, 1);
    assert_eq!(count(), 3, "it is not written any more");
    write(&mut device, Register::Command, 3);
    assert_eq!(read(&mut device, Register::Status), 2, "it has none");
    write(&mut device, Register::Record, 4 * PAGE);
    write(&mut device, Register::Command, 2);
    assert_eq!(
        read(&mut device, Register::Fault),
        4 * PAGE,
        "a page that cannot be written"
    );
    // Resetting lets go of a pin, and closing of all.
    let again = Mapping {
        iova: Iova(0),
        host: HostPhys(HOST),
        size: PAGE,
        access: Access::READ | Access::WRITE,
    };
    domain.map(again).unwrap();
    for end in [Device::reset, |device: &mut Copying<'_>| {
        close(device as &mut dyn Mediated<&Memory>)
    }] {
        write(&mut device, Register::Record, 0);
        write(&mut device, Register::Command, 2);
        assert_eq!(read(&mut device, Register::Status), 1);
        end(&mut device).unwrap();
        assert_eq!(domain.unmap(Iova(0), PAGE), Ok(PAGE));
        domain.map(again).unwrap();
    }
    domain.close().unwrap();
}

#[test]
fn a_domain_takes_a_device_once_and_is_not_closed_under_it() {
    let (table, sink, memory) = (table(), Sink::default(), Memory::with(HOST, 9));
    let domain = domain(&table);
    let mut device: Copying<'_> = Copier::new(NUMBER, &sink);
    let mut twin: Copying<'_> = Copier::new(NUMBER, &sink);
    open(&mut device, &domain, &memory).unwrap();
    let there = MediatedOpenError::Domain(SoftwareRefusal::There(NUMBER));
    assert_eq!(open(&mut twin, &domain, &memory), Err(there));
    let domain = domain.close().unwrap_err().domain;
    drop(device);
    domain.close().unwrap();
}

proptest! {
    #![proptest_config(cases(256))]

    /// Whatever its owner asks for, in whatever order: it answers, and keeps nothing that is unmapped.
    #[test]
    fn no_access_harms_it(accesses in prop::collection::vec(
        (any::<bool>(), 0u32..2, prop_oneof![0u64..0x48, any::<u64>()], 0usize..10, prop_oneof![0u64..0x1_2000, any::<u64>()]),
        1..60,
    )) {
        let (table, sink, memory) = (table(), Sink::default(), Memory::with(HOST, 9));
        let domain = domain(&table);
        let mut device: Copying<'_> = Copier::new(NUMBER, &sink);
        open(&mut device, &domain, &memory).unwrap();
        for (writes, region, offset, len, value) in accesses {
            let mut bytes = [0; 10];
            bytes[..8].copy_from_slice(&value.to_le_bytes());
            let result = if writes {
                Device::write(&mut device, region, offset, &bytes[..len])
            } else {
                Device::read(&mut device, region, offset, &mut bytes[..len])
            };
            let fits = region == 0 && offset < 0x40 && (len == 4 || len == 8);
            prop_assert!(fits || result.is_err());
        }
        prop_assert_eq!(domain.unmap_all(), Ok(6 * PAGE));
        prop_assert!(domain.mappings().is_empty());
    }
}
