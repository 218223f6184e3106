//! The driver against devices that refuse, answer nonsense, or fault for ever.

use super::*;

#[test]
fn every_status_becomes_its_own_error() {
    let expected = [
        (status::IOERR, Status::Io),
        (status::UNSUPP, Status::Unsupported),
        (status::DEVERR, Status::Device),
        (status::INVAL, Status::Invalid),
        (status::RANGE, Status::Range),
        (status::NOENT, Status::NoEntry),
        (status::FAULT, Status::Address),
        (status::NOMEM, Status::NoMemory),
    ];
    for (byte, status) in expected {
        let device = Device::new();
        let mut iommu = ready(&device);
        let domain = iommu.create_domain().unwrap();
        device.set(|state| state.habit = Habit::Status(byte));
        assert_eq!(
            iommu.attach(domain, A),
            Err(Error::Refused {
                request: Request::Attach,
                status
            })
        );
        assert_eq!(iommu.broken(), None);
        assert_eq!(device.0.borrow().translate(8, 0), None);
    }
}

#[test]
fn a_device_that_misbehaves_is_out_of_service_for_good_and_everything_stays_denied() {
    let habits = [
        Habit::Length(0),
        Habit::Length(3),
        Habit::Length(usize::MAX),
        Habit::NoStatus,
        Habit::Status(9),
        Habit::Status(0xff),
        Habit::Silent,
        Habit::WrongBuffer,
    ];
    for habit in habits {
        let device = Device::new();
        let mut iommu = ready(&device);
        let domain = iommu.create_domain().unwrap();
        device.set(|state| state.habit = habit);
        let error = iommu.attach(domain, A).unwrap_err();
        assert!(matches!(error, Error::Broken(_)), "{habit:?}");
        let sent = iommu.requests();
        device.set(|state| state.habit = Habit::Obedient);
        assert_eq!(iommu.attach(domain, A), Err(error));
        assert_eq!(iommu.map(domain, region(0x1000, 0, 0x1000)), Err(error));
        assert_eq!(iommu.unmap(domain, range(0, 0x1000)), Err(error));
        assert_eq!(iommu.quarantine(B), Err(error));
        assert_eq!(iommu.create_domain(), Err(error));
        assert_eq!(iommu.take_faults(&mut |_| ()), Err(error));
        assert_eq!(iommu.requests(), sent, "it is not talked to any more");
        assert_eq!(device.0.borrow().translate(8, 0), None, "{habit:?}");
    }
}

#[test]
fn garbage_properties_break_the_device_and_unknown_ones_do_not() {
    let probe = |properties: Vec<u8>| {
        let device = Device::new().set(|state| state.properties = properties);
        let mut iommu = VirtioIommu::init(device).unwrap();
        iommu
            .quarantine(A)
            .map(|()| iommu.properties(A).unwrap().reserved.len())
    };
    let broken = |offset| Err(Error::Broken(Misbehaviour::Properties { endpoint: A, offset }));
    let mut unknown = property(0x7ff, 0, 1, 0);
    unknown.extend(msi_region());
    assert_eq!(probe(unknown), Ok(1));
    assert_eq!(
        probe(property(0xf001, 7, 0, 0xfff)),
        Ok(1),
        "upper type bits and unknown subtypes"
    );
    assert_eq!(
        probe(property(1, 0, 0x1000, 0xfff)),
        broken(0),
        "ends before it begins"
    );
    assert_eq!(
        probe([msi_region(), msi_region()].concat()),
        broken(24),
        "two interrupt windows"
    );
    let overlap = [property(1, 0, 0, 0xffff), property(1, 0, 0xffff, 0x1_ffff)].concat();
    assert_eq!(probe(overlap), broken(24));
    assert_eq!(probe(vec![1, 0, 0xff, 0xff]), broken(0), "longer than the buffer");
    assert_eq!(
        probe(vec![1, 0, 4, 0, 1, 0, 0, 0]),
        broken(0),
        "shorter than its type"
    );
    assert_eq!(
        probe([0xff, 0x0f, 0, 0].repeat(128)),
        Ok(0),
        "nothing but headers"
    );
}

#[test]
fn faults_are_decoded_and_those_that_make_no_sense_counted() {
    let device = Device::new();
    let mut iommu = ready(&device);
    device.set(|state| {
        state
            .faults
            .extend((0..600).map(|piece| event(2, 0x102, 8, 0x5000 + 4 * piece)));
        state.faults.push_back(event(1, 0x1, 16, 0x5000));
        state.faults.push_back(event(0, 0x103, 24, 0x7000));
        state.faults.push_back(event(77, 0x102, 8, 0));
    });
    let mut seen = Vec::new();
    let first = iommu.take_faults(&mut |fault| seen.push(fault)).unwrap();
    assert_eq!((first.seen, first.more), (512, true));
    let second = iommu.take_faults(&mut |fault| seen.push(fault)).unwrap();
    assert_eq!((second.seen, second.more), (91, false));
    let fault = |endpoint, address, access, reason| EndpointFault {
        endpoint,
        address,
        access,
        reason,
    };
    let write = |at| fault(A, Some(Iova(at)), FaultAccess::Write, FaultReason::NoMapping);
    let unknown = FaultReason::Unknown;
    assert!(
        (0..600)
            .zip(&seen)
            .all(|(piece, seen)| *seen == write(0x5000 + 4 * piece))
    );
    assert_eq!(
        seen[600..],
        [
            fault(B, None, FaultAccess::Read, FaultReason::NoDomain),
            fault(EndpointId(24), Some(Iova(0x7000)), FaultAccess::Unknown, unknown),
        ]
    );
    assert_eq!(iommu.malformed_faults(), 1);
}

#[test]
fn endless_faults_end_each_call_and_a_broken_event_queue_the_service() {
    let device = Device::new().set(|state| state.endless_fault = Some(event(2, 0x102, 8, 0)));
    let mut iommu = ready(&device);
    let mut passed = 0;
    for _ in 0..10 {
        assert!(iommu.take_faults(&mut |_| passed += 1).unwrap().more);
    }
    assert_eq!(passed, 5120);
    device.set(|state| state.event_error = true);
    let error = Error::Broken(Misbehaviour::Events(ChannelError::WrongBuffer));
    assert_eq!(iommu.take_faults(&mut |_| ()), Err(error));
    assert_eq!(iommu.quarantine(EndpointId(24)), Err(error));
}

proptest! {
    #[test]
    fn any_properties_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 0u8..3) {
        let mut bytes = bytes;
        for at in (0..bytes.len().saturating_sub(24)).step_by(24) {
            if kind == 1 {
                bytes[at..at + 4].copy_from_slice(&[1, 0, 20, 0]);
            }
        }
        if let Ok(properties) = properties::parse(&bytes) {
            for (at, region) in properties.reserved.iter().enumerate() {
                let apart = |other: &ReservedRegion| !other.range.meets(region.range);
                prop_assert!(properties.reserved[..at].iter().all(apart));
            }
        }
    }
}
