//! BARs that a guest moves, whatever it writes: what is mapped is its own, is where it may be, and is where it was put.

use super::super::fixture::{Bytes, NVME, bar32, bar64, capability, function};
use super::super::layout::{ECAM, MemoryRegion};
use super::super::msix::{Route, direct};
use super::super::{NoRoute, Source};
use super::*;
use crate::addr::HostPhys;
use crate::pci::{Bar, MsiX, TableLocation};
use proptest::prelude::*;
use vfio_core::Fault;
use vfio_core::pci::assigned::Answer;
use vfio_core::pci::device::PowerState;
use vfio_core::pci::irq::IrqKind;

/// A machine that has these BARs, and knows what of them is mapped.
struct Machine {
    config: Bytes,
    bars: Vec<Bar>,
    mapped: Vec<MemoryRegion>,
    state: PowerState,
}

impl Machine {
    fn owns(&self, at: HostPhys, size: u64) -> bool {
        let mut bars = self.bars.iter();
        bars.any(|bar| bar.address <= at.0 && at.0 + size <= bar.address + bar.size)
    }
}

impl DeviceBackend for Machine {
    fn config(&self) -> &(dyn ConfigAccess + 'static) {
        &self.config
    }
    fn wait(&self, _: u64) {}
    fn mmio_read(&mut self, at: HostPhys, bytes: u8) -> u64 {
        assert!(self.owns(at, bytes.into()), "reads {at} of somebody else");
        at.0
    }
    fn mmio_write(&mut self, at: HostPhys, bytes: u8, _: u64) {
        assert!(self.owns(at, bytes.into()), "writes {at} of somebody else");
    }
    fn enable(&mut self, _: Bdf, _: IrqKind, _: bool) -> Result<(), Fault> {
        Ok(())
    }
    fn route(&mut self, _: Bdf, _: Source, _: Route) -> Result<(), NoRoute> {
        Ok(())
    }
    fn unroute(&mut self, _: Bdf, _: Source) {}
    fn map(&mut self, region: MemoryRegion) {
        assert!(
            self.owns(region.hpa, region.size),
            "maps {region:x?} of somebody else"
        );
        let over = |other: &MemoryRegion| {
            other.gpa.0 < region.gpa.0 + region.size && region.gpa.0 < other.gpa.0 + other.size
        };
        assert!(!self.mapped.iter().any(over), "{region:x?} lies over another");
        self.mapped.push(region);
    }
    fn unmap(&mut self, region: MemoryRegion) {
        let at = self.mapped.iter().position(|other| *other == region);
        self.mapped.remove(at.expect("it was mapped"));
    }
    fn reset(&mut self, _: Bdf) -> Result<(), Fault> {
        assert!(self.mapped.len() < 6, "nothing of the function is mapped");
        Ok(())
    }
    fn set_power_state(&mut self, _: Bdf, state: PowerState) -> Result<bool, Fault> {
        self.state = state;
        Ok(false)
    }
    fn power_state(&mut self, _: Bdf) -> Result<PowerState, Fault> {
        Ok(self.state)
    }
}

/// What the guest has written, of one BAR.
#[derive(Clone, Debug)]
struct Written {
    function: usize,
    host: Bar,
    low: u32,
    high: u32,
}

impl Written {
    fn address(&self) -> Option<u64> {
        let mask = !(self.host.size - 1);
        let wide = matches!(self.host.kind, crate::pci::BarKind::Memory { wide: true, .. });
        let value = u64::from(if wide { self.high } else { 0 }) << 32 | u64::from(self.low);
        let width = if wide { u64::MAX } else { u32::MAX.into() };
        (value & mask != mask & width).then_some(value & mask)
    }

    fn may(&self, address: u64) -> bool {
        let end = address.saturating_add(self.host.size);
        (address >= BAR_WINDOW && end <= BAR_WINDOW_END)
            || (address >= HIGH_BAR_WINDOW && end <= HIGH_BAR_WINDOW_END)
    }
}

struct Rig {
    bus: PciBus,
    machine: Machine,
    written: Vec<Written>,
    /// Memory is decoded, for each function.
    decodes: [bool; 2],
    msix: MsiX,
}

impl Rig {
    fn new() -> Self {
        let location = |offset, length| TableLocation {
            bar: 0,
            offset,
            length,
        };
        let msix = MsiX {
            offset: 0x40,
            vectors: 4,
            table: location(0x2000, 64),
            pending: location(0x2800, 8),
        };
        let first = function(|f| {
            f.bars = vec![bar64(0, 0xfe00_0000, 0x4000), bar32(2, 0xfe80_0000, 0x1000)];
            f.capabilities = vec![capability(0x11, 0x40)];
            f.msix = Some(msix);
        });
        let second = function(|f| {
            f.bdf = Bdf::new(0, 1, 0, 1);
            f.bars = vec![bar32(0, 0xfeb0_0100, 0x100), bar64(2, 0x8_0000_0000, 0x10_0000)];
        });
        let config = Bytes::default();
        for bdf in [NVME, second.bdf] {
            config.put(bdf, 4, &[2]);
        }
        let mut bus = PciBus::plan(
            &config,
            &[&first, &second],
            Wiring {
                cpus: 1,
                lines: false,
            },
        )
        .unwrap();
        let mut machine = Machine {
            config,
            bars: first.bars.iter().chain(&second.bars).copied().collect(),
            mapped: Vec::new(),
            state: PowerState::D0,
        };
        bus.show(&mut machine);
        let mut written = Vec::new();
        for (function, found) in [&first, &second].into_iter().enumerate() {
            for host in &found.bars {
                let register = Self::register(function, *host, 0);
                let low = bus.config_read(&mut machine, register, 4).unwrap();
                written.push(Written {
                    function,
                    host: *host,
                    low,
                    high: 0,
                });
            }
        }
        Self {
            bus,
            machine,
            written,
            decodes: [true; 2],
            msix,
        }
    }

    fn register(function: usize, bar: Bar, half: u64) -> u64 {
        (1 << 15 | (function as u64) << 12) + 0x10 + 4 * u64::from(bar.index) + 4 * half
    }

    fn write(&mut self, offset: u64, bytes: u8, value: u32) {
        self.bus
            .config_write(&mut self.machine, offset, bytes, value)
            .unwrap();
    }

    /// Everything that must hold at any time.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let wanting: Vec<(Written, u64)> = self
            .written
            .iter()
            .filter(|bar| self.decodes[bar.function])
            .filter_map(|bar| Some((bar.clone(), bar.address()?)))
            .filter(|(bar, at)| bar.may(*at))
            .collect();
        let answers = |bar: &Written, at: u64| {
            self.bus.map.find(at)
                == Some(Answer {
                    function: bar.function,
                    bar: bar.host.index,
                    offset: 0,
                })
        };
        let (placed, others): (Vec<_>, Vec<_>) = wanting.iter().partition(|(bar, at)| answers(bar, *at));
        prop_assert_eq!(
            self.bus.map.len(),
            placed.len(),
            "what does not want to answer does"
        );
        let over = |(bar, at): &(Written, u64), (other, there): &(Written, u64)| {
            *at < there + other.host.size && *there < at + bar.host.size
        };
        for other in others {
            prop_assert!(
                placed.iter().any(|bar| over(bar, other)),
                "nothing is in the way of {:x?}",
                other
            );
        }
        let mut expected: Vec<MemoryRegion> = Vec::new();
        for (bar, at) in placed {
            let msix = (bar.function == 0).then_some(&self.msix);
            expected.extend(direct(&bar.host, msix, *at));
        }
        let key = |region: &MemoryRegion| region.gpa.0;
        expected.sort_by_key(key);
        let mut mapped = self.machine.mapped.clone();
        mapped.sort_by_key(key);
        prop_assert_eq!(&mapped, &expected);
        for region in mapped {
            let (first, end) = (region.gpa.0, region.gpa.0 + region.size);
            let low = BAR_WINDOW <= first && end <= BAR_WINDOW_END && end <= ECAM;
            prop_assert!(
                low || HIGH_BAR_WINDOW <= first && end <= HIGH_BAR_WINDOW_END,
                "{:x?}",
                region
            );
            prop_assert!(region.hpa.0 != 0xfe00_2000, "the table");
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Act {
    Bar(usize, bool, u32),
    Command(usize, bool),
    Probe(u64, u8, bool),
    Any(u64, u32),
}

/// Places that mean something: RAM, both ends of the windows, ECAM, APICs, and few enough within that BARs meet.
fn low() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => (0..24_u32).prop_map(|page| 0xc000_0000 + page * 0x1000),
        1 => (0..4_u32).prop_map(|page| 0xc000_0000 + page * 0x10_0000),
        3 => prop::sample::select(vec![
            0, 0x1000, 0x10_0000, 0xbfff_f000, 0xbfff_ff00, 0xdfff_f000, 0xdff0_0000, 0xe000_0000, 0xfec0_0000, 0xfee0_0000,
            0xffff_f000, u32::MAX,
        ]),
        1 => any::<u32>(),
    ]
}

fn high() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => Just(0),
        2 => prop::sample::select(vec![0xf, 0x10, 0x1f, 0x20, u32::MAX]),
        1 => any::<u32>(),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..4_usize, low()).prop_map(|(bar, value)| Act::Bar(bar, false, value)),
        3 => (0..4_usize, high()).prop_map(|(bar, value)| Act::Bar(bar, true, value)),
        3 => (0..2_usize, any::<bool>()).prop_map(|(function, on)| Act::Command(function, on)),
        2 => (low(), high(), 0..4_u32, any::<bool>())
            .prop_map(|(low, high, width, write)| Act::Probe(u64::from(high) << 32 | u64::from(low), 1 << width, write)),
        1 => (0x40..0x400_u64, any::<u32>()).prop_map(|(offset, value)| Act::Any(offset * 4, value)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_is_mapped_is_the_guests_own_and_where_it_was_put(acts in prop::collection::vec(act(), 1..60)) {
        let mut rig = Rig::new();
        rig.check()?;
        for act in acts {
            match act {
                Act::Bar(at, upper, value) => {
                    let bar = &mut rig.written[at];
                    let wide = matches!(bar.host.kind, crate::pci::BarKind::Memory { wide: true, .. });
                    let upper = upper && wide;
                    *(if upper { &mut bar.high } else { &mut bar.low }) = value;
                    let register = Rig::register(bar.function, bar.host, u64::from(upper));
                    rig.write(register, 4, value);
                }
                Act::Command(function, on) => {
                    rig.decodes[function] = on;
                    rig.write((1 << 15 | (function as u64) << 12) + 4, 2, if on { 6 } else { 4 });
                }
                Act::Probe(gpa, bytes, write) => {
                    let gpa = GuestPhys(gpa & !(u64::from(bytes) - 1));
                    if write {
                        let _ = rig.bus.bar_write(&mut rig.machine, gpa, bytes, 0x1234_5678);
                    } else {
                        let _ = rig.bus.bar_read(&mut rig.machine, gpa, bytes);
                    }
                }
                // Capabilities, known or not.
                Act::Any(offset, value) => rig.write(1 << 15 | offset, 4, value),
            }
            rig.check()?;
        }
    }
}

#[test]
fn a_bar_that_was_in_the_way_is_followed_by_the_one_that_waits() {
    let mut rig = Rig::new();
    let first = Rig::register(0, rig.written[1].host, 0);
    let waiting = Rig::register(1, rig.written[0].host, 0);
    rig.write(first, 4, 0xc100_0000);
    rig.write(waiting, 4, 0xc100_0800);
    let answer = |rig: &Rig| {
        rig.bus
            .map
            .find(0xc100_0800)
            .map(|answer| (answer.function, answer.bar))
    };
    assert_eq!(answer(&rig), Some((0, 2)), "who was there first");
    let read = rig.bus.bar_read(&mut rig.machine, GuestPhys(0xc100_0800), 4);
    assert_eq!(read, Ok(0xfe80_0800));
    rig.write(first, 4, 0xc200_0000);
    assert_eq!(answer(&rig), Some((1, 0)));
    let read = rig.bus.bar_read(&mut rig.machine, GuestPhys(0xc100_0810), 4);
    assert_eq!(read, Ok(0xfeb0_0110));
}
