//! A whole function as a device, on a machine that obeys and on one that does not.

#![expect(
    clippy::unwrap_used,
    reason = "a test that asks for what is not there should panic"
)]

mod failing;
mod interrupts;
mod life;
mod moving;
mod random;

use super::*;
use crate::device::{Device, IrqAction, IrqError, IrqRange, IrqRequest};
use crate::fault::Fault;
use crate::id::DeviceId;
use crate::pci::Bdf;
use crate::pci::config::{Bar, BarKind, Registers};
use crate::pci::device::{FunctionError, FunctionTable, LastReset};
use crate::pci::irq::{IrqBackend, Message};
use crate::pci::spec::express::DEVICE_CAPABILITIES_FLR;
use crate::pci::spec::{Command, header};
use crate::pci::vconfig::{BarPolicy, VirtualBar, find_rom};
use crate::testing::pci::{Machine as Fake, Model, bdf, found};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

const AT: &str = "00:04.0";
/// Offsets of the capabilities of [`model`].
const EXPRESS: u16 = 0x40;
const MSIX: u16 = 0x7c;
const PM: u16 = 0x88;
const MSI: u16 = 0x90;
const VPD: u16 = 0xa8;
/// Its MSI-X table and pending bits, in BAR 0.
const TABLE: u64 = 0x2000;
const PENDING: u64 = 0x3000;
const VECTORS: u64 = 4;

/// A function with a memory and an I/O BAR, a ROM, MSI and MSI-X with four vectors each, INTx, FLR, VPD and power management.
fn model(keeps_state: bool) -> Model {
    let mut model = Model::endpoint()
        .bar(0, 4, 0x4000, 0xfe60_0000)
        .bar(2, 1, 0x40, 0xc000)
        .express(0, DEVICE_CAPABILITIES_FLR)
        .capability(0x11, &[3, 0, 0x00, 0x20, 0, 0, 0x00, 0x30, 0, 0])
        .writable(MSIX, 0xc000_0000)
        .power_management(keeps_state)
        .capability(
            0x05,
            &[
                0x84, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
        )
        .writable(MSI, 0x0071_0000)
        .capability(0x03, &[0, 0x80, 0x12, 0x34, 0x56, 0x78])
        .writable(header::ROM_ENDPOINT, 0xffff_0001);
    model.put32(header::ROM_ENDPOINT, 0xfe70_0000);
    model.bytes[usize::from(header::INTERRUPT_PIN)] = 1;
    model
}

/// Everything around a function.
struct World {
    fake: Fake,
    table: FunctionTable,
    bars: Bars,
    shown: Shown,
}

/// What is behind the BARs: bytes.
#[derive(Default)]
struct Bars {
    bytes: RefCell<BTreeMap<(u8, u64), u8>>,
    accesses: RefCell<Vec<(u8, u64, BarWidth)>>,
}

/// Hardware as BARs see it.
struct Behind<'w>(&'w Fake, &'w Bars);

impl Behind<'_> {
    fn check(&self, bar: &Bar, offset: u64, width: BarWidth) {
        assert!(offset.is_multiple_of(width.bytes().into()), "not aligned");
        assert!(offset + u64::from(width.bytes()) <= bar.size, "outside");
        let registers = Registers::new(self.0, bdf(AT));
        let on = if bar.is_memory() {
            Command::MEMORY
        } else {
            Command::IO
        };
        assert!(registers.command().contains(on), "nothing decodes that");
        assert_eq!(registers.u16(PM + 4) & 3, 0, "asleep");
        if bar.index == crate::pci::vconfig::ROM {
            assert_eq!(
                registers.u32(header::ROM_ENDPOINT) & 1,
                1,
                "the ROM does not answer"
            );
        }
        self.1.accesses.borrow_mut().push((bar.index, offset, width));
    }
}

impl BarAccess for Behind<'_> {
    fn read(&self, bar: &Bar, offset: u64, width: BarWidth) -> u64 {
        self.check(bar, offset, width);
        let bytes = self.1.bytes.borrow();
        let byte = |at| u64::from(bytes.get(&(bar.index, offset + at)).copied().unwrap_or(0));
        (0..u64::from(width.bytes())).map(|at| byte(at) << (8 * at)).sum()
    }

    fn write(&self, bar: &Bar, offset: u64, width: BarWidth, value: u64) {
        self.check(bar, offset, width);
        let table = TABLE..TABLE + 16 * VECTORS;
        assert!(
            bar.index != 0 || !table.contains(&offset),
            "the guest wrote the hardware's table"
        );
        assert!(
            bar.index != 0 || offset != PENDING,
            "the guest wrote pending bits"
        );
        for (at, byte) in (0..u64::from(width.bytes())).zip(value.to_le_bytes()) {
            self.1.bytes.borrow_mut().insert((bar.index, offset + at), byte);
        }
    }
}

/// What the owner sees of the BARs, and where.
#[derive(Default)]
struct Shown {
    now: RefCell<BTreeMap<u8, u64>>,
    stubborn: Cell<bool>,
    changes: Cell<u32>,
}

impl Shown {
    fn any(&self) -> bool {
        !self.now.borrow().is_empty()
    }
}

impl BarView for Shown {
    fn map(&self, _: Bdf, bar: &Bar, address: u64) -> Result<(), Fault> {
        assert!(bar.is_memory(), "ports are not mapped");
        let before = self.now.borrow_mut().insert(bar.index, address);
        assert_eq!(before, None, "given twice");
        self.changes.set(self.changes.get() + 1);
        Ok(())
    }

    fn unmap(&self, _: Bdf, bar: &Bar, address: u64) -> Result<(), Fault> {
        if self.stubborn.get() {
            return Err(Fault::Busy);
        }
        let before = self.now.borrow_mut().remove(&bar.index);
        assert_eq!(before, Some(address), "taken from where it was not");
        self.changes.set(self.changes.get() + 1);
        Ok(())
    }
}

/// The hardware's interrupts: MSI and MSI-X are turned on and off in the function, too.
struct Backend<'w> {
    fake: &'w Fake,
    kind: Option<IrqKind>,
    allocated: u32,
    connected: BTreeSet<u32>,
    held: bool,
    asserted: bool,
    signals: Vec<(u32, u32)>,
    fails_in: Option<u32>,
}

impl<'w> Backend<'w> {
    fn new(fake: &'w Fake) -> Self {
        Self {
            fake,
            kind: None,
            allocated: 0,
            connected: BTreeSet::new(),
            held: true,
            asserted: false,
            signals: Vec::new(),
            fails_in: None,
        }
    }

    fn may_fail(&mut self) -> Result<(), Fault> {
        match self.fails_in {
            Some(0) => {
                self.fails_in = None;
                Err(Fault::NoResources)
            }
            Some(left) => {
                self.fails_in = Some(left - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn turn(&self, kind: IrqKind, on: bool) {
        let (at, bit) = match kind {
            IrqKind::Intx => return,
            IrqKind::Msi => (MSI + 2, 1),
            IrqKind::MsiX => (MSIX + 2, 0x8000),
        };
        let registers = Registers::new(self.fake, bdf(AT));
        let now = registers.u16(at) & !bit;
        registers.set_u16(at, if on { now | bit } else { now });
    }
}

impl IrqBackend for Backend<'_> {
    fn allocate(&mut self, kind: IrqKind, count: u32) -> Result<u32, Fault> {
        self.may_fail()?;
        assert!(self.kind.is_none_or(|one| one == kind), "two kinds at once");
        self.turn(kind, true);
        self.kind = Some(kind);
        self.allocated = self.allocated.max(count);
        Ok(count)
    }

    fn free(&mut self, kind: IrqKind) {
        assert_eq!(self.kind.take(), Some(kind));
        assert!(self.connected.is_empty() && self.held, "freed in use");
        self.turn(kind, false);
        self.allocated = 0;
    }

    fn connect(&mut self, kind: IrqKind, vector: u32, _: Option<Message>) -> Result<(), Fault> {
        assert!(self.kind == Some(kind) && vector < self.allocated);
        let result = self.may_fail();
        if result.is_ok() {
            self.connected.insert(vector);
        } else {
            self.connected.remove(&vector);
        }
        result
    }

    fn disconnect(&mut self, kind: IrqKind, vector: u32) {
        assert_eq!(self.kind, Some(kind));
        assert!(self.connected.remove(&vector), "{vector} is silent already");
    }

    fn hold_line(&mut self, held: bool) {
        assert_eq!(self.kind, Some(IrqKind::Intx));
        self.held = held;
    }

    fn line_asserted(&mut self) -> bool {
        self.asserted
    }

    fn signal(&mut self, index: u32, number: u32) {
        self.signals.push((index, number));
    }
}

type Open<'w> = PciDevice<'w, Fake, Behind<'w>, Shown, Backend<'w>>;

impl World {
    fn new(model: Model) -> Self {
        let fake = Fake::new([(bdf(AT), model)]);
        let scan = found(&fake);
        assert_eq!(scan.problems, []);
        Self {
            table: FunctionTable::new(scan.functions),
            fake,
            bars: Bars::default(),
            shown: Shown::default(),
        }
    }

    fn behind(&self) -> Behind<'_> {
        Behind(&self.fake, &self.bars)
    }

    fn open<'w>(&'w self, bars: &'w Behind<'w>) -> Open<'w> {
        self.try_open(bars).unwrap()
    }

    fn open_with<'w>(&'w self, bars: &'w Behind<'w>, policy: BarPolicy) -> Open<'w> {
        self.try_open_with(bars, policy).unwrap()
    }

    fn try_open<'w>(&'w self, bars: &'w Behind<'w>) -> Result<Open<'w>, FunctionError> {
        self.try_open_with(bars, BarPolicy::Fixed)
    }

    fn try_open_with<'w>(
        &'w self,
        bars: &'w Behind<'w>,
        policy: BarPolicy,
    ) -> Result<Open<'w>, FunctionError> {
        let function = &self.table.functions()[0];
        let rom = find_rom(&self.fake, bdf(AT)).unwrap();
        let shown = function.bars.iter().copied().chain([rom]);
        let bars_shown: Vec<VirtualBar> = shown
            .map(|host| VirtualBar {
                host,
                address: host.address & 0x7fff_ffff,
            })
            .collect();
        let options = Options {
            offer: Offer::LINE | Offer::POWER | Offer::RESET,
            bars: &bars_shown,
            policy,
            msi_vectors: 4,
            ..Options::default()
        };
        let machine = Machine {
            table: &self.table,
            host: &self.fake,
            bars,
            view: &self.shown,
            page: 0x1000,
        };
        PciDevice::open(machine, bdf(AT), Backend::new(&self.fake), &options, false)
    }

    fn registers(&self) -> Registers<'_, Fake> {
        Registers::new(&self.fake, bdf(AT))
    }

    fn resets(&self) -> u32 {
        self.fake.resets(bdf(AT))
    }
}

fn set(device: &mut Open<'_>, offset: u16, bytes: &[u8]) -> Result<(), AccessError> {
    Device::write(device, index::CONFIG, offset.into(), bytes)
}

fn get(device: &mut Open<'_>, offset: u16) -> u16 {
    let mut bytes = [0; 2];
    Device::read(device, index::CONFIG, offset.into(), &mut bytes).unwrap();
    u16::from_le_bytes(bytes)
}

/// Turns on what the bits of the command register say.
fn command(device: &mut Open<'_>, command: u16) -> Result<(), AccessError> {
    set(device, header::COMMAND, &command.to_le_bytes())
}

/// Programs an MSI-X entry, not masked.
fn entry(device: &mut Open<'_>, vector: u64, data: u32) {
    let at = TABLE + 16 * vector;
    Device::write(device, 0, at, &0xfee0_0000_u64.to_le_bytes()).unwrap();
    let rest = u64::from(data).to_le_bytes();
    Device::write(device, 0, at + 8, &rest).unwrap();
}

/// Asks for interrupts.
fn ask(device: &mut Open<'_>, index: u32, action: IrqAction<'_>) -> Result<(), IrqError> {
    let count = u32::from(action != IrqAction::Disable);
    device.set_irqs(&IrqRequest {
        index,
        range: IrqRange { start: 0, count },
        action,
    })
}

/// P19: nothing of the owner is left that could act.
fn assert_closed(world: &World) {
    let registers = world.registers();
    assert_eq!(registers.command(), Command::INTX_DISABLE);
    assert_eq!(registers.u16(MSIX + 2) & 0x8000, 0, "MSI-X");
    assert_eq!(registers.u16(MSI + 2) & 1, 0, "MSI");
    assert!(!world.shown.any(), "still mapped");
    assert_eq!(registers.u32(header::ROM_ENDPOINT) & 1, 0, "the ROM");
}

#[test]
fn regions_are_those_of_vfio() {
    let world = World::new(model(true));
    let behind = world.behind();
    let device = world.open(&behind);
    let region = |index| device.region(index).unwrap();
    assert_eq!((region(0).size, region(2).size), (0x4000, 0x40));
    assert_eq!(
        (region(1).size, region(3).size, region(index::VGA).size),
        (0, 0, 0)
    );
    assert_eq!(
        (region(index::ROM).size, region(index::CONFIG).size),
        (0x1_0000, 0x1000)
    );
    assert!(device.region(index::COUNT).is_none());
    let parts: Vec<(u64, u64)> = region(0)
        .mappable
        .iter()
        .map(|part| (part.offset, part.size))
        .collect();
    assert_eq!(parts, [(0, 0x2000)], "without the table and the pending bits");
    assert_eq!(device.id(), DeviceId::Pci(bdf(AT)));
    let counts: Vec<Option<u32>> = (0..6)
        .map(|index| device.irq(index).map(|info| info.count))
        .collect();
    assert_eq!(counts, [Some(1), Some(4), Some(4), Some(1), Some(1), None]);
    assert!(device.can_reset());
    device.close(LastReset::Now).unwrap();
    assert_closed(&world);
}

#[test]
fn bars_answer_while_they_are_decoded_in_the_widths_that_were_asked_for() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = world.open(&behind);
    let mut eight = [0; 8];
    assert_eq!(Device::read(&mut device, 0, 0, &mut eight), Err(AccessError::Off));
    command(&mut device, 3).unwrap();
    Device::write(&mut device, 0, 0x1006, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]).unwrap();
    Device::write(&mut device, 2, 4, &[12; 8]).unwrap();
    let widths = world.bars.accesses.take();
    let expected = [
        (0, 0x1006, BarWidth::Word),
        (0, 0x1008, BarWidth::Qword),
        (0, 0x1010, BarWidth::Byte),
        (2, 4, BarWidth::Dword),
        (2, 8, BarWidth::Dword),
    ];
    assert_eq!(widths, expected);
    Device::read(&mut device, 0, 0x1008, &mut eight).unwrap();
    assert_eq!(eight, [3, 4, 5, 6, 7, 8, 9, 10]);
    // Outside, absent, and not to be written.
    let outside = |offset, size| Err(AccessError::Outside { offset, size });
    assert_eq!(
        Device::read(&mut device, 0, 0x3ffc, &mut eight),
        outside(0x3ffc, 0x4000)
    );
    assert_eq!(
        Device::read(&mut device, 0, u64::MAX, &mut eight),
        outside(u64::MAX, 0x4000)
    );
    assert_eq!(Device::read(&mut device, 1, 0, &mut eight), outside(0, 0));
    assert_eq!(
        Device::write(&mut device, 7, 0xffc, &eight),
        outside(0xffc, 0x1000)
    );
    assert_eq!(Device::write(&mut device, 6, 0, &eight), Err(AccessError::Denied));
    assert_eq!(Device::write(&mut device, 8, 0, &eight), Err(AccessError::Denied));
    assert_eq!(
        Device::read(&mut device, 9, 0, &mut eight),
        Err(AccessError::NoRegion(9))
    );
    device.close(LastReset::Later).unwrap();
    assert_closed(&world);
}

#[test]
fn the_rom_answers_for_the_read_only() {
    let world = World::new(model(true));
    world.bars.bytes.borrow_mut().insert((6, 1), 0xaa);
    let behind = world.behind();
    let mut device = world.open(&behind);
    command(&mut device, 2).unwrap();
    let mut two = [0; 2];
    Device::read(&mut device, index::ROM, 0, &mut two).unwrap();
    assert_eq!(two, [0, 0xaa]);
    assert_eq!(world.registers().u32(header::ROM_ENDPOINT), 0xfe70_0000);
    device.close(LastReset::Now).unwrap();
}

#[test]
fn product_data_is_read_and_not_written() {
    let world = World::new(model(true));
    let behind = world.behind();
    let mut device = world.open(&behind);
    set(&mut device, VPD + 2, &[0, 0]).unwrap();
    assert_eq!(
        (get(&mut device, VPD + 2), get(&mut device, VPD + 4)),
        (0x8000, 0x3412)
    );
    set(&mut device, VPD + 4, &[9, 9, 9, 9]).unwrap();
    set(&mut device, VPD + 2, &[0, 0x80]).unwrap();
    assert_eq!(get(&mut device, VPD + 2), 0x8000, "never done");
    assert_eq!(world.registers().u32(VPD + 4), 0x7856_3412);
    device.close(LastReset::Now).unwrap();
}

#[test]
fn an_io_bar_is_not_a_memory_bar() {
    let world = World::new(model(true));
    let io = world.table.functions()[0].bar(2).unwrap();
    assert_eq!(io.kind, BarKind::Io);
}
