//! The driver against a unit that walks the tables itself: what is denied, what is reached, what is remapped.

pub(crate) mod device;
mod interrupts;
mod misbehaviour;
mod model;
mod scope;

use super::*;
use crate::addr::Iova;
use crate::iommu::{FaultAccess, FaultReason, FaultRecord, Message, Unit};
use device::{BUFFERS, CACHING, CAPABILITY, Device, EXTENDED, Habit};
use vfio_core::domain::{IovaRange, ReservedKind};
use vfio_core::{Access, Fault, Mapping, Requester};

pub(crate) type TestUnit = Vtd<Device, Device, Device>;

const A: u16 = 0x0018;
const B: u16 = 0x0300;

fn by(id: u16) -> Requester {
    Requester::Pci { segment: 0, id }
}

fn describe() -> Description {
    Description {
        base: 0xfed9_0000,
        bytes: 4096,
        address_bits: 40,
        coverage: Coverage::everything(0),
        remap_interrupts: true,
        x2apic: false,
        fault_event: None,
    }
}

fn ready(device: &Device) -> TestUnit {
    Vtd::init(device.clone(), device.clone(), device.clone(), describe()).unwrap()
}

fn start(device: &Device) -> Result<(), InitErrorKind> {
    let started = Vtd::init(device.clone(), device.clone(), device.clone(), describe());
    started.map(drop).map_err(|error| error.kind)
}

fn region(iova: u64, host: u64, size: u64) -> Mapping {
    Mapping {
        iova: Iova(iova),
        host: HostPhys(host),
        size,
        access: Access::READ | Access::WRITE,
    }
}

fn range(start: u64, size: u64) -> IovaRange {
    IovaRange::new(Iova(start), size).unwrap()
}

/// Units with and without each property that changes what the driver must do.
fn kinds() -> Vec<(u64, u64)> {
    let narrow = CAPABILITY & !(0b111 << 8 | 0b11 << 34 | 1 << 39) | 0b010 << 8;
    let wide = CAPABILITY & !(0b111 << 8) | 0b1000 << 8;
    let mut kinds = Vec::new();
    for capability in [CAPABILITY, narrow, wide] {
        for more in [0, CACHING, BUFFERS, CACHING | BUFFERS] {
            for coherent in [0, 1] {
                kinds.push((capability | more, EXTENDED & !1 | coherent));
            }
        }
    }
    kinds
}

#[test]
fn everything_is_denied_from_the_start_whatever_firmware_left() {
    for (capability, extended) in kinds() {
        for scalable in [0, 1 << 10] {
            let device = Device::new(capability | 0b11 << 5, extended);
            device.set(|state| {
                // A root table whose context entry lets requester A pass, a busy queue, interrupts that pass, memory that is protected.
                state.visible.insert(0x1000, vec![0x2001; 512]);
                state.visible.insert(0x2000, vec![0b1001; 512]);
                state.root_register = 0x1000 | scalable;
                state.status = 1 << 31 | 1 << 26 | 1 << 25 | 1 << 23;
                (state.head, state.tail, state.queue) = (0x40, 0x40, 0x3000);
                state.protected = 1 << 31 | 1;
                state.record(7, 0x5000, 6, true);
            });
            let mut unit = ready(&device);
            assert_eq!(device.access(A, 0x5000, false), None);
            assert_eq!(device.access(B, 0x5000, true), None);
            assert_eq!(device.message(A, 0xfee0_1000, 0x41), None);
            let state = device.0.borrow();
            assert_eq!(
                state.status & (1 << 31 | 1 << 26 | 1 << 25 | 1 << 23),
                7 << 25 & !(1 << 27) | 1 << 31
            );
            assert_eq!(state.protected, 0, "the ranges of firmware are open to mappings");
            drop(state);
            let mut seen = Vec::new();
            unit.take_faults(&mut |fault| seen.push(fault)).unwrap();
            assert_eq!(seen.len(), 3, "what firmware had recorded is forgotten: {seen:?}");
        }
    }
}

#[test]
fn what_is_mapped_is_reached_and_nothing_else_on_every_kind_of_unit() {
    for (capability, extended) in kinds() {
        let device = Device::new(capability, extended);
        let mut unit = ready(&device);
        let before = device.frames();
        let domain = DomainId(1);
        // So that a unit that remembers what is absent does.
        assert_eq!(device.access(A, 0x1000, false), None);
        unit.attach(domain, by(A)).unwrap();
        assert_eq!(device.access(A, 0x20_0000, true), None, "it maps nothing yet");
        unit.map(domain, region(0, 0x4000_0000, 0xa_0000)).unwrap();
        let rom = Mapping {
            access: Access::READ,
            ..region(0xe_0000, 0x400e_0000, 0x2_0000)
        };
        unit.map(domain, rom).unwrap();
        unit.map(domain, region(0x20_0000, 0x4020_0000, 0x60_0000))
            .unwrap();
        unit.map(domain, region(1 << 30, 2 << 30, 1 << 30)).unwrap();
        unit.attach(domain, by(B)).unwrap();
        for source in [A, B] {
            assert_eq!(device.access(source, 0x9_fff8, true), Some(0x4009_fff8));
            assert_eq!(device.access(source, 0xa_0000, false), None);
            assert_eq!(device.access(source, 0xe_1234, false), Some(0x400e_1234));
            assert_eq!(device.access(source, 0xe_1234, true), None, "read-only");
            assert_eq!(device.access(source, 0x7f_ffff, true), Some(0x407f_ffff));
            assert_eq!(device.access(source, (1 << 30) + 5, true), Some((2 << 30) + 5));
            assert_eq!(device.access(source, 2 << 30, true), None);
            assert_eq!(device.access(source, 1 << 60, true), None);
        }
        assert_eq!(device.access(0x19, 0, false), None, "another function");
        unit.unmap(domain, range(0x20_0000, 0x60_0000)).unwrap();
        assert_eq!(device.access(A, 0x20_0000, true), None);
        assert_eq!(
            device.access(B, 0x1000, true),
            Some(0x4000_1000),
            "and the rest stays"
        );
        unit.quarantine(by(A)).unwrap();
        assert_eq!(device.access(A, 0x1000, true), None);
        assert_eq!(device.access(B, 0x1000, true), Some(0x4000_1000));
        unit.quarantine(by(B)).unwrap();
        unit.quarantine(by(B)).unwrap();
        assert_eq!(device.access(B, 0x1000, true), None);
        assert_eq!(
            device.frames(),
            before + 2,
            "a domain's tables go back, those of two buses stay"
        );
        unit.attach(domain, by(A)).unwrap();
        assert_eq!(device.access(A, 0x1000, true), None, "it begins anew");
    }
}

#[test]
fn a_unit_says_what_it_can_map_and_what_no_requester_can_use() {
    let limits = |capability| ready(&Device::new(capability, EXTENDED)).limits();
    assert_eq!(limits(CAPABILITY).page_sizes, 1 << 12 | 1 << 21 | 1 << 30);
    let last = |capability| limits(capability).apertures[0].last().0;
    assert_eq!(last(CAPABILITY), (1 << 48) - 1);
    assert_eq!(last(CAPABILITY & !(0x3f << 16) | 38 << 16), (1 << 39) - 1);
    let small = limits(CAPABILITY & !(0b11 << 34 | 0b111 << 8) | 0b010 << 8);
    assert_eq!(
        (small.page_sizes, small.apertures[0].last().0),
        (1 << 12, (1 << 39) - 1)
    );
    let unit = ready(&Device::new(CAPABILITY, EXTENDED));
    let reserved = unit.reserved(by(A)).unwrap();
    assert_eq!((reserved.len(), reserved[0].kind), (1, ReservedKind::Msi));
    assert_eq!(reserved[0].range, range(0xfee0_0000, 0x10_0000));
    let elsewhere = Requester::Pci { segment: 1, id: A };
    assert_eq!(unit.reserved(elsewhere), Err(Fault::Unknown));
    assert!(!unit.covers(elsewhere) && !unit.covers(Requester::Stream(3)) && unit.covers(by(A)));
}

#[test]
fn what_cannot_be_done_is_refused_and_changes_nothing() {
    let device = Device::new(CAPABILITY & !7 | CACHING, EXTENDED);
    let mut unit = ready(&device);
    let elsewhere = Requester::Pci { segment: 1, id: A };
    assert_eq!(unit.attach(DomainId(1), elsewhere), Err(Error::UnknownRequester));
    assert_eq!(
        unit.map(DomainId(1), region(0, 0, 4096)),
        Err(Error::UnknownDomain)
    );
    // Four bits of ids, of which 0 is the hardware's.
    for number in 1..=15 {
        unit.attach(DomainId(number), by(number as u16)).unwrap();
    }
    assert_eq!(unit.attach(DomainId(16), by(16)), Err(Error::NoDomains));
    assert_eq!(unit.attach(DomainId(1), by(2)), Err(Error::Attached));
    unit.quarantine(by(7)).unwrap();
    unit.attach(DomainId(16), by(16)).unwrap();
    let domain = DomainId(1);
    unit.map(domain, region(0, 0x4000_0000, 0x20_0000)).unwrap();
    let overlap = unit.map(domain, region(0x1000, 0, 0x1000));
    assert!(matches!(overlap, Err(Error::Tables(_))), "{overlap:?}");
    let cut = unit.unmap(domain, range(0x1000, 0x1000));
    assert!(matches!(cut, Err(Error::Tables(_))), "{cut:?}");
    assert_eq!(
        unit.map(domain, region(0x20_0000, (1 << 40) - 0x1000, 0x2000)),
        Err(Error::HostAddress)
    );
    let beyond = unit.map(domain, region(1 << 48, 0, 0x1000));
    assert!(matches!(beyond, Err(Error::Tables(_))), "{beyond:?}");
    assert_eq!(device.access(1, 0x1f_ffff, true), Some(0x401f_ffff));
    assert_eq!(device.access(2, 0, true), None);
}

#[test]
fn faults_are_taken_once_and_say_who_where_how_and_why() {
    let device = Device::new(CAPABILITY, EXTENDED);
    let mut unit = ready(&device);
    unit.attach(DomainId(1), by(A)).unwrap();
    device.access(A, 0x5678, true);
    device.access(A, 0x9000, false);
    device.access(B, 0x1000, true);
    device.message(B, 0xfee0_1000, 0x41);
    device.access(B, 0x2000, true);
    let mut seen = Vec::new();
    let taken = unit.take_faults(&mut |fault| seen.push(fault)).unwrap();
    let fault = |id, address: Option<u64>, access, reason| FaultRecord {
        requester: Some(by(id)),
        address: address.map(Iova),
        access,
        reason,
    };
    let expected = [
        fault(A, Some(0x5000), FaultAccess::Write, FaultReason::NoMapping),
        fault(A, Some(0x9000), FaultAccess::Read, FaultReason::NoMapping),
        fault(B, Some(0x1000), FaultAccess::Write, FaultReason::NoDomain),
        fault(B, None, FaultAccess::Write, FaultReason::Interrupt),
    ];
    assert_eq!(seen, expected);
    assert_eq!((taken.seen, unit.overflows()), (4, 1), "a fifth was dropped");
    assert_eq!(unit.take_faults(&mut |_| panic!("once")).unwrap().seen, 0);
    device.access(B, 0x2000, true);
    assert_eq!(unit.take_faults(&mut |_| ()).unwrap().seen, 1);
    assert_eq!(unit.overflows(), 1);
}

#[test]
fn faults_raise_the_message_that_was_asked_for() {
    let device = Device::new(CAPABILITY, EXTENDED);
    let message = Message {
        address: 0xfee0_2000,
        data: 0xfd,
    };
    let about = Description {
        fault_event: Some(message),
        ..describe()
    };
    Vtd::init(device.clone(), device.clone(), device.clone(), about).unwrap();
    assert_eq!(device.0.borrow().event, (0xfee0_2000, 0xfd));
    assert_eq!(device.0.borrow().control, 0);
    let device = Device::new(CAPABILITY, EXTENDED);
    ready(&device);
    assert_eq!(device.0.borrow().control, 1 << 31, "masked where nobody listens");
}

#[test]
fn one_unmap_is_one_invalidation_of_no_more_than_it_needs() {
    let device = Device::new(CAPABILITY, EXTENDED);
    let mut unit = ready(&device);
    unit.attach(DomainId(1), by(A)).unwrap();
    let mut of = |iova: u64, size| {
        unit.map(DomainId(1), region(iova, 0, size)).unwrap();
        device.set(|state| state.done.clear());
        unit.unmap(DomainId(1), range(iova, size)).unwrap();
        let done: Vec<[u64; 2]> = device.0.borrow().done.iter().copied().collect();
        assert_eq!(done.len(), 1);
        (done[0][0] >> 4 & 3, done[0][1] & 0x3f, done[0][1] >> 12)
    };
    assert_eq!(of(0x5000, 0x1000), (3, 0, 5));
    assert_eq!(of(0x20_0000, 0x20_0000), (3, 9, 0x200));
    assert_eq!(of(0x7000, 0x2000), (3, 4, 0), "7 and 8 are in 0 to 15");
    assert_eq!(of(1 << 30, 1 << 30), (3, 18, 1 << 18));
    assert_eq!(
        of(1 << 31, 1 << 31).0,
        2,
        "more than its largest mask: the domain"
    );
}
