//! A machine of several functions and bridges that lie: the walk ends, finds a tree, and believes nothing impossible.

use vfio_core::cohort::Cohorts;
use vfio_core::pci::config::{
    Function, SegmentWindow, bus_master_off_everywhere, enable_acs, scan, to_topology, virtio_access_platform,
};
use vfio_core::pci::reset::{SavedConfig, reset_function, secondary_bus_reset};
use vfio_core::pci::{Bdf, Topology};

use super::hostile::{Hostile, Machine};
use super::input::Input;

/// An endpoint with PCI Express (0x40), MSI-X (0x80), MSI (0x90), power management (0xb0), and ACS (0x100).
const ENDPOINT: &[(usize, &[u8])] = &[
    (0x00, &[0x36, 0x1b, 0x10, 0x00]),
    (0x06, &[0x10]),
    (0x08, &[0x01, 0x02, 0x08, 0x01]),
    (0x10, &[0x04, 0x00, 0x60, 0xfe]),
    (0x34, &[0x40]),
    (0x40, &[0x10, 0x80, 0x02, 0x00, 0x00, 0x00, 0x00, 0x10]),
    (
        0x80,
        &[
            0x11, 0x90, 0x07, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x30, 0x00, 0x00,
        ],
    ),
    (0x90, &[0x05, 0xb0, 0x8a, 0x01]),
    (0xb0, &[0x01, 0x00, 0x03, 0x00]),
    (0x100, &[0x0d, 0x00, 0x01, 0x00, 0x1f]),
];

/// A bridge with PCI Express (0x40) and ACS (0x100); buses and port type come from the input.
const BRIDGE: &[(usize, &[u8])] = &[
    (0x00, &[0x36, 0x1b, 0x0c, 0x00]),
    (0x06, &[0x10]),
    (0x08, &[0x01, 0x00, 0x04, 0x06]),
    (0x0e, &[0x01]),
    (0x34, &[0x40]),
    (0x40, &[0x10, 0x00, 0x42]),
    (0x100, &[0x0d, 0x00, 0x01, 0x00, 0x1f]),
];

/// Up to eight functions: for each its address, kind, behaviour and BARs, then bytes that differ from the kind's.
fn machine(input: &mut Input<'_>) -> Machine {
    let machine = Machine::default();
    for _ in 0..=input.below(8) {
        let (bus, devfn) = (input.below(10), input.u8());
        let (kind, behaviour) = (input.u8(), input.u8());
        let mut function = Hostile::new(&[], behaviour);
        for (at, bytes) in if kind & 1 == 0 { ENDPOINT } else { BRIDGE } {
            function.bytes[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        if kind & 2 != 0 {
            function.bytes[0x0e] |= 0x80;
        }
        if kind & 1 != 0 {
            function.bytes[0x18] = bus;
            function.bytes[0x19] = input.below(12);
            function.bytes[0x1a] = input.below(12);
            function.bytes[0x42] = kind & 0xf0 | 2;
        }
        function.bars = std::array::from_fn(|_| input.below(33));
        for _ in 0..input.below(24) {
            let (at, value) = (usize::from(input.u16()) % 0x180, input.u8());
            function.bytes[at] = value;
        }
        if function.bytes[..2] != [0xff, 0xff] {
            let bdf = Bdf::from_devfn(0, bus, devfn);
            machine.functions.borrow_mut().insert(bdf, function);
        }
    }
    machine
}

pub(super) fn run(data: &[u8]) {
    let machine = machine(&mut Input::new(data));
    let before = machine.bytes();
    let window = SegmentWindow {
        segment: 0,
        bus_start: 0,
        bus_end: 8,
    };
    let mut found = scan(&machine, &[window]);
    assert!(
        machine.accesses.get() < 100_000,
        "{} accesses",
        machine.accesses.get()
    );
    if machine.is_reliable() {
        assert_eq!(machine.bytes(), before, "a scan leaves everything as it was");
    }
    for function in &mut found.functions {
        assert!(
            function.bdf.bus() <= window.bus_end,
            "{} is outside the window",
            function.bdf
        );
        check_bounds(function);
        enable_acs(&machine, function);
    }
    // Whatever was found makes a tree, and that makes cohorts.
    let topology = Topology::new(to_topology(&found.functions)).unwrap();
    super::topology::check(&Cohorts::new(&topology), &topology);
    for function in &found.functions {
        use_it(&machine, function);
        let below: Vec<(&Function, SavedConfig)> = found
            .functions
            .iter()
            .filter(|other| other.parent == Some(function.bdf))
            .filter_map(|other| Some((other, SavedConfig::read(&machine, other).ok()?)))
            .collect();
        let below: Vec<(&Function, &SavedConfig)> =
            below.iter().map(|(function, saved)| (*function, saved)).collect();
        let _ = secondary_bus_reset(&machine, function, &below);
    }
    drop(bus_master_off_everywhere(&machine, &found.functions));
}

/// Everything that a function is believed to have is where it can be.
pub(super) fn check_bounds(function: &Function) {
    for capability in &function.capabilities {
        assert!((0x40..0x100).contains(&capability.offset) && capability.offset.is_multiple_of(4));
        assert!(
            capability.offset + capability.least_bytes() <= 0x100,
            "{capability:?}"
        );
    }
    for capability in &function.extended {
        assert!((0x100..0x1000).contains(&capability.offset) && capability.offset.is_multiple_of(4));
        assert!(
            capability.offset + capability.least_bytes() <= 0x1000,
            "{capability:?}"
        );
    }
    for bar in &function.bars {
        assert!(bar.index < 6 && bar.size.is_power_of_two(), "{bar:?}");
    }
    if let Some(msi) = function.msi {
        assert!(msi.offset + msi.bytes() <= 0x100, "{msi:?}");
    }
    if let Some(msix) = function.msix {
        assert!((1..=2048).contains(&msix.vectors));
        assert!(msix.table.length >= u32::from(msix.vectors) * 16);
        for table in [msix.table, msix.pending] {
            let end = u64::from(table.offset) + u64::from(table.length);
            let bar = function.bar(table.bar);
            assert!(
                bar.is_some_and(|bar| bar.is_memory() && end <= bar.size),
                "{table:?} in {bar:?}"
            );
        }
    }
    if let Some(virtio) = &function.virtio {
        for region in [virtio.common, virtio.notify, virtio.isr, virtio.device]
            .into_iter()
            .flatten()
        {
            let end = u64::from(region.offset) + u64::from(region.length);
            assert!(
                function.bar(region.bar).is_some_and(|bar| end <= bar.size),
                "{region:?}"
            );
        }
    }
}

/// What a hypervisor does with a function that it found: every wait is bounded.
pub(super) fn use_it(machine: &Machine, function: &Function) {
    use vfio_core::clock::{Clock as _, MILLISECOND};
    let _ = virtio_access_platform(&machine, function, &mut &*machine);
    let (start, accesses) = (machine.now(), machine.accesses.get());
    if let Ok(saved) = SavedConfig::read(machine, function) {
        let _ = reset_function(machine, function, None, &saved);
    }
    assert!(
        machine.now() - start < 30_000 * MILLISECOND,
        "a reset takes for ever"
    );
    assert!(
        machine.accesses.get() - accesses < 60_000,
        "a reset looks for ever"
    );
}
