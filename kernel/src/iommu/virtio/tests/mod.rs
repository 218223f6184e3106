//! The driver against devices that keep to the specification: what is denied, what is reached, what is refused.

pub(crate) mod device;
mod misbehaviour;
mod model;

use super::*;
use crate::addr::HostPhys;
use crate::iommu::{FaultAccess, FaultReason};
use device::{Device, Habit, event, msi_region, property};
use proptest::prelude::*;
use spec::virtio_iommu::{Features, request_type, status};
use vfio_core::Access;
use vfio_core::addr::Iova;
use vfio_core::domain::{ReservedKind, ReservedRegion};

const A: EndpointId = EndpointId(8);
const B: EndpointId = EndpointId(16);

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

fn ready(device: &Device) -> VirtioIommu<Device> {
    let mut iommu = VirtioIommu::init(device.clone()).unwrap();
    iommu.quarantine(A).unwrap();
    iommu.quarantine(B).unwrap();
    device.set(|state| state.log.clear());
    iommu
}

#[test]
fn bypass_goes_off_before_anything_else_and_quarantine_denies() {
    let device = Device::new();
    assert_eq!(
        device.0.borrow().translate(8, 0x1000),
        Some((0x1000, 3)),
        "before the driver"
    );
    let mut iommu = VirtioIommu::init(device.clone()).unwrap();
    assert!(device.0.borrow().bypass_off_before_queues);
    assert_eq!(device.0.borrow().translate(8, 0x1000), None, "not attached");
    iommu.quarantine(A).unwrap();
    assert_eq!(device.0.borrow().attached.get(&8), Some(&0));
    assert_eq!(device.0.borrow().translate(8, 0x1000), None, "quarantined");
    let sent = iommu.requests();
    iommu.quarantine(A).unwrap();
    assert_eq!(iommu.requests(), sent, "it is there already");
    let unknown = iommu.quarantine(EndpointId(99));
    assert_eq!(
        unknown,
        Err(Error::Refused {
            request: Request::Probe,
            status: Status::NoEntry
        })
    );
    assert_eq!(iommu.broken(), None, "a refusal is no misbehaviour");
}

#[test]
fn a_device_that_cannot_isolate_is_refused() {
    let init = |change: fn(&mut device::State)| {
        VirtioIommu::init(Device::new().set(change))
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(init(|state| state.bypass_sticks = true), InitError::Bypass);
    assert!(matches!(
        init(|state| state.features.remove(Features::MAP_UNMAP)),
        InitError::Missing(_)
    ));
    assert!(matches!(
        init(|state| state.features.remove(Features::VERSION_1)),
        InitError::Missing(_)
    ));
    assert_eq!(
        init(|state| state.config.page_size_mask = 0.into()),
        InitError::PageSize(0)
    );
    assert_eq!(
        init(|state| state.config.page_size_mask = (1 << 16).into()),
        InitError::PageSize(1 << 16)
    );
    let backwards = init(|state| (state.config.input_start, state.config.input_end) = (5.into(), 4.into()));
    assert_eq!(backwards, InitError::Range { start: 5, end: 4 });
    let backwards = init(|state| state.config.domain_start = u32::MAX.into());
    assert_eq!(
        backwards,
        InitError::Range {
            start: u64::from(u32::MAX),
            end: u64::from(u32::MAX)
        }
    );
    assert_eq!(
        init(|state| state.config.probe_size = 4093.into()),
        InitError::ProbeSize(4093)
    );
    let legacy = Device::new().set(|state| {
        state.features = Features::VERSION_1 | Features::MAP_UNMAP | Features::BYPASS;
        state.config.bypass = 0;
    });
    let mut iommu = VirtioIommu::init(legacy).unwrap();
    iommu.quarantine(A).unwrap();
    assert_eq!(
        iommu.properties(A),
        Some(&EndpointProperties::default()),
        "it cannot be probed"
    );
}

#[test]
fn what_is_mapped_is_reached_and_nothing_else() {
    let device = Device::new();
    let mut iommu = ready(&device);
    let domain = iommu.create_domain().unwrap();
    let read_only = Mapping {
        access: Access::READ,
        ..region(0xe0000, 0x20e_0000, 0x2_0000)
    };
    assert_eq!(
        device.0.borrow().log,
        [],
        "the device hears of a domain with its first endpoint"
    );
    iommu.attach(domain, A).unwrap();
    assert_eq!(device.0.borrow().translate(8, 0), None, "it maps nothing yet");
    iommu.map(domain, region(0, 0x200_0000, 0xa_0000)).unwrap();
    iommu.map(domain, read_only).unwrap();
    iommu.attach(domain, B).unwrap();
    iommu.map(domain, region(1 << 30, 1 << 32, 1 << 30)).unwrap();
    let (attach, map) = (request_type::ATTACH, request_type::MAP);
    assert_eq!(
        device.0.borrow().log,
        [attach, map, map, attach, map],
        "one request for a region of any size"
    );
    for endpoint in [8, 16] {
        let state = device.0.borrow();
        assert_eq!(state.translate(endpoint, 0x9_ffff), Some((0x209_ffff, 3)));
        assert_eq!(state.translate(endpoint, 0xe_0000), Some((0x20e_0000, 1)));
        assert_eq!(state.translate(endpoint, 0xa_0000), None);
        assert_eq!(
            state.translate(endpoint, (2 << 30) - 1),
            Some(((1 << 32) + (1 << 30) - 1, 3))
        );
    }
    iommu.unmap(domain, range(1 << 30, 1 << 30)).unwrap();
    assert_eq!(device.0.borrow().translate(8, 1 << 30), None);
    iommu.detach(domain, A).unwrap();
    assert_eq!(device.0.borrow().translate(8, 0), None);
    assert!(
        device.0.borrow().translate(16, 0).is_some(),
        "the other member is not concerned"
    );
}

#[test]
fn a_domain_that_is_left_is_empty_when_it_is_entered_again_whatever_the_device_keeps() {
    for keeps_domains in [false, true] {
        let device = Device::new().set(|state| state.keeps_domains = keeps_domains);
        let mut iommu = ready(&device);
        let domain = iommu.create_domain().unwrap();
        for _ in 0..3 {
            iommu.attach(domain, A).unwrap();
            assert_eq!(device.0.borrow().translate(8, 4), None);
            iommu.map(domain, region(0, 0x200_0000, 0x1000)).unwrap();
            assert_eq!(device.0.borrow().translate(8, 4), Some((0x200_0004, 3)));
            assert_eq!(iommu.destroy_domain(domain), Err(Error::DomainInUse(domain)));
            iommu.quarantine(A).unwrap();
            assert_eq!(device.0.borrow().translate(8, 4), None);
        }
        iommu.destroy_domain(domain).unwrap();
        assert_eq!(iommu.attach(domain, A), Err(Error::UnknownDomain(domain)));
        assert_eq!(
            device.0.borrow().domains.keys().copied().collect::<Vec<_>>(),
            [0],
            "only the quarantine is left"
        );
    }
}

#[test]
fn what_mappings_must_keep_to_is_told_as_the_device_says_it() {
    let device = Device::new().set(|state| {
        state.config.page_size_mask = 0x20_1000.into();
        state.config.input_start = 0x1000.into();
        state.config.input_end = ((1u64 << 39) - 1).into();
        state.properties.extend(property(1, 0, 0x8000_0000, 0x8000_ffff));
    });
    let iommu = ready(&device);
    let limits = iommu.limits();
    assert_eq!(limits.page_sizes, 0x20_1000);
    assert_eq!(limits.apertures, [range(0x1000, (1 << 39) - 0x1000)]);
    let reserved = |kind, start, size| ReservedRegion {
        kind,
        range: range(start, size),
    };
    assert_eq!(
        iommu.properties(A).unwrap().reserved,
        [
            reserved(ReservedKind::Msi, 0xfee0_0000, 0x10_0000),
            reserved(ReservedKind::Reserved, 0x8000_0000, 0x1_0000)
        ]
    );
    assert_eq!(iommu.properties(EndpointId(24)), None, "it was never asked about");
    let all = Device::new().set(|state| state.features.remove(Features::INPUT_RANGE));
    assert_eq!(ready(&all).limits().apertures, [IovaRange::ALL]);
}

/// The rules are `vfio-core`'s; a device that is told what breaks them refuses it, and goes on.
#[test]
fn what_the_device_refuses_changes_nothing() {
    let device = Device::new();
    let mut iommu = ready(&device);
    let domain = iommu.create_domain().unwrap();
    iommu.attach(domain, A).unwrap();
    iommu
        .map(domain, region(0x10_0000, 0x200_0000, 0x10_0000))
        .unwrap();
    let before = device.0.borrow().domains.clone();
    let refused = |request, status| Err(Error::Refused { request, status });
    let overlap = iommu.map(domain, region(0x1f_f000, 0, 4096));
    assert_eq!(overlap, refused(Request::Map, Status::Invalid));
    let odd = iommu.map(domain, region(0x800, 0, 4096));
    assert_eq!(odd, refused(Request::Map, Status::Range));
    let split = iommu.unmap(domain, range(0x10_0000, 0x1000));
    assert_eq!(split, refused(Request::Unmap, Status::Range));
    let sent = iommu.requests();
    assert_eq!(iommu.map(domain, region(0, 0, 0)), Err(Error::NoRange(Iova(0))));
    assert_eq!(iommu.requests(), sent);
    assert_eq!(device.0.borrow().domains, before);
    assert_eq!(iommu.broken(), None);
    // A domain without endpoints is not the device's, and endpoints are moved through quarantine only.
    let other = iommu.create_domain().unwrap();
    let nobody = iommu.map(other, region(0, 0, 4096));
    assert_eq!(nobody, refused(Request::Map, Status::NoEntry));
    assert!(matches!(iommu.attach(other, A), Err(Error::Attached { .. })));
    assert!(matches!(
        iommu.attach(other, EndpointId(24)),
        Err(Error::UnknownEndpoint(_))
    ));
}

#[test]
fn domain_numbers_stay_in_range_and_run_out() {
    let device = Device::new().set(|state| {
        state.config.domain_start = 5.into();
        state.config.domain_end = 8.into();
    });
    let mut iommu = ready(&device);
    assert_eq!(device.0.borrow().attached[&8], 5);
    let all: Vec<_> = (0..3).map(|_| iommu.create_domain().unwrap().0).collect();
    assert_eq!(all, [6, 7, 8]);
    assert_eq!(iommu.create_domain(), Err(Error::NoDomains));
    iommu.destroy_domain(DomainId(7)).unwrap();
    assert_eq!(iommu.create_domain(), Ok(DomainId(7)));
    let top = Device::new().set(|state| state.config.domain_start = (u32::MAX - 1).into());
    assert_eq!(ready(&top).create_domain(), Ok(DomainId(u32::MAX)));
}
