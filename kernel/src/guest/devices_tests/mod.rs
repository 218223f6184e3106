//! QEMU's NVMe controller and a second function in its slot, as their guest reaches them.

mod interrupts;
mod life;

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
