//! Discovery and resets against a machine that keeps to the specification, and against ones that do not.

mod sriov;

use super::*;
use crate::pci::{Acs, Bdf, BusRange, NotAssignable, PortKind, ResetMethods, Topology};
use crate::testing::cases;
use crate::testing::pci::{Machine, Model, bdf, found};
use proptest::prelude::*;

fn only(machine: &Machine, problem: ProblemKind) {
    let problems: Vec<_> = found(machine)
        .problems
        .iter()
        .map(|problem| problem.kind)
        .collect();
    assert_eq!(problems, [problem]);
}

/// Root bus with host bridge, NVMe, a two-function slot behind a root port, two conventional devices behind a bridge.
fn demo() -> Machine {
    let nvme = Model::endpoint()
        .bar(0, 4, 0x4000, 0xfe60_0000)
        .express(0, 1 << 28)
        .capability(0x11, &[64, 0, 0x00, 0x20, 0, 0, 0x00, 0x30, 0, 0]);
    let port = |secondary, subordinate| Model::bridge(Some(4), secondary, subordinate).acs(0x1f);
    Machine::new([
        (bdf("00:00.0"), Model::new(0x8086, 0x29c0, 0x06_0000, 0)),
        (bdf("00:04.0"), nvme),
        (bdf("00:05.0"), port(1, 1)),
        (bdf("00:06.0"), port(2, 3)),
        (bdf("01:00.0"), Model::endpoint().multi_function().express(0, 0)),
        (bdf("01:00.1"), Model::endpoint().multi_function().express(0, 0)),
        (bdf("02:00.0"), Model::bridge(Some(7), 3, 3)),
        (
            bdf("03:01.0"),
            Model::endpoint().bar(0, 0, 0x10_0000, 0xfe20_0000),
        ),
        (bdf("03:02.0"), Model::endpoint().bar(0, 1, 0x20, 0xd040)),
    ])
}

#[test]
fn the_demo_machine_is_found_as_it_is_and_left_as_it_was() {
    let machine = demo();
    let before = machine.bytes();
    let scan = found(&machine);
    assert_eq!(scan.problems, []);
    assert_eq!(
        machine.bytes(),
        before,
        "BARs, bus numbers and commands are as they were"
    );
    let get = |text| {
        scan.functions
            .iter()
            .find(|function| function.bdf == bdf(text))
            .unwrap()
    };
    let kinds: Vec<_> = ["00:00.0", "00:04.0", "00:05.0", "02:00.0", "03:01.0"]
        .map(|at| get(at).kind)
        .into();
    assert_eq!(
        kinds,
        [
            PortKind::HostBridge,
            PortKind::Endpoint,
            PortKind::RootPort,
            PortKind::PcieToPciBridge,
            PortKind::ConventionalEndpoint
        ]
    );
    assert_eq!(scan.functions.len(), 9);
    assert_eq!(get("03:02.0").parent, Some(bdf("02:00.0")));
    assert_eq!(
        get("02:00.0").buses,
        Some(BusRange {
            secondary: 3,
            subordinate: 3
        })
    );
    assert_eq!(
        get("03:01.0").bars,
        [Bar {
            index: 0,
            kind: BarKind::Memory {
                wide: false,
                prefetchable: false
            },
            address: 0xfe20_0000,
            size: 0x10_0000
        }]
    );
    assert_eq!(get("03:02.0").bars[0].kind, BarKind::Io);
    let nvme = get("00:04.0");
    assert_eq!(nvme.resets, ResetMethods::FLR);
    let msix = nvme.msix.unwrap();
    assert_eq!(
        (msix.vectors, msix.table.offset, msix.table.length),
        (65, 0x2000, 65 * 16)
    );
    assert_eq!((msix.pending.offset, msix.pending.length), (0x3000, 16));
    assert_eq!(get("01:00.1").resets, ResetMethods::BUS);
    let topology = Topology::new(to_topology(&scan.functions)).unwrap();
    let bridge = crate::Requester::Pci {
        segment: 0,
        id: 0x300,
    };
    assert_eq!(topology.dma_aliases(bdf("03:02.0")), [bridge]);
    assert_eq!(topology.set_id(bdf("01:00.0")), topology.set_id(bdf("01:00.1")));
}

#[test]
fn acs_is_turned_on_where_it_can_be_and_reported_as_it_is_then() {
    let machine = Machine::new([
        (bdf("00:05.0"), Model::bridge(Some(4), 1, 1).acs(0x1f)),
        (bdf("00:06.0"), Model::bridge(Some(4), 2, 2).acs(0x01)),
        (bdf("00:07.0"), Model::bridge(Some(4), 3, 3)),
    ]);
    let mut scan = found(&machine);
    scan.functions
        .iter_mut()
        .for_each(|function| enable_acs(&machine, function));
    let acs: Vec<_> = scan
        .functions
        .iter()
        .map(|function| function.acs.map(|(_, acs)| acs.enabled))
        .collect();
    assert_eq!(acs, [Some(Acs::PORT), Some(Acs::SOURCE_VALIDATION), None]);
}

#[test]
fn every_kind_of_bar_is_sized_with_decoding_off() {
    let gigabytes = 8u64 << 30;
    let model = Model::endpoint()
        .bar(0, 0xc, gigabytes, 0x80_0000_0000)
        .bar(2, 1, 0x100, 0xc000)
        .bar(3, 8, 0x1000, 0xfe00_1000)
        .bar(4, 0, 16, 0xfe00_0010)
        .bar(5, 2, 0x1000, 0xfe00_2000)
        .writable(0x04, 0x407);
    let machine = Machine::new([(bdf("00:01.0"), model)]);
    set_memory_decode(&machine, bdf("00:01.0"), true);
    let before = machine.bytes();
    let scan = found(&machine);
    assert_eq!(machine.bytes(), before);
    assert!(!machine.sized_while_decoding.get());
    let bars: Vec<_> = scan.functions[0]
        .bars
        .iter()
        .map(|bar| (bar.index, bar.address, bar.size))
        .collect();
    let expected = [
        (0, 0x80_0000_0000, gigabytes),
        (2, 0xc000, 0x100),
        (3, 0xfe00_1000, 0x1000),
        (4, 0xfe00_0010, 16),
    ];
    assert_eq!(bars, expected);
    assert_eq!(
        scan.functions[0].bars[0].kind,
        BarKind::Memory {
            wide: true,
            prefetchable: true
        }
    );
    assert_eq!(
        scan.functions[0].bar_faults,
        [BarFault::ReservedType { index: 5, kind: 1 }]
    );
    assert_eq!(
        scan.functions[0].not_assignable, None,
        "a reserved type is told, not fatal"
    );
}

#[test]
fn a_64_bit_bar_in_the_last_register_and_one_without_size_are_told() {
    let model = Model::endpoint().bar(5, 4, 0x1000, 0).writable(0x10, 0x0f00_f000);
    let faults = found(&Machine::new([(bdf("00:01.0"), model)])).functions[0]
        .bar_faults
        .clone();
    assert_eq!(faults[1], BarFault::NoUpperHalf { index: 5 });
    assert!(matches!(faults[0], BarFault::Size { index: 0, .. }));
}

#[test]
fn bridges_that_lie_are_not_followed_and_hide_nothing_else() {
    let bridge = |secondary, subordinate, fault| {
        let machine = Machine::new([
            (bdf("00:01.0"), Model::bridge(Some(4), secondary, subordinate)),
            (bdf("00:02.0"), Model::endpoint()),
        ]);
        only(
            &machine,
            ProblemKind::Bridge {
                secondary,
                subordinate,
                fault,
            },
        );
        assert_eq!(found(&machine).functions.len(), 2);
    };
    bridge(0, 0, BridgeFault::Unconfigured);
    bridge(3, 2, BridgeFault::Backwards);
    let narrow = SegmentWindow {
        bus_end: 7,
        ..crate::testing::pci::WINDOW
    };
    let machine = Machine::new([(bdf("00:01.0"), Model::bridge(Some(4), 1, 8))]);
    assert!(matches!(
        scan(&machine, &[narrow]).problems[0].kind,
        ProblemKind::Bridge {
            fault: BridgeFault::Outside,
            ..
        }
    ));
    let cycle = Machine::new([
        (bdf("00:01.0"), Model::bridge(Some(4), 1, 2)),
        (bdf("01:00.0"), Model::bridge(Some(5), 1, 2)),
        (bdf("02:00.0"), Model::bridge(Some(6), 1, 2)),
    ]);
    only(
        &cycle,
        ProblemKind::Bridge {
            secondary: 1,
            subordinate: 2,
            fault: BridgeFault::Backwards,
        },
    );
    let overlap = Machine::new([
        (bdf("00:01.0"), Model::bridge(Some(4), 1, 3)),
        (bdf("00:02.0"), Model::bridge(Some(4), 3, 4)),
        (bdf("03:00.0"), Model::endpoint()),
    ]);
    only(
        &overlap,
        ProblemKind::Bridge {
            secondary: 3,
            subordinate: 4,
            fault: BridgeFault::Taken,
        },
    );
    assert!(Topology::new(to_topology(&found(&overlap).functions)).is_ok());
}

#[test]
fn capability_lists_that_loop_or_leave_their_space_end_and_make_the_device_unassignable() {
    let mut looping = Model::endpoint().capability(9, &[0; 14]).capability(9, &[0; 14]);
    looping.bytes[0x51] = 0x40;
    only(
        &Machine::new([(bdf("00:01.0"), looping)]),
        ProblemKind::CapabilityLoop { offset: 0x40 },
    );
    let mut outside = Model::endpoint().capability(9, &[0; 14]);
    outside.bytes[0x41] = 0x10;
    only(
        &Machine::new([(bdf("00:01.0"), outside)]),
        ProblemKind::CapabilityOutside { offset: 0x10 },
    );
    let mut late = Model::endpoint().capability(9, &[0; 14]);
    late.bytes[0x41] = 0xfc;
    late.bytes[0xfc] = 0x11;
    only(
        &Machine::new([(bdf("00:01.0"), late)]),
        ProblemKind::CapabilityOutside { offset: 0xfc },
    );
    let mut extended = Model::endpoint().express(0, 0).extended(3, &[]).extended(4, &[]);
    extended.put32(0x140, 4 | 1 << 16 | 0x100 << 20);
    let machine = Machine::new([(bdf("00:01.0"), extended)]);
    only(&machine, ProblemKind::CapabilityLoop { offset: 0x100 });
    assert_eq!(
        found(&machine).functions[0].not_assignable,
        Some(NotAssignable::Malformed)
    );
}

#[test]
fn an_msix_table_must_be_inside_a_memory_bar() {
    for (bar, table) in [
        (0x1000, 0x1000u32),
        (0x1000, 0xfe8),
        (0x4000, 0x0001),
        (0x4000, 0xffff_fff8),
    ] {
        let mut body = [0; 10];
        body[0] = 1;
        body[2..6].copy_from_slice(&table.to_le_bytes());
        let model = Model::endpoint()
            .bar(0, 0, bar, 0xfe00_0000)
            .capability(0x11, &body);
        let scan = found(&Machine::new([(bdf("00:01.0"), model)]));
        assert!(
            matches!(scan.problems[0].kind, ProblemKind::TableOutsideBar(_)),
            "{bar:#x} {table:#x}"
        );
        assert_eq!(scan.functions[0].msix, None);
    }
}

fn virtio(device: u16, length: u8) -> Model {
    let structure = |kind: u8, offset: u8, size: u8| {
        let mut body = [0; 18];
        (body[0], body[1], body[2], body[7], body[10]) = (20, kind, 4, offset, size);
        body[6] = 0;
        body
    };
    Model::new(0x1af4, device, 0x01_0000, 0)
        .bar(4, 4, 0x4000, 0xfea0_0000)
        .capability(9, &structure(1, 0, length))
        .capability(9, &structure(2, 0x30, 16))
        .capability(9, &structure(3, 0x10, 16))
}

#[test]
fn a_virtio_device_that_bypasses_the_iommu_is_recognised() {
    let at = bdf("00:01.0");
    let ask = |model: Model, bits: u64| {
        let machine = Machine::new([(at, model)]);
        machine.feature_bits.set(bits);
        let function = found(&machine).functions[0].clone();
        let command = Registers::new(&machine, at).command();
        let answer = virtio_access_platform(&machine, &function, &mut &machine);
        assert_eq!(Registers::new(&machine, at).command(), command);
        (answer, function.not_assignable)
    };
    let bypasses = Some(NotAssignable::BypassesIommu);
    assert_eq!(ask(virtio(0x1042, 56), 1 << 33 | 1 << 32), (Ok(true), None));
    assert_eq!(ask(virtio(0x1042, 56), 1 << 32 | 1 << 1), (Ok(false), None));
    assert_eq!(
        ask(virtio(0x1042, 56), u64::MAX),
        (Ok(false), None),
        "a device that does not answer offers nothing"
    );
    assert_eq!(
        ask(virtio(0x1042, 8), 1 << 33),
        (Err(VirtioError::Legacy), bypasses),
        "common too short"
    );
    let legacy = Model::new(0x1af4, 0x1001, 0x01_0000, 0);
    assert_eq!(ask(legacy, 1 << 33), (Err(VirtioError::Legacy), bypasses));
    assert_eq!(
        ask(Model::endpoint(), 1 << 33),
        (Err(VirtioError::NotVirtio), None)
    );
}

#[test]
fn every_endpoint_stops_mastering_and_bridges_go_on() {
    let machine = demo();
    let scan = found(&machine);
    for function in &scan.functions {
        assert!(set_bus_master(&machine, function.bdf, true));
    }
    assert_eq!(bus_master_off_everywhere(&machine, &scan.functions), []);
    for function in &scan.functions {
        let on = Registers::new(&machine, function.bdf)
            .command()
            .contains(crate::pci::spec::Command::BUS_MASTER);
        assert_eq!(on, !function.kind.is_endpoint(), "{}", function.bdf);
    }
    let deaf = Machine::new([(bdf("00:01.0"), {
        let mut model = Model::endpoint().writable(0x04, 0);
        model.put16(0x04, 4);
        model
    })]);
    assert_eq!(
        bus_master_off_everywhere(&deaf, &found(&deaf).functions),
        [bdf("00:01.0")]
    );
}

proptest! {
    #![proptest_config(cases(256))]

    /// Whatever functions say of themselves, the walk ends, does not panic, and what it finds makes a topology.
    #[test]
    fn any_configuration_space_is_survived(
        places in prop::collection::btree_map(0u16..0x500, prop::collection::vec((0usize..0x140, any::<u8>()), 0..60), 1..8),
        layouts in prop::collection::vec(0u8..3, 8),
    ) {
        let machine = Machine::new(places.into_iter().zip(layouts).map(|((id, changes), layout)| {
            let mut model = match layout {
                1 => Model::bridge(Some(id % 11), (id >> 4) as u8 % 8, (id >> 2) as u8 % 8),
                _ => Model::endpoint().express(0, 0).capability(0x11, &[0; 10]).capability(5, &[0; 22]).acs(0x1f),
            };
            for (offset, value) in changes {
                model.bytes[offset] = value;
            }
            model.bytes[0] = 0x86;
            (Bdf::from_requester_id(0, id), model)
        }));
        let scan = found(&machine);
        prop_assert!(Topology::new(to_topology(&scan.functions)).is_ok());
        prop_assert!(machine.accesses.get() < 40_000);
    }
}
