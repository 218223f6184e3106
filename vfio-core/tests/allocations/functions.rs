//! What a guest does to its open function takes no memory: interrupts programmed and masked, BARs moved, decoding, sleep, reset.

use std::cell::Cell;

use vfio_core::Fault;
use vfio_core::pci::Bdf;
use vfio_core::pci::assigned::{AddressMap, BarWidth, Hardware, OpenFunction};
use vfio_core::pci::config::{Bar, ConfigAccess, SegmentWindow, Width, scan};
use vfio_core::pci::device::PowerState;
use vfio_core::pci::irq::{IrqBackend, IrqKind, Message};
use vfio_core::pci::region::index;
use vfio_core::pci::vconfig::{BarPolicy, Offer, Options, VirtualBar, Windows};

const FUNCTION: Bdf = Bdf::new(0, 0, 4, 0);
const EXPRESS: u16 = 0x40;
const MSIX: u16 = 0x80;
const PM: u16 = 0x90;
const MSI: u16 = 0xa0;

/// Configuration space as 32-bit registers; the BAR has 16 KiB.
struct Config([Cell<u32>; 64]);

impl Config {
    fn new() -> Self {
        let space = Self([const { Cell::new(0) }; 64]);
        let registers = [
            (0, 0x0010_1b36),
            (4, 0x0010_0002),
            (8, 0x0108_0201),
            (0x10, 0xfe60_0000),
            (0x34, EXPRESS.into()),
            (0x3c, 0x100),
            (EXPRESS, 0x0002_8010),
            (EXPRESS + 4, 1 << 28),
            (MSIX, 0x003f_9011),
            (MSIX + 4, 0x2000),
            (MSIX + 8, 0x3000),
            (PM, 0x0003_a001),
            // Four vectors, masked one by one.
            (MSI, 0x0104_0005),
        ];
        for (register, value) in registers {
            space.0[usize::from(register / 4)].set(value);
        }
        space
    }
}

impl ConfigAccess for Config {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        let mask = u32::MAX >> (32 - 8 * u32::from(width.bytes()));
        if function != FUNCTION {
            return mask;
        }
        let whole = self.0.get(usize::from(offset / 4)).map_or(0, Cell::get);
        whole >> (8 * (offset & 3)) & mask
    }

    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        let mask = (u32::MAX >> (32 - 8 * u32::from(width.bytes()))) << (8 * (offset & 3));
        let writable = match offset & !3 {
            4 => 0x0406,
            0x10 => 0xffff_c000,
            _ => 0,
        };
        if let Some(register) = self
            .0
            .get(usize::from(offset / 4))
            .filter(|_| function == FUNCTION)
        {
            let changes = mask & writable;
            register.set(register.get() & !changes | value << (8 * (offset & 3)) & changes);
        }
    }
}

/// A machine that does what it is asked, and an owner that sees the BARs by a map.
struct Fake {
    config: Config,
    map: AddressMap,
    state: PowerState,
    connected: u32,
}

impl IrqBackend for Fake {
    fn allocate(&mut self, _: IrqKind, count: u32) -> Result<u32, Fault> {
        Ok(count)
    }

    fn free(&mut self, _: IrqKind) {}

    fn connect(&mut self, _: IrqKind, _: u32, _: Option<Message>) -> Result<(), Fault> {
        self.connected += 1;
        Ok(())
    }

    fn disconnect(&mut self, _: IrqKind, _: u32) {}

    fn hold_line(&mut self, _: bool) {}

    fn line_asserted(&mut self) -> bool {
        false
    }

    fn signal(&mut self, _: u32, _: u32) {}
}

impl Hardware for Fake {
    type Config = Config;

    fn config(&self) -> &Config {
        &self.config
    }

    fn wait(&self, _: u64) {}

    fn read_bar(&mut self, _: &Bar, _: u64, _: BarWidth) -> u64 {
        0
    }

    fn write_bar(&mut self, _: &Bar, _: u64, _: BarWidth, _: u64) {}

    fn map(&mut self, bar: &Bar, address: u64) -> Result<(), Fault> {
        self.map.place(0, bar, address).map_err(|_| Fault::BadAddress)
    }

    fn unmap(&mut self, bar: &Bar, _: u64) -> Result<(), Fault> {
        self.map.remove(0, bar.index);
        Ok(())
    }

    fn can_reset(&self) -> bool {
        true
    }

    fn reset(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn set_power_state(&mut self, state: PowerState) -> Result<bool, Fault> {
        self.state = state;
        Ok(state == PowerState::D0)
    }

    fn power_state(&mut self) -> Result<PowerState, Fault> {
        Ok(self.state)
    }
}

#[test]
fn a_guest_at_its_function_takes_no_memory() {
    let config = Config::new();
    let window = SegmentWindow {
        segment: 0,
        bus_start: 0,
        bus_end: 0,
    };
    let found = scan(&config, &[window]);
    let function = &found.functions[0];
    assert_eq!(function.msix.map(|found| found.vectors), Some(64));
    let bars = [VirtualBar {
        host: function.bars[0],
        address: 0xc000_0000,
    }];
    let options = Options {
        offer: Offer::POWER | Offer::RESET,
        bars: &bars,
        policy: BarPolicy::Movable(Windows {
            memory: 0xc000_0000..0xe000_0000,
            ..Windows::default()
        }),
        msi_vectors: 4,
        ..Options::default()
    };
    let mut fake = Fake {
        map: AddressMap::new(1),
        config,
        state: PowerState::D0,
        connected: 0,
    };
    let mut open = OpenFunction::new(&fake.config, function, &options, true);
    let mut failed = 0;
    let taken = super::taken_by(|| {
        let mut ok = |result: Result<(), _>| failed += u32::from(result.is_err());
        let mut config = |open: &mut OpenFunction, fake: &mut Fake, at: u16, bytes: &[u8]| {
            ok(open.write(fake, index::CONFIG, at.into(), bytes));
        };
        for round in 0..3_u32 {
            config(&mut open, &mut fake, 4, &[6, 0]);
            config(
                &mut open,
                &mut fake,
                0x10,
                &(0xc000_0000 + round * 0x10_0000).to_le_bytes(),
            );
            config(&mut open, &mut fake, MSIX + 2, &[0, 0x80]);
            for vector in 0..64 {
                let entry = 0x2000 + 16 * vector;
                let _ = open.write(&mut fake, 0, entry, &0xfee0_0000_u64.to_le_bytes());
                let _ = open.write(&mut fake, 0, entry + 8, &(0x30 + vector).to_le_bytes());
                let _ = open.write(&mut fake, 0, entry + 12, &[1, 0, 0, 0]);
                let _ = open.write(&mut fake, 0, entry + 12, &[0, 0, 0, 0]);
            }
            config(&mut open, &mut fake, MSIX + 2, &[0, 0xc0]);
            config(&mut open, &mut fake, MSIX + 2, &[0, 0x80]);
            open.arrived(&mut fake, IrqKind::MsiX, 5);
            config(&mut open, &mut fake, PM + 4, &[3, 0]);
            config(&mut open, &mut fake, PM + 4, &[0, 0]);
            config(&mut open, &mut fake, MSIX + 2, &[0, 0]);
            config(&mut open, &mut fake, MSI + 2, &[0x21, 0]);
            config(&mut open, &mut fake, MSI + 2, &[0, 0]);
            config(&mut open, &mut fake, EXPRESS + 8, &[0, 0x80]);
        }
    });
    assert_eq!(failed, 0, "accesses");
    // Each vector at its unmasking twice, at the end of the mask, and after each sleep; MSI's four.
    assert!(fake.connected >= 3 * (64 * 4 + 4), "{}", fake.connected);
    assert_eq!(taken, 0, "allocations while a guest runs");
}
