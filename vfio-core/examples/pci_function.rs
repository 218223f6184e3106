//! A PCI function, a controller with registers, MSI-X and function level reset: found, opened, its BAR moved and its interrupt programmed by
//! a guest, reset by it, put to sleep, and closed. Half of it is the machine: configuration space with a memory of its own.
//!
//! `cargo run -p vfio-core --example pci_function`

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error;

use vfio_core::Fault;
use vfio_core::clock::Clock;
use vfio_core::device::{Device, RegionFlags};
use vfio_core::pci::Bdf;
use vfio_core::pci::assigned::{BarAccess, BarView, BarWidth, Machine, PciDevice};
use vfio_core::pci::config::{Bar, ConfigAccess, SegmentWindow, Width, scan};
use vfio_core::pci::device::{FunctionTable, LastReset};
use vfio_core::pci::irq::{IrqBackend, IrqKind, Message};
use vfio_core::pci::region::{index, mappable};
use vfio_core::pci::reset::{HostParts, NoHooks};
use vfio_core::pci::vconfig::{BarPolicy, Offer, Options, VirtualBar, Windows};

const CONTROLLER: Bdf = Bdf::new(0, 0, 4, 0);
/// Where its capabilities are.
const EXPRESS: u16 = 0x40;
const MSIX: u16 = 0x80;
/// Where firmware has put its 16 KiB of registers. The MSI-X table is behind the first 8 KiB.
const REGISTERS: u32 = 0xfe60_0000;
const TABLE: u64 = 0x2000;

/// One function, with what hardware does beyond remembering: BARs have a size, and a reset clears.
struct Hardware {
    config: RefCell<BTreeMap<u16, u32>>,
    now: Cell<u64>,
}

impl Hardware {
    fn new() -> Self {
        let registers = [
            (0x00, 0x0010_1b36),
            // Capabilities are there; memory is decoded.
            (0x04, 0x0010_0002),
            (0x08, 0x0108_0201),
            (0x10, REGISTERS),
            (0x34, EXPRESS.into()),
            // PCI Express, version 2, an endpoint, with function level reset.
            (EXPRESS, 0x0002_0010 | u32::from(MSIX) << 8),
            (EXPRESS + 4, 1 << 28),
            // MSI-X with four entries at 0x2000 of BAR 0, and pending bits at 0x3000.
            (MSIX, 0x0003_0011),
            (MSIX + 4, 0x2000),
            (MSIX + 8, 0x3000),
        ];
        Self {
            config: RefCell::new(BTreeMap::from(registers)),
            now: Cell::new(0),
        }
    }

    fn writable(register: u16) -> u32 {
        match register {
            0x04 => 0x0406,
            0x10 => 0xffff_c000,
            _ if register == EXPRESS + 8 => 0x7fff,
            MSIX => 0xc000_0000,
            _ => 0,
        }
    }
}

impl ConfigAccess for Hardware {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        if function != CONTROLLER {
            return u32::MAX >> (32 - 8 * u32::from(width.bytes()));
        }
        let whole = self.config.borrow().get(&(offset & !3)).copied().unwrap_or(0);
        (whole >> (8 * (offset & 3))) & (u32::MAX >> (32 - 8 * u32::from(width.bytes())))
    }

    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        if function != CONTROLLER {
            return;
        }
        let (register, shift) = (offset & !3, 8 * (offset & 3));
        if register == EXPRESS + 8 && shift == 0 && value & 0x8000 != 0 {
            println!("  hardware: function level reset");
            let mut config = self.config.borrow_mut();
            config.insert(0x04, 0x0010_0000);
            config.insert(0x10, 0);
            config.insert(MSIX, 0x0003_0011);
            return;
        }
        let mask = (u32::MAX >> (32 - 8 * u32::from(width.bytes()))) << shift & Self::writable(register);
        let mut config = self.config.borrow_mut();
        let whole = config.entry(register).or_insert(0);
        *whole = *whole & !mask | value << shift & mask;
    }
}

impl Clock for Hardware {
    fn now(&self) -> u64 {
        self.now.get()
    }

    fn wait(&self, nanoseconds: u64) {
        self.now.set(self.now.get() + nanoseconds);
    }
}

/// The registers behind the BAR.
#[derive(Default)]
struct Bars(RefCell<BTreeMap<u64, u64>>);

impl BarAccess for Bars {
    fn read(&self, _: &Bar, offset: u64, _: BarWidth) -> u64 {
        self.0.borrow().get(&offset).copied().unwrap_or(0)
    }

    fn write(&self, _: &Bar, offset: u64, _: BarWidth, value: u64) {
        self.0.borrow_mut().insert(offset, value);
    }
}

/// The guest's page tables.
struct Pages;

impl BarView for Pages {
    fn map(&self, _: Bdf, bar: &Bar, address: u64) -> Result<(), Fault> {
        println!("  page tables: BAR {} answers at {address:#x}", bar.index);
        Ok(())
    }

    fn unmap(&self, _: Bdf, bar: &Bar, address: u64) -> Result<(), Fault> {
        println!("  page tables: BAR {} is gone from {address:#x}", bar.index);
        Ok(())
    }
}

/// The interrupt controller, and the way into the guest.
struct Vectors;

impl IrqBackend for Vectors {
    fn allocate(&mut self, kind: IrqKind, count: u32) -> Result<u32, Fault> {
        println!("  interrupts: {kind:?} is on, with {count} vectors");
        Ok(count)
    }

    fn free(&mut self, kind: IrqKind) {
        println!("  interrupts: {kind:?} is off");
    }

    fn connect(&mut self, _: IrqKind, vector: u32, message: Option<Message>) -> Result<(), Fault> {
        let data = message.map_or(0, |message| message.data);
        println!("  interrupts: vector {vector} raises {data:#x} in the guest");
        Ok(())
    }

    fn disconnect(&mut self, _: IrqKind, vector: u32) {
        println!("  interrupts: vector {vector} is silent");
    }

    fn hold_line(&mut self, _: bool) {}

    fn line_asserted(&mut self) -> bool {
        false
    }

    fn signal(&mut self, _: u32, number: u32) {
        println!("  interrupts: vector {number} is delivered");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let hardware = Hardware::new();
    let all = SegmentWindow {
        segment: 0,
        bus_start: 0,
        bus_end: 0,
    };
    let found = scan(&hardware, &[all]);
    for function in &found.functions {
        println!("found {} with {} BARs", function.bdf, function.bars.len());
    }
    let table = FunctionTable::new(found.functions);
    let host = HostParts {
        config: &hardware,
        clock: &hardware,
        hooks: NoHooks,
    };
    let bars = Bars::default();
    let machine = Machine {
        table: &table,
        host: &host,
        bars: &bars,
        view: &Pages,
        page: 0x1000,
    };

    // What the guest sees: BAR 0 at an address of its own, which it may change within a window.
    let function = table.function(CONTROLLER).ok_or("it is not there")?;
    let seen: Vec<VirtualBar> = function
        .bars
        .iter()
        .map(|bar| VirtualBar {
            host: *bar,
            address: 0xc000_0000,
        })
        .collect();
    for part in seen
        .iter()
        .flat_map(|bar| mappable(&bar.host, function.msix.as_ref(), 0x1000))
    {
        println!("can be mapped: {part:#x?}");
    }
    let options = Options {
        offer: Offer::RESET,
        bars: &seen,
        policy: BarPolicy::Movable(Windows {
            memory: 0xc000_0000..0xe000_0000,
            ..Windows::default()
        }),
        ..Options::default()
    };
    println!("opening it:");
    let mut device = PciDevice::open(machine, CONTROLLER, Vectors, &options, true)?;
    let region = device.region(0).ok_or("no BAR 0")?;
    println!(
        "BAR 0: {:#x} bytes, mappable: {}",
        region.size,
        region.flags.contains(RegionFlags::MAP)
    );

    println!("the guest moves its BAR, and programs vector 1:");
    device.write(index::CONFIG, 0x10, &0xc100_0000_u32.to_le_bytes())?;
    device.write(index::CONFIG, 0x04, &[6, 0])?;
    device.write(0, TABLE + 16, &0xfee0_0000_u64.to_le_bytes())?;
    device.write(0, TABLE + 24, &0x41_u64.to_le_bytes())?;
    device.write(index::CONFIG, u64::from(MSIX) + 2, &[0, 0x80])?;
    println!("an interrupt arrives:");
    device.arrived(IrqKind::MsiX, 1);

    println!("the guest puts its BAR over its own memory: it answers nowhere:");
    device.write(index::CONFIG, 0x10, &0x0010_0000_u32.to_le_bytes())?;
    device.write(index::CONFIG, 0x10, &0xc200_0000_u32.to_le_bytes())?;

    println!("the guest resets it:");
    device.write(index::CONFIG, u64::from(EXPRESS) + 8, &[0, 0x80])?;
    device.write(index::CONFIG, 0x04, &[6, 0])?;

    println!("closing:");
    let closed = device.close(LastReset::Now)?;
    println!("reset by {:?}", closed.reset);
    Ok(())
}
