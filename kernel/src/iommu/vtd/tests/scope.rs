//! Whose unit is whose: device scopes along bridges, includes, virtual functions, reserved memory.

use super::*;
use crate::acpi::{DeviceScope, Dmar, DmarUnit, PathStep, ReservedMemory, ScopeKind};
use crate::pci::Function;
use vfio_core::pci::Bdf;
use vfio_core::testing::pci::{Machine, Model, found};

fn bdf(text: &str) -> Bdf {
    text.parse().unwrap()
}

/// A root port with a switch or bridge and devices behind, whose buses firmware may have numbered as it liked.
fn functions() -> Vec<Function> {
    let port = |secondary, subordinate| Model::bridge(Some(4), secondary, subordinate);
    let machine = Machine::new([
        (bdf("00:02.0"), Model::endpoint()),
        (bdf("00:14.0"), Model::endpoint()),
        (bdf("00:1c.0"), port(5, 7)),
        (bdf("05:00.0"), Model::bridge(Some(7), 7, 7)),
        (bdf("07:03.0"), Model::endpoint()),
        (bdf("07:04.0"), Model::endpoint()),
    ]);
    let mut functions = found(&machine).functions;
    let class = |functions: &mut Vec<Function>, at: &str, class| {
        let function = functions.iter_mut().find(|function| function.bdf == bdf(at));
        function.unwrap().class = class;
    };
    class(&mut functions, "00:02.0", 0x03_00_00);
    class(&mut functions, "00:14.0", 0x0c_03_30);
    functions
}

fn scope(kind: ScopeKind, path: &[(u8, u8)]) -> DeviceScope {
    DeviceScope {
        kind,
        segment: 0,
        start_bus: 0,
        path: path
            .iter()
            .map(|&(device, function)| PathStep { device, function })
            .collect(),
    }
}

fn unit(base: u64, include_all: bool, scopes: Vec<DeviceScope>) -> DmarUnit {
    DmarUnit {
        base,
        bytes: 4096,
        segment: 0,
        include_all,
        scopes,
    }
}

fn covers(coverage: &Coverage, texts: &[&str]) -> Vec<bool> {
    texts
        .iter()
        .map(|text| coverage.covers(bdf(text).into()))
        .collect()
}

const ALL: [&str; 7] = [
    "00:02.0", "00:14.0", "00:1c.0", "05:00.0", "07:03.0", "07:00.0", "09:00.0",
];

#[test]
fn a_scope_is_followed_from_bridge_to_bridge_and_the_rest_is_the_last_units() {
    let dmar = Dmar {
        units: vec![
            unit(0x1000, false, vec![scope(ScopeKind::Endpoint, &[(2, 0)])]),
            unit(
                0x2000,
                false,
                vec![scope(ScopeKind::Endpoint, &[(0x1c, 0), (0, 0), (3, 0)])],
            ),
            unit(0x3000, true, vec![]),
        ],
        ..Dmar::default()
    };
    let all = coverages(&dmar, &functions());
    assert_eq!(
        covers(&all[0], &ALL),
        [true, false, false, false, false, false, false]
    );
    assert_eq!(
        covers(&all[1], &ALL),
        [false, false, false, false, true, false, false]
    );
    assert_eq!(
        covers(&all[2], &ALL),
        [false, true, true, true, false, true, true]
    );
}

#[test]
fn a_bridge_takes_all_behind_it_along_with_the_name_it_lends() {
    let behind = scope(ScopeKind::SubHierarchy, &[(0x1c, 0)]);
    let gone = scope(ScopeKind::SubHierarchy, &[(0x1d, 0)]);
    let astray = scope(ScopeKind::Endpoint, &[(2, 0), (0, 0)]);
    let ioapic = scope(ScopeKind::IoApic(2), &[(0x14, 0)]);
    let dmar = Dmar {
        units: vec![unit(0x1000, false, vec![behind, gone, astray, ioapic])],
        ..Dmar::default()
    };
    let all = coverages(&dmar, &functions());
    assert_eq!(
        covers(&all[0], &ALL),
        [false, false, true, true, true, true, false],
        "what is absent, or no PCI function, names nobody"
    );
    let elsewhere = Requester::Pci {
        segment: 1,
        id: 0x700,
    };
    assert!(!all[0].covers(elsewhere));
}

#[test]
fn a_virtual_function_is_where_its_physical_function_is() {
    let mut functions = functions();
    let mut virtual_function = functions[0].clone();
    virtual_function.bdf = bdf("00:02.1");
    virtual_function.physical_function = Some(bdf("00:02.0"));
    functions.push(virtual_function);
    let dmar = Dmar {
        units: vec![
            unit(0x1000, false, vec![scope(ScopeKind::Endpoint, &[(2, 0)])]),
            unit(0x2000, true, vec![]),
        ],
        ..Dmar::default()
    };
    let all = coverages(&dmar, &functions);
    let both = ["00:02.0", "00:02.1", "00:02.2"];
    assert_eq!(covers(&all[0], &both), [true, true, false]);
    assert_eq!(covers(&all[1], &both), [false, false, true]);
}

#[test]
fn reserved_memory_keeps_a_device_from_guests_unless_it_is_usb_or_graphics() {
    let reserved = |path: &[(u8, u8)]| ReservedMemory {
        first: 0x7000_0000,
        last: 0x7000_ffff,
        segment: 0,
        scopes: vec![scope(ScopeKind::Endpoint, path)],
    };
    let dmar = Dmar {
        units: vec![unit(0x1000, true, vec![])],
        reserved: vec![
            reserved(&[(2, 0)]),
            reserved(&[(0x14, 0)]),
            reserved(&[(0x1c, 0), (0, 0), (3, 0)]),
        ],
        ..Dmar::default()
    };
    let functions = functions();
    let device = Device::new(CAPABILITY, EXTENDED);
    let about = Description {
        coverage: coverages(&dmar, &functions).remove(0),
        ..describe()
    };
    let unit = Vtd::init(device.clone(), device.clone(), device, about).unwrap();
    let objections: Vec<_> = functions
        .iter()
        .filter_map(|function| Some((function.bdf, unit.objection(function)?)))
        .collect();
    let expected = [(bdf("07:03.0"), vfio_core::pci::NotAssignable::ReservedMemory)];
    assert_eq!(objections, expected);
    assert!(expected[0].1.to_string().contains("RMRR"));
}
