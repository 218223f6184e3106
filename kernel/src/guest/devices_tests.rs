//! QEMU's NVMe controller and a second function in its slot, as their guest reaches them.

use super::super::fixture::{Bytes, NVME, bar32, bar64, capability, function};
use super::super::layout::MemoryRegion;
use super::super::msix::Route;
use super::super::{DeviceBackend, Messages, NoRoute, Source};
use super::*;
use crate::addr::HostPhys;
use crate::pci::{Bar, MsiX, TableLocation, Width};
use vfio_core::Fault;
use vfio_core::pci::config::{Express, Msi, PowerManagement, ROM};
use vfio_core::pci::device::PowerState;
use vfio_core::pci::irq::IrqKind;
use vfio_core::pci::{Bdf, ResetMethods};

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Read(u64, u8),
    Write(u64, u8, u64),
    Enable(IrqKind, bool),
    Route(Source, Route),
    Unroute(Source),
    Map(u64),
    Unmap(u64),
    Reset,
    Power(PowerState),
}

/// A machine that writes down what it is asked, all interrupts of one function.
#[derive(Debug)]
struct Machine {
    of: Bdf,
    config: Bytes,
    asked: Vec<Asked>,
    no_route: bool,
    /// How resets and power states end; what they do to the hardware's command register.
    fault: Option<Fault>,
    /// D3hot and back resets.
    loses: bool,
    state: PowerState,
    /// What the other function asks for is not looked at.
    lenient: bool,
}

impl DeviceBackend for Machine {
    fn config(&self) -> &(dyn ConfigAccess + 'static) {
        &self.config
    }
    fn wait(&self, _: u64) {}
    fn mmio_read(&mut self, at: HostPhys, bytes: u8) -> u64 {
        self.asked.push(Asked::Read(at.0, bytes));
        0x5a
    }
    fn mmio_write(&mut self, at: HostPhys, bytes: u8, value: u64) {
        self.asked.push(Asked::Write(at.0, bytes, value));
    }
    fn enable(&mut self, function: Bdf, kind: IrqKind, on: bool) -> Result<(), Fault> {
        if function != self.of && self.lenient {
            return Ok(());
        }
        assert_eq!(function, self.of);
        self.asked.push(Asked::Enable(kind, on));
        Ok(())
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
    fn map(&mut self, region: MemoryRegion) {
        self.asked.push(Asked::Map(region.gpa.0));
    }
    fn unmap(&mut self, region: MemoryRegion) {
        self.asked.push(Asked::Unmap(region.gpa.0));
    }
    fn reset(&mut self, function: Bdf) -> Result<(), Fault> {
        assert_eq!(function, self.of);
        self.asked.push(Asked::Reset);
        self.fault.map_or(Ok(()), Err)
    }
    fn set_power_state(&mut self, function: Bdf, state: PowerState) -> Result<bool, Fault> {
        assert_eq!(function, self.of);
        self.asked.push(Asked::Power(state));
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.state = state;
        if self.loses && state == PowerState::D0 {
            // Quiet, with decoding on, as the assigner leaves it.
            self.config.put(function, 4, &[2, 4]);
        }
        Ok(self.loses && state == PowerState::D0)
    }
    fn power_state(&mut self, function: Bdf) -> Result<PowerState, Fault> {
        assert_eq!(function, self.of);
        Ok(self.state)
    }
}

struct Rig {
    machine: Machine,
    functions: AssignedFunctions,
}

const fn wiring(lines: bool) -> Wiring {
    Wiring { cpus: 1, lines }
}

impl Rig {
    fn new() -> Self {
        Self::wired(false)
    }

    fn wired(lines: bool) -> Self {
        let location = |offset, length| TableLocation {
            bar: 0,
            offset,
            length,
        };
        let nvme = function(|f| {
            f.bars = vec![bar64(0, 0xfe00_0000, 0x4000)];
            f.capabilities = vec![
                capability(0x11, 0x40),
                capability(0x10, 0x60),
                capability(1, 0xa0),
            ];
            f.express = Some(EXPRESS);
            f.pm = Some(PowerManagement {
                offset: 0xa0,
                no_soft_reset: false,
            });
            f.resets = ResetMethods::FLR;
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
            f.bars = vec![bar64(0, 0xfeb0_0100, 0x100)];
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
            config: Bytes::default(),
            asked: Vec::new(),
            no_route: false,
            fault: None,
            loses: false,
            state: PowerState::D0,
            lenient: false,
        };
        machine
            .config
            .put(NVME, 0x40, &[0x11, 0x60, 3, 0, 0, 0x20, 0, 0, 0, 0x28, 0, 0]);
        // Function level reset, bit 28 of the device capabilities.
        machine.config.put(NVME, 0x60, &[0x10, 0xa0, 2, 0, 0, 0, 0, 0x10]);
        machine.config.put(NVME, 0xa0, &[1, 0, 3, 0]);
        // As firmware leaves them: decoding memory.
        for bdf in [NVME, small.bdf] {
            machine.config.put(bdf, 4, &[2]);
        }
        let mut functions = AssignedFunctions::new(&machine.config, &[&small, &nvme], wiring(lines)).unwrap();
        let mut machine = machine;
        functions.show(&mut machine);
        assert_eq!(machine.asked, [Asked::Map(0xc000_0000), Asked::Map(0xc000_3000)]);
        machine.asked.clear();
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

const EXPRESS: Express = Express {
    offset: 0x60,
    version: 2,
    port_type: 0,
    slot: false,
    reports_link: false,
};
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
    let conventional = SLOT + (1 << 12) + 0x100;
    assert_eq!(rig.read(conventional, 4), Some(0xffff_ffff));
    assert!(rig.write(conventional, 4, 0));
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
        [Asked::Enable(IrqKind::MsiX, true), Asked::Route(ENTRY, ROUTE)]
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
    rig.functions.release(&mut rig.machine);
    assert_eq!(
        rig.machine.asked,
        [Asked::Unroute(ENTRY), Asked::Enable(IrqKind::MsiX, false)]
    );
    assert_eq!(rig.read(TABLE + 28, 4), Some(1), "masked as after reset");
}

#[test]
fn an_interrupt_without_a_way_does_not_come_and_narrow_accesses_to_the_table_are_refused() {
    let mut rig = Rig::new();
    rig.machine.no_route = true;
    assert!(rig.write(SLOT + 0x42, 2, 0x8000));
    assert!(rig.write(TABLE, 8, 0xfee0_0000));
    // The guest waits for it in vain, and for nothing else.
    assert!(rig.write(TABLE + 8, 8, 0x51));
    assert_eq!(rig.machine.asked, [Asked::Enable(IrqKind::MsiX, true)]);
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
}

/// Has MSI-X entry 1 routed, and forgets how.
fn route_entry(rig: &mut Rig) {
    for (offset, value) in [(0, 0xfee0_0000), (8, 0x51), (12, 0)] {
        assert!(rig.write(TABLE + 16 + offset, 4, value));
    }
    assert!(rig.write(SLOT + 0x42, 2, 0x8000));
    assert_eq!(rig.machine.asked.last(), Some(&Asked::Route(ENTRY, ROUTE)));
    rig.machine.asked.clear();
}

const UNMAPPED: [Asked; 2] = [Asked::Unmap(0xc000_0000), Asked::Unmap(0xc000_3000)];
const MAPPED: [Asked; 2] = [Asked::Map(0xc000_0000), Asked::Map(0xc000_3000)];

fn all_read_as_ones(rig: &mut Rig) {
    for (gpa, bytes) in [
        (0xc000_0000, 4),
        (0xc000_3ff8, 8),
        (TABLE + 24, 4),
        (TABLE + 0x900, 1),
    ] {
        assert_eq!(
            rig.read(gpa, bytes),
            Some(u64::MAX >> (64 - 8 * u32::from(bytes))),
            "{gpa:#x}"
        );
        assert!(rig.write(gpa, bytes, 0));
    }
    assert_eq!(rig.machine.asked, [], "and reach nothing");
}

#[test]
fn registers_are_there_as_long_as_memory_is_decoded() {
    let mut rig = Rig::new();
    assert!(rig.write(SLOT + 4, 2, 0));
    assert_eq!(rig.machine.asked, UNMAPPED);
    rig.machine.asked.clear();
    all_read_as_ones(&mut rig);
    assert!(rig.write(SLOT + 4, 2, 0));
    assert!(rig.write(SLOT + 4, 2, 4));
    assert_eq!(rig.machine.asked, [], "no change");
    assert!(rig.write(SLOT + 4, 2, 2));
    assert_eq!(rig.machine.asked, MAPPED);
    assert_eq!(rig.read(TABLE + 28, 4), Some(1), "nothing was written meanwhile");
}

#[test]
fn pages_that_could_not_be_mapped_are_passed_on() {
    let mut rig = Rig::new();
    assert_eq!(rig.read(0xc000_0008, 4), Some(0x5a));
    assert!(rig.write(0xc000_3ff8, 8, 7));
    let expected = [Asked::Read(0xfe00_0008, 4), Asked::Write(0xfe00_3ff8, 8, 7)];
    assert_eq!(rig.machine.asked, expected);
    assert_eq!(rig.read(0xc000_1ffc, 8), None, "not aligned");
}

#[test]
fn a_reset_takes_registers_and_interrupts_away_and_the_guest_starts_anew() {
    for fault in [None, Some(Fault::Gone)] {
        let mut rig = Rig::new();
        assert_eq!(rig.read(SLOT + 0x64, 4), Some(0x1000_0000), "it is offered");
        assert!(rig.write(SLOT + 4, 2, 6));
        rig.machine.asked.clear();
        route_entry(&mut rig);
        rig.machine.fault = fault;
        assert!(rig.write(SLOT + 0x68, 2, 0x8000));
        let mut expected = Vec::from(UNMAPPED);
        expected.extend([
            Asked::Unroute(ENTRY),
            Asked::Enable(IrqKind::MsiX, false),
            Asked::Reset,
        ]);
        assert_eq!(rig.machine.asked, expected);
        rig.machine.asked.clear();
        assert_eq!(rig.read(SLOT + 4, 2), Some(0), "nothing decodes");
        assert_eq!(
            rig.machine.config.read(NVME, 4, Width::Word),
            0x400,
            "in the hardware too"
        );
        assert_eq!(rig.read(SLOT + 0x42, 2), Some(3), "MSI-X is off");
        assert_eq!(
            rig.read(SLOT + 0x10, 4),
            Some(0xc000_0004),
            "the BAR is where it was"
        );
        all_read_as_ones(&mut rig);
        assert!(rig.write(SLOT + 4, 2, 2));
        assert_eq!(rig.machine.asked, MAPPED);
        assert_eq!(rig.read(TABLE + 28, 4), Some(1), "masked as after reset");
        route_entry(&mut rig);
    }
}

#[test]
fn a_reset_that_does_not_work_is_not_offered() {
    let stuck = function(|f| {
        f.capabilities = vec![capability(0x10, 0x60)];
        f.express = Some(EXPRESS);
    });
    let config = Bytes::default();
    config.put(NVME, 0x60, &[0x10, 0, 2, 0, 0, 0, 0, 0x10]);
    let functions = AssignedFunctions::new(&config, &[&stuck], wiring(false)).unwrap();
    let mut rig = Rig {
        functions,
        ..Rig::new()
    };
    assert_eq!(rig.read(SLOT + 0x64, 4), Some(0));
    assert!(rig.write(SLOT + 0x68, 2, 0x8000));
    assert_eq!(rig.machine.asked, []);
}

#[test]
fn a_sleeping_function_shows_nothing_and_comes_back_as_it_was() {
    let mut rig = Rig::new();
    route_entry(&mut rig);
    assert!(rig.write(SLOT + 0xa4, 2, 3));
    let mut expected = Vec::from(UNMAPPED);
    expected.push(Asked::Power(PowerState::D3hot));
    assert_eq!(rig.machine.asked, expected);
    rig.machine.asked.clear();
    assert_eq!(rig.read(SLOT + 0xa4, 2), Some(3));
    all_read_as_ones(&mut rig);
    // Decoding and MSI-X can be changed in configuration space; it shows on the way back.
    assert!(rig.write(SLOT + 4, 2, 0));
    assert!(rig.write(SLOT + 4, 2, 2));
    assert!(rig.write(SLOT + 0x42, 2, 0));
    assert!(rig.write(SLOT + 0x42, 2, 0x8000));
    all_read_as_ones(&mut rig);
    assert!(rig.write(SLOT + 0xa4, 2, 0));
    let mut expected = vec![Asked::Power(PowerState::D0)];
    expected.extend(MAPPED);
    assert_eq!(rig.machine.asked, expected, "its vector was there all the time");
    assert_eq!(rig.read(SLOT + 0xa4, 2), Some(0));
    // What is different on the way back is made different then.
    assert!(rig.write(SLOT + 0xa4, 2, 3));
    assert!(rig.write(SLOT + 0x42, 2, 0));
    rig.machine.asked.clear();
    assert!(rig.write(SLOT + 0xa4, 2, 0));
    let mut expected = vec![
        Asked::Power(PowerState::D0),
        Asked::Unroute(ENTRY),
        Asked::Enable(IrqKind::MsiX, false),
    ];
    expected.extend(MAPPED);
    assert_eq!(rig.machine.asked, expected);
}

#[test]
fn a_function_that_loses_its_state_on_the_way_back_gets_it_again() {
    let mut rig = Rig::new();
    rig.machine.loses = true;
    route_entry(&mut rig);
    assert!(rig.write(SLOT + 0xa4, 2, 3));
    rig.machine.asked.clear();
    assert!(rig.write(SLOT + 0xa4, 2, 0));
    let mut expected = vec![
        Asked::Power(PowerState::D0),
        Asked::Unroute(ENTRY),
        Asked::Enable(IrqKind::MsiX, false),
        Asked::Enable(IrqKind::MsiX, true),
        Asked::Route(ENTRY, ROUTE),
    ];
    expected.extend(MAPPED);
    assert_eq!(rig.machine.asked, expected);
    rig.machine.asked.clear();
    assert_eq!(
        (rig.read(SLOT + 0xa4, 2), rig.read(SLOT + 0x42, 2)),
        (Some(0), Some(0x8003))
    );
    assert_eq!(
        rig.machine.config.read(NVME, 4, Width::Word),
        0x402,
        "bus mastering is the guest's to turn on"
    );
}

#[test]
fn a_function_that_does_not_sleep_stays_awake() {
    let mut rig = Rig::new();
    route_entry(&mut rig);
    rig.machine.fault = Some(Fault::Rejected);
    assert!(rig.write(SLOT + 0xa4, 2, 3));
    assert_eq!(rig.read(SLOT + 0xa4, 2), Some(0));
    let mut expected = Vec::from(UNMAPPED);
    expected.push(Asked::Power(PowerState::D3hot));
    expected.extend(MAPPED);
    assert_eq!(rig.machine.asked, expected);
    assert_eq!(rig.read(TABLE + 24, 4), Some(0x51));
}

#[test]
fn interrupts_work_again_after_a_reset_that_nobody_announced() {
    let mut rig = Rig::new();
    route_entry(&mut rig);
    rig.machine.config.put(NVME, 4, &[0]);
    assert!(rig.write(SLOT + 4, 2, 2));
    let expected = [
        Asked::Unroute(ENTRY),
        Asked::Enable(IrqKind::MsiX, false),
        Asked::Enable(IrqKind::MsiX, true),
        Asked::Route(ENTRY, ROUTE),
    ];
    assert_eq!(rig.machine.asked, expected);
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
    let off = Asked::Enable(IrqKind::Msi, false);
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
    assert!(rig.write(small + 2, 2, 1));
    assert_eq!(
        rig.read(small + 2, 2),
        Some(0x0100),
        "no way left: the guest finds it off"
    );
}

#[test]
fn nothing_is_where_nothing_was_put() {
    let mut rig = Rig::new();
    for nothing in [0, 0xbfff_ffff, ECAM + ECAM_SIZE, u64::MAX] {
        assert!(
            !rig.functions.with(&mut rig.machine).has(GuestPhys(nothing)),
            "{nothing:#x}"
        );
        assert_eq!(rig.read(nothing, 1), None);
        assert!(!rig.write(nothing, 1, 0));
    }
    // Within the window of the host bridge nobody answers, as on hardware.
    for (gpa, bytes) in [
        (0xc000_4100, 4),
        (0xc000_5000, 8),
        (0xdfff_ffff, 1),
        (0x10_0000_0000, 8),
    ] {
        assert_eq!(
            rig.read(gpa, bytes),
            Some(u64::MAX >> (64 - 8 * u32::from(bytes)))
        );
        assert!(rig.write(gpa, bytes, 0));
    }
    assert_eq!(rig.machine.asked, []);
    let mut none = AssignedFunctions::new(&rig.machine.config, &[], wiring(false)).unwrap();
    assert!(
        !none.with(&mut rig.machine).has(GuestPhys(0xc000_0000)),
        "no functions, no window"
    );
}

#[test]
fn a_guest_has_31_slots() {
    let many = |count: u8| -> Vec<_> {
        let bdf = |at: u8| Bdf::new(0, at, 0, 0);
        (0..count).map(|at| function(|f| f.bdf = bdf(at))).collect()
    };
    let new = |functions: &[Function]| {
        AssignedFunctions::new(
            &Bytes::default(),
            &functions.iter().collect::<Vec<_>>(),
            wiring(false),
        )
        .map(|_| ())
    };
    assert_eq!(new(&many(31)), Ok(()));
    assert_eq!(new(&many(32)), Err(BusError::Slots));
}

/// Which lines came.
fn poll(rig: &mut Rig) -> Vec<Line> {
    let mut came = Vec::new();
    rig.functions
        .poll_lines(&mut rig.machine, &mut |line| came.push(line));
    came
}

fn acknowledge(rig: &mut Rig, line: Line) -> Vec<Line> {
    let mut again = Vec::new();
    let concerned = |other: Line| other == line;
    rig.functions
        .end_of_interrupt(&mut rig.machine, &concerned, &mut |line| again.push(line));
    again
}

#[test]
fn a_line_comes_once_until_its_interrupt_is_over() {
    let mut rig = Rig::wired(true);
    assert_eq!(rig.read(SLOT + 0x3d, 1), Some(1), "the pin");
    // The other function of the slot sends nothing here.
    rig.machine.of = NVME;
    rig.machine.lenient = true;
    assert_eq!(poll(&mut rig), [], "nobody listens yet");
    rig.functions.listen(&mut rig.machine);
    let nvme = Line {
        devfn: 1 << 3,
        pin: 1,
    };
    let status = |rig: &Rig, raised: u8| rig.machine.config.put(NVME, 6, &[raised << 3]);
    assert_eq!(poll(&mut rig), []);
    status(&rig, 1);
    assert_eq!(poll(&mut rig), [nvme]);
    assert_eq!(poll(&mut rig), [], "held back until it was seen to");
    assert_eq!(acknowledge(&mut rig, nvme), [nvme], "it is still raised");
    status(&rig, 0);
    assert_eq!(acknowledge(&mut rig, nvme), []);
    assert_eq!(poll(&mut rig), []);
    // The guest's own mask.
    status(&rig, 1);
    assert!(rig.write(SLOT + 4, 2, 0x402));
    assert_eq!(poll(&mut rig), []);
    assert!(rig.write(SLOT + 4, 2, 2));
    assert_eq!(poll(&mut rig), [nvme]);
    status(&rig, 0);
    assert_eq!(acknowledge(&mut rig, nvme), []);
    // It makes way for MSI-X, comes back after it, and goes on after a reset.
    assert!(rig.write(SLOT + 0x42, 2, 0x8000));
    status(&rig, 1);
    assert_eq!(poll(&mut rig), []);
    assert!(rig.write(SLOT + 0x42, 2, 0));
    assert_eq!(poll(&mut rig), [nvme]);
    rig.machine.asked.clear();
    assert!(rig.write(SLOT + 0x68, 2, 0x8000));
    assert_eq!(
        rig.machine.asked.last(),
        Some(&Asked::Enable(IrqKind::Intx, true))
    );
    assert_eq!(acknowledge(&mut rig, nvme), [nvme]);
    // A function that is gone raises nothing.
    rig.machine.config.put(NVME, 6, &[0xff, 0xff]);
    assert_eq!(acknowledge(&mut rig, nvme), []);
    rig.functions.release(&mut rig.machine);
    status(&rig, 1);
    assert_eq!(poll(&mut rig), [], "the guest has ended");
}

#[test]
fn without_an_io_apic_there_is_no_pin() {
    let mut rig = Rig::new();
    assert_eq!(rig.read(SLOT + 0x3d, 1), Some(0));
    rig.functions.listen(&mut rig.machine);
    rig.machine.config.put(NVME, 6, &[8]);
    assert_eq!(poll(&mut rig), []);
    assert_eq!(rig.machine.asked, []);
}

#[test]
fn a_rom_has_a_size_and_is_read_while_it_is_on() {
    for address in [0xfeb8_0000, 0] {
        let card = function(|f| {
            f.bars = vec![bar64(0, 0xfe00_0000, 0x4000)];
            f.rom = Some(Bar {
                address,
                ..bar32(ROM, 0, 0x4_0000)
            });
        });
        let mut rig = Rig::new();
        rig.machine.config.put(NVME, 4, &[2]);
        rig.functions = AssignedFunctions::new(&rig.machine.config, &[&card], wiring(false)).unwrap();
        rig.machine.asked.clear();
        rig.functions.show(&mut rig.machine);
        rig.machine.asked.clear();
        assert_eq!(rig.read(SLOT + 0x30, 4), Some(0xc000_0000), "off");
        assert!(rig.write(SLOT + 0x30, 4, 0xffff_fffe));
        assert_eq!(rig.read(SLOT + 0x30, 4), Some(0xfffc_0000));
        assert!(rig.write(SLOT + 0x30, 4, 0xc100_0001));
        // Where firmware has put it nowhere it reads as one that is not programmed.
        let (value, asked) = match address {
            0 => (0xffff_ffff, vec![]),
            _ => (0x5a, vec![Asked::Read(0xfeb8_0008, 4)]),
        };
        assert_eq!(rig.read(0xc100_0008, 4), Some(value));
        assert!(rig.write(0xc100_0008, 4, 1), "lost");
        assert_eq!(rig.machine.asked, asked);
        rig.machine.asked.clear();
        assert_eq!(
            rig.machine.config.read(NVME, 0x30, Width::Dword) & 1,
            0,
            "for the read only"
        );
        assert!(rig.write(SLOT + 0x30, 4, 0xc100_0000));
        assert_eq!(rig.read(0xc100_0008, 4), Some(0xffff_ffff));
        assert_eq!(rig.machine.asked, []);
    }
}
