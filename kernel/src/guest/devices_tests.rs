//! QEMU's NVMe controller and a second function in its slot, as their guest reaches them.

use super::super::fixture::{Bytes, NVME, bar32, bar64, capability, function};
use super::super::msix::Route;
use super::super::{DeviceBackend, Messages, NoRoute, Source};
use super::*;
use crate::addr::HostPhys;
use crate::pci::{MsiX, TableLocation, Width};
use vfio_core::pci::Bdf;
use vfio_core::pci::config::Msi;

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Read(u64, u8),
    Write(u64, u8, u64),
    Enable(Messages, bool),
    Route(Source, Route),
    Unroute(Source),
}

/// A machine that writes down what it is asked, all interrupts of one function.
#[derive(Debug)]
struct Machine {
    of: Bdf,
    /// Turning interrupts off there is not written down.
    ignore: Option<Bdf>,
    config: Bytes,
    asked: Vec<Asked>,
    no_route: bool,
}

impl DeviceBackend for Machine {
    fn config(&self) -> &dyn ConfigAccess {
        &self.config
    }
    fn mmio_read(&mut self, at: HostPhys, bytes: u8) -> u64 {
        self.asked.push(Asked::Read(at.0, bytes));
        0x5a
    }
    fn mmio_write(&mut self, at: HostPhys, bytes: u8, value: u64) {
        self.asked.push(Asked::Write(at.0, bytes, value));
    }
    fn enable(&mut self, function: Bdf, kind: Messages, on: bool) {
        if self.ignore == Some(function) {
            return;
        }
        assert_eq!(function, self.of);
        self.asked.push(Asked::Enable(kind, on));
    }
    fn route(&mut self, function: Bdf, source: Source, route: Route) -> Result<(), NoRoute> {
        assert_eq!(function, self.of);
        if self.no_route {
            return Err(NoRoute);
        }
        self.asked.push(Asked::Route(source, route));
        Ok(())
    }
    fn unroute(&mut self, function: Bdf, source: Source) {
        assert_eq!(function, self.of);
        self.asked.push(Asked::Unroute(source));
    }
}

struct Rig {
    machine: Machine,
    functions: AssignedFunctions,
}

impl Rig {
    fn new() -> Self {
        let location = |offset, length| TableLocation {
            bar: 0,
            offset,
            length,
        };
        let nvme = function(|f| {
            f.bars = vec![bar64(0, 0xfe00_0000, 0x4000)];
            f.capabilities = vec![capability(0x11, 0x40)];
            f.msix = Some(MsiX {
                offset: 0x40,
                vectors: 4,
                table: location(0x2000, 64),
                pending: location(0x2800, 8),
            });
        });
        let small = function(|f| {
            f.bdf = Bdf::new(0, 1, 0, 1);
            f.device = 0x77;
            f.bars = vec![bar32(0, 0xfeb0_0100, 0x100)];
            f.capabilities = vec![capability(5, 0x40)];
            f.msi = Some(Msi {
                offset: 0x40,
                vectors: 4,
                address_64: false,
                maskable: true,
            });
        });
        let machine = Machine {
            of: NVME,
            ignore: None,
            config: Bytes::default(),
            asked: Vec::new(),
            no_route: false,
        };
        machine
            .config
            .put(NVME, 0x40, &[0x11, 0, 3, 0, 0, 0x20, 0, 0, 0, 0x28, 0, 0]);
        let functions = AssignedFunctions::new(&machine.config, &[&small, &nvme], 1).unwrap();
        Self { machine, functions }
    }

    fn read(&mut self, gpa: u64, bytes: u8) -> Option<u64> {
        self.functions.with(&mut self.machine).read(GuestPhys(gpa), bytes)
    }

    fn write(&mut self, gpa: u64, bytes: u8, value: u64) -> bool {
        self.functions
            .with(&mut self.machine)
            .write(GuestPhys(gpa), bytes, value)
    }
}

const SLOT: u64 = ECAM + (1 << 15);
const TABLE: u64 = 0xc000_2000;
const ENTRY: Source = Source {
    kind: Messages::MsiX,
    vector: 1,
};
const ROUTE: Route = Route {
    vector: 0x51,
    apic: 0,
};

#[test]
fn functions_are_found_through_ecam() {
    let mut rig = Rig::new();
    assert_eq!(rig.read(SLOT, 4), Some(0x0010_1b36));
    assert_eq!(rig.read(SLOT + (1 << 12), 4), Some(0x0077_1b36));
    for absent in [
        ECAM,
        SLOT + (2 << 12),
        ECAM + (2 << 15),
        ECAM + ECAM_SIZE - 0x1000,
    ] {
        assert_eq!(rig.read(absent, 4), Some(0xffff_ffff));
        assert_eq!(rig.read(absent, 2), Some(0xffff));
        assert!(rig.write(absent, 4, 0));
    }
    assert_eq!(rig.read(SLOT + 0xe, 1), Some(0x80), "two functions");
    assert_eq!(rig.read(SLOT + 0x10, 4), Some(0xc000_0004));
    assert!(rig.write(SLOT + 4, 2, 6));
    assert_eq!(rig.machine.config.read(NVME, 4, Width::Word), 0x406);
    assert_eq!(
        rig.read(SLOT + 0x100, 4),
        Some(0xffff_ffff),
        "a conventional function"
    );
    assert!(rig.write(SLOT + 0x100, 4, 0));
    for (gpa, bytes) in [(SLOT, 8), (SLOT + 1, 2), (SLOT + 2, 4)] {
        assert_eq!(rig.read(gpa, bytes), None);
        assert!(!rig.write(gpa, bytes, 0));
    }
    let places: Vec<_> = rig.functions.placements().collect();
    assert_eq!(
        (places[0].physical, places[0].guest),
        (NVME, Bdf::new(0, 0, 1, 0))
    );
    assert_eq!(places[1].guest, Bdf::new(0, 0, 1, 1));
}

#[test]
fn msix_is_routed_when_the_guest_programs_it_and_taken_back_at_the_end() {
    let mut rig = Rig::new();
    for (offset, value) in [(0, 0xfee0_0000), (8, 0x51), (12, 0)] {
        assert!(rig.write(TABLE + 16 + offset, 4, value));
    }
    assert!(rig.write(SLOT + 0x42, 2, 0x8000));
    assert_eq!(
        rig.machine.asked,
        [Asked::Enable(Messages::MsiX, true), Asked::Route(ENTRY, ROUTE)]
    );
    assert_eq!(rig.read(TABLE + 24, 8), Some(0x51));
    rig.machine.asked.clear();
    assert!(rig.write(TABLE + 28, 4, 1));
    assert!(rig.write(TABLE + 28, 4, 0));
    assert_eq!(
        rig.machine.asked,
        [Asked::Unroute(ENTRY), Asked::Route(ENTRY, ROUTE)]
    );
    rig.machine.asked.clear();
    rig.machine.ignore = Some(Bdf::new(0, 1, 0, 1));
    rig.functions.release(&mut rig.machine);
    assert_eq!(
        rig.machine.asked,
        [Asked::Unroute(ENTRY), Asked::Enable(Messages::MsiX, false)]
    );
    assert_eq!(rig.read(TABLE + 28, 4), Some(1), "masked as after reset");
}

#[test]
fn an_interrupt_without_a_way_and_narrow_accesses_to_the_table_are_refused() {
    let mut rig = Rig::new();
    rig.machine.no_route = true;
    assert!(rig.write(SLOT + 0x42, 2, 0x8000));
    assert!(rig.write(TABLE, 8, 0xfee0_0000));
    assert!(!rig.write(TABLE + 8, 8, 0x51));
    for (gpa, bytes) in [(TABLE, 1), (TABLE, 2), (TABLE + 4, 8)] {
        assert_eq!(rig.read(gpa, bytes), None);
        assert!(!rig.write(gpa, bytes, 0));
    }
}

#[test]
fn what_shares_a_page_is_passed_on_and_pending_bits_are_read_only() {
    let mut rig = Rig::new();
    assert_eq!(rig.read(TABLE + 0x800, 4), Some(0x5a));
    assert!(rig.write(TABLE + 0x800, 4, 1));
    assert!(rig.write(TABLE + 0x900, 2, 2));
    assert_eq!(rig.read(0xc000_4010, 1), Some(0x5a));
    let expected = [
        Asked::Read(0xfe00_2800, 4),
        Asked::Write(0xfe00_2900, 2, 2),
        Asked::Read(0xfeb0_0110, 1),
    ];
    assert_eq!(rig.machine.asked, expected);
    let mapped: Vec<_> = rig
        .functions
        .mapped()
        .iter()
        .map(|r| (r.gpa.0, r.hpa.0, r.size))
        .collect();
    assert_eq!(
        mapped,
        [
            (0xc000_0000, 0xfe00_0000, 0x2000),
            (0xc000_3000, 0xfe00_3000, 0x1000)
        ]
    );
}

#[test]
fn msi_is_routed_masked_and_turned_off() {
    let mut rig = Rig::new();
    rig.machine.of = Bdf::new(0, 1, 0, 1);
    let small = SLOT + (1 << 12) + 0x40;
    let source = Source {
        kind: Messages::Msi,
        vector: 0,
    };
    assert_eq!(rig.read(small + 2, 2), Some(0x0100), "one vector, with a mask");
    for (offset, bytes, value) in [(4, 4, 0xfee0_0000), (8, 2, 0x51), (2, 2, 0x0071)] {
        assert!(rig.write(small + offset, bytes, value));
    }
    assert_eq!(rig.read(small + 2, 2), Some(0x0101));
    assert_eq!(rig.machine.asked.last(), Some(&Asked::Route(source, ROUTE)));
    rig.machine.asked.clear();
    assert!(rig.write(small + 12, 4, 1));
    assert!(rig.write(small + 12, 4, 0));
    assert_eq!(
        rig.machine.asked,
        [Asked::Unroute(source), Asked::Route(source, ROUTE)]
    );
    rig.machine.asked.clear();
    // A message that is no interrupt is not sent.
    assert!(rig.write(small + 4, 4, 0x1000));
    assert!(rig.write(small + 2, 2, 0));
    let off = Asked::Enable(Messages::Msi, false);
    assert_eq!(
        rig.machine.asked,
        [Asked::Unroute(source), Asked::Unroute(source), off]
    );
    assert!(
        rig.machine.config.writes.borrow().is_empty(),
        "the hardware's MSI is not the guest's"
    );
    rig.machine.no_route = true;
    assert!(rig.write(small + 4, 4, 0xfee0_0000));
    assert!(!rig.write(small + 2, 2, 1), "no way left");
}

#[test]
fn nothing_is_where_nothing_was_put() {
    let mut rig = Rig::new();
    for nothing in [
        0,
        0xc000_1fff,
        0xc000_3000,
        0xc000_4100,
        0xc000_5000,
        ECAM + ECAM_SIZE,
        u64::MAX,
    ] {
        assert!(
            !rig.functions.with(&mut rig.machine).has(GuestPhys(nothing)),
            "{nothing:#x}"
        );
        assert_eq!(rig.read(nothing, 1), None);
        assert!(!rig.write(nothing, 1, 0));
    }
    assert!(rig.functions.with(&mut rig.machine).has(GuestPhys(0xc000_2fff)));
}

#[test]
fn a_guest_has_31_slots() {
    let many = |count: u8| -> Vec<_> {
        let bdf = |at: u8| Bdf::new(0, at, 0, 0);
        (0..count).map(|at| function(|f| f.bdf = bdf(at))).collect()
    };
    let new = |functions: &[Function]| {
        AssignedFunctions::new(&Bytes::default(), &functions.iter().collect::<Vec<_>>(), 1).map(|_| ())
    };
    assert_eq!(new(&many(31)), Ok(()));
    assert_eq!(new(&many(32)), Err(BusError::Slots));
}
