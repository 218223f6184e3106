//! Units in the registry: several of them, what is not assignable behind them, and what their events become.

use super::unit::Fake;
use super::*;
use crate::addr::HostPhys;
use crate::guest::fixture::function;
use crate::iommu::{FaultAccess, FaultReason, FaultRecord, Message, Registry, Source, Target, Unit};
use crate::pci::{Function, to_topology};
use vfio_core::pci::{BusRange, NotAssignable, PortKind, Topology};
use vfio_core::{Access, Fault, Mapping, Requester};

fn endpoint(bdf: Bdf) -> Function {
    function(|function| {
        function.bdf = bdf;
        function.kind = PortKind::RootComplexEndpoint;
    })
}

/// Two units, for buses 0 and 0x80, in a registry.
fn two() -> ([Fake; 2], Registry<AmdViUnit<Fake>>) {
    let fakes = [Fake::new(4000), Fake::new(4000)];
    let topology = Topology::new(Vec::new()).unwrap();
    let unit = |fake: &Fake, bus: u16| {
        let entries = vec![range(bus << 8 | 3, bus << 8 | 0xff, None, Settings::empty())];
        let unit = AmdVi::init(
            fake.clone(),
            firmware(entries, Vec::new()),
            Capability::of(PLAIN),
            bus as u8,
        );
        AmdViUnit::new(unit.unwrap(), &[], &topology, false)
    };
    let registry = Registry::new(vec![unit(&fakes[0], 0), unit(&fakes[1], 0x80)]);
    (fakes, registry)
}

#[test]
fn a_domain_spans_units_and_each_has_its_own_part() {
    let (fakes, registry) = two();
    let devices = [device(3), Bdf::new(0, 0x80, 3, 0)];
    let [near, far] = devices.map(Requester::from);
    let units = [near, far].map(|requester| registry.unit_of(requester).unwrap());
    assert_ne!(units[0], units[1]);
    assert_eq!(
        registry.unit_of(Bdf::new(0, 0x40, 0, 0).into()),
        Err(Fault::Unknown)
    );
    assert!(registry.interrupts_isolated());
    let domain = registry.create_domain().unwrap();
    let mapping = Mapping {
        iova: Iova(0x1000),
        host: HostPhys(0x7000_0000),
        size: 0x1000,
        access: Access::READ,
    };
    for (unit, requester) in units.into_iter().zip([near, far]) {
        registry.attach(domain, requester).unwrap();
        registry.map(unit, domain, mapping).unwrap();
    }
    let reaches = |at: usize| {
        fakes[at]
            .access(devices[at].requester_id(), 0x1000, false)
            .is_some()
    };
    assert!(reaches(0) && reaches(1));
    registry
        .unmap(units[0], domain, mapping.range().unwrap())
        .unwrap();
    assert!(!reaches(0) && reaches(1));
    registry.quarantine(far).unwrap();
    assert!(!reaches(1));
    registry.quarantine(near).unwrap();
    registry.destroy_domain(domain).unwrap();
}

#[test]
fn blocked_accesses_and_messages_are_told_apart() {
    let (fakes, registry) = two();
    let domain = registry.create_domain().unwrap();
    let requester = Requester::from(device(3));
    registry.attach(domain, requester).unwrap();
    let source = Source {
        function: device(3),
        requester,
        entry: 7,
    };
    let target = Target {
        apic: 2,
        vector: 0x44,
    };
    let Message { address, data } = registry.route(source, target).unwrap();
    assert_eq!(address, 0xfee0_0000);
    assert_eq!(
        fakes[0].interrupt(device(3).requester_id(), data),
        Some((2, 0x44))
    );
    // A vector as data, as a device without remapping would be told.
    assert_eq!(fakes[0].interrupt(device(3).requester_id(), 0x44), None);
    fakes[0].access(device(3).requester_id(), 0x5000, true);
    let mut seen = Vec::new();
    registry.poll_faults(0, &mut |fault, _| seen.push(fault)).unwrap();
    let blocked = |address, access, reason| FaultRecord {
        requester: Some(requester),
        address: Some(Iova(address)),
        access,
        reason,
    };
    assert_eq!(
        seen,
        [
            blocked(0xfee0_0000, FaultAccess::Write, FaultReason::Interrupt),
            blocked(0x5000, FaultAccess::Write, FaultReason::NoMapping),
        ]
    );
    registry.release(device(3)).unwrap();
    assert_eq!(fakes[0].interrupt(device(3).requester_id(), data), None);
    assert_eq!(
        registry.route(source, Target { apic: 300, ..target }),
        Err(Fault::BadAddress)
    );
}

#[test]
fn what_cannot_be_given_away_says_why() {
    let port = function(|function| {
        function.bdf = Bdf::new(0, 0, 8, 0);
        function.kind = PortKind::RootPort;
        function.buses = Some(BusRange {
            secondary: 1,
            subordinate: 1,
        });
    });
    let behind = function(|function| {
        function.bdf = Bdf::new(0, 1, 0, 0);
        function.parent = Some(Bdf::new(0, 0, 8, 0));
    });
    let functions = [
        endpoint(device(3)),
        endpoint(device(4)),
        endpoint(device(5)),
        endpoint(device(6)),
        port,
        behind,
    ];
    let topology = Topology::new(to_topology(&functions)).unwrap();
    let objections = |emulated| {
        let memory = IvrsMemory {
            first: 0xa000_0000,
            last: 0xa000_ffff,
            segment: 0,
            requesters: (device(4).requester_id(), device(4).requester_id()),
            unity: true,
            read: true,
            write: true,
            exclusion: false,
        };
        let entries = vec![
            range(3, 0x1ff, None, Settings::empty()),
            range(0x28, 0x28, None, Settings::NMI),
            range(0x30, 0x30, Some(0x99), Settings::empty()),
        ];
        let unit = init(&Fake::new(4000), firmware(entries, vec![memory]), PLAIN).unwrap();
        let unit = AmdViUnit::new(unit, &functions, &topology, emulated);
        [0, 1, 2, 3, 5].map(|at| unit.objection(&functions[at]))
    };
    let mut expected = [
        None,
        Some(NotAssignable::ReservedMemory),
        Some(NotAssignable::SystemMessages),
        Some(NotAssignable::UnexplainedAlias),
        None,
    ];
    assert_eq!(objections(false), expected);
    expected[4] = Some(NotAssignable::EmulatedAlias);
    assert_eq!(objections(true), expected);
}
