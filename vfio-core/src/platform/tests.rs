//! Platform devices against a bus that records, fails, and has lines with a level.

#![expect(
    clippy::unwrap_used,
    reason = "a test that asks for what is not there should panic"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::DeviceId;
use crate::device::{
    AccessError, Device, IrqAction, IrqError, IrqFlags, IrqInfo, IrqRange, IrqRequest, IrqSink, MemoryType,
    RegionFlags,
};
use crate::testing::cases;

const ID: PlatformId = PlatformId(3);
const BASE: u64 = 0xfe00_0000;

#[derive(Default)]
struct Bus {
    memory: RefCell<BTreeMap<u64, u8>>,
    accesses: RefCell<Vec<(u64, u16)>>,
    /// Connected lines, and whether each is masked at the controller.
    lines: RefCell<BTreeMap<u32, bool>>,
    signals: RefCell<Vec<u32>>,
    resets: Cell<u32>,
    /// The call that fails from now on, counted down; 0 fails.
    fails_in: Cell<Option<u32>>,
}

impl Bus {
    fn step(&self) -> Result<(), Fault> {
        match self.fails_in.get() {
            Some(0) => Err(Fault::TimedOut),
            Some(left) => {
                self.fails_in.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn masked(&self, index: u32) -> Option<bool> {
        self.lines.borrow().get(&index).copied()
    }
}

impl PlatformBus for Bus {
    fn read(&self, address: HostPhys, width: Width) -> u32 {
        assert!(address.0.is_multiple_of(width.bytes().into()), "not aligned");
        self.accesses.borrow_mut().push((address.0, width.bytes()));
        let memory = self.memory.borrow();
        let byte = |at| u32::from(memory.get(&(address.0 + at)).copied().unwrap_or(0));
        (0..u64::from(width.bytes())).map(|at| byte(at) << (8 * at)).sum()
    }

    fn write(&self, address: HostPhys, width: Width, value: u32) {
        assert!(address.0.is_multiple_of(width.bytes().into()), "not aligned");
        self.accesses.borrow_mut().push((address.0, width.bytes()));
        for (at, byte) in (0..width.bytes()).zip(value.to_le_bytes()) {
            self.memory.borrow_mut().insert(address.0 + u64::from(at), byte);
        }
    }

    fn reset(&self, device: PlatformId) -> Result<(), Fault> {
        assert_eq!(device, ID);
        self.resets.set(self.resets.get() + 1);
        self.step()
    }

    fn connect(&self, _: PlatformId, index: u32, _: Trigger) -> Result<(), Fault> {
        self.step()?;
        assert_eq!(
            self.lines.borrow_mut().insert(index, false),
            None,
            "connected twice"
        );
        Ok(())
    }

    fn disconnect(&self, _: PlatformId, index: u32) -> Result<(), Fault> {
        self.step()?;
        assert!(self.lines.borrow_mut().remove(&index).is_some(), "not connected");
        Ok(())
    }

    fn mask(&self, _: PlatformId, index: u32) -> Result<(), Fault> {
        self.step()?;
        self.lines
            .borrow_mut()
            .entry(index)
            .and_modify(|masked| *masked = true);
        Ok(())
    }

    fn unmask(&self, _: PlatformId, index: u32) -> Result<(), Fault> {
        self.step()?;
        assert_eq!(
            self.lines.borrow_mut().insert(index, false),
            Some(true),
            "was not masked"
        );
        Ok(())
    }
}

impl IrqSink for Bus {
    fn signal(&self, device: DeviceId, index: u32, number: u32) {
        assert_eq!((device, number), (ID.into(), 0));
        self.signals.borrow_mut().push(index);
    }
}

fn region(kind: RegionKind, address: u64, size: u64) -> PlatformRegion {
    PlatformRegion {
        kind,
        address: HostPhys(address),
        size,
        writable: true,
    }
}

fn description(reset: ResetKind) -> Description {
    Description {
        id: ID,
        regions: vec![
            region(RegionKind::Memory, BASE, 0x1000),
            region(RegionKind::Ports, 0x3f8, 8),
            region(RegionKind::Memory, BASE + 0x1002, 0x101),
            PlatformRegion {
                writable: false,
                ..region(RegionKind::Memory, BASE + 0x2000, 0x1000)
            },
        ],
        irqs: vec![Trigger::Level, Trigger::Edge],
        reset,
        requesters: Vec::new(),
    }
}

fn open(bus: &Bus) -> PlatformDevice<'_, Bus> {
    PlatformDevice::open(description(ResetKind::Optional), bus, bus).unwrap()
}

fn request(index: u32, action: IrqAction<'_>) -> IrqRequest<'_> {
    let count = u32::from(!matches!(action, IrqAction::Disable));
    IrqRequest {
        index,
        range: IrqRange { start: 0, count },
        action,
    }
}

#[test]
fn regions_show_what_may_be_done_with_them() {
    let bus = Bus::default();
    let device = open(&bus);
    let of = |index| device.region(index).unwrap();
    assert_eq!(of(0).flags, RegionFlags::all());
    let part = of(0).mappable[0];
    assert_eq!(
        (part.address.0, part.size, part.memory_type),
        (BASE, 0x1000, MemoryType::Device)
    );
    assert_eq!((of(1).flags, of(1).size), (RegionFlags::empty(), 8));
    assert_eq!(
        of(2).flags,
        RegionFlags::READ | RegionFlags::WRITE,
        "no whole pages"
    );
    assert_eq!(of(3).flags, RegionFlags::READ, "mapping would make it writable");
    assert_eq!(device.region(4), None);
    assert_eq!(device.id(), ID.into());
}

#[test]
fn accesses_are_made_in_aligned_steps_and_ports_are_not_touched() {
    let bus = Bus::default();
    let mut device = open(&bus);
    let data: Vec<u8> = (1..=12).collect();
    device.write(0, 1, &data).unwrap();
    let steps: Vec<_> = bus
        .accesses
        .take()
        .into_iter()
        .map(|(at, len)| (at - BASE, len))
        .collect();
    assert_eq!(steps, [(1, 1), (2, 2), (4, 4), (8, 4), (12, 1)]);
    let mut back = [0; 12];
    device.read(0, 1, &mut back).unwrap();
    assert_eq!(back[..], data);
    bus.accesses.take();
    // What counts is where the register is, not how far into the region.
    device.read(2, 0, &mut [0; 4]).unwrap();
    assert_eq!(bus.accesses.take(), [(BASE + 0x1002, 2), (BASE + 0x1004, 2)]);
    let denied = Err(AccessError::Denied);
    assert_eq!(device.read(1, 0, &mut [0; 1]), denied);
    assert_eq!(device.write(1, 0, &[0]), denied);
    assert_eq!(device.write(3, 0, &[0]), denied);
    assert_eq!(device.read(9, 0, &mut [0; 1]), Err(AccessError::NoRegion(9)));
    for (offset, len) in [(0x1000, 1), (0xfff, 2), (u64::MAX, 8)] {
        let outside = AccessError::Outside { offset, size: 0x1000 };
        assert_eq!(device.read(0, offset, &mut vec![0; len]), Err(outside));
    }
    assert_eq!(bus.accesses.take(), []);
}

#[test]
fn an_open_fails_only_by_a_reset_that_is_required() {
    for (reset, error, not_reset, resets) in [
        (ResetKind::None, false, None, 0),
        (ResetKind::Optional, false, Some(Fault::TimedOut), 1),
        (ResetKind::Required, true, None, 1),
    ] {
        let bus = Bus::default();
        bus.fails_in.set(Some(0));
        let opened = PlatformDevice::open(description(reset), &bus, &bus);
        assert_eq!(bus.resets.get(), resets);
        match opened {
            Ok(device) => {
                assert!(!error);
                assert_eq!(device.not_reset(), not_reset);
                assert_eq!(device.can_reset(), reset != ResetKind::None);
            }
            Err(problem) => {
                let fault = Fault::TimedOut;
                assert!(error && problem == OpenError::Reset { device: ID, fault });
            }
        }
    }
    let bus = Bus::default();
    let mut device = PlatformDevice::open(description(ResetKind::None), &bus, &bus).unwrap();
    assert_eq!(device.reset(), Err(Fault::Unknown));
    assert_eq!(open(&bus).reset(), Ok(()));
}

#[test]
fn descriptions_that_make_no_sense_are_refused() {
    let check = |regions: Vec<PlatformRegion>| {
        let described = Description {
            regions,
            ..description(ResetKind::None)
        };
        described.check()
    };
    let memory = |address, size| region(RegionKind::Memory, address, size);
    let ports = |address, size| region(RegionKind::Ports, address, size);
    assert_eq!(check(vec![memory(BASE, 1), ports(BASE & 0xffff, 1)]), Ok(()));
    assert_eq!(check(vec![ports(0xfff8, 8), memory(0xfff8, 8)]), Ok(()));
    for bad in [
        memory(BASE, 0),
        memory(u64::MAX, 2),
        ports(0xfff9, 8),
        ports(u64::MAX, 1),
    ] {
        let error = check(vec![memory(0, 1), bad]).unwrap_err();
        assert!(
            matches!(error, DescriptionError::Region { index: 1, .. }),
            "{error}"
        );
        assert!(
            PlatformDevice::open(
                Description {
                    regions: vec![bad],
                    ..description(ResetKind::None)
                },
                &Bus::default(),
                &Bus::default(),
            )
            .is_err()
        );
    }
    let overlap = check(vec![memory(0, 16), memory(16, 16), memory(31, 2)]);
    let expected = DescriptionError::Overlap {
        device: ID,
        first: 1,
        second: 2,
    };
    assert_eq!(overlap, Err(expected));
}

#[test]
fn a_level_line_is_masked_when_it_signals_until_its_owner_unmasks_it() {
    let bus = Bus::default();
    let mut device = open(&bus);
    let lines = device.lines();
    let flags = IrqFlags::SIGNAL | IrqFlags::MASKABLE | IrqFlags::AUTOMASKED;
    assert_eq!(device.irq(0), Some(IrqInfo { count: 1, flags }));
    device.set_irqs(&request(0, IrqAction::Signal(&[true]))).unwrap();
    lines.arrived(0, &bus, &bus).unwrap();
    assert!(lines.masked(0) && bus.masked(0) == Some(true));
    lines.arrived(0, &bus, &bus).unwrap();
    device.set_irqs(&request(0, IrqAction::Trigger)).unwrap();
    assert_eq!(*bus.signals.borrow(), [0], "once, while masked");
    device.set_irqs(&request(0, IrqAction::Unmask)).unwrap();
    device.set_irqs(&request(0, IrqAction::Unmask)).unwrap();
    assert_eq!(bus.masked(0), Some(false));
    device.set_irqs(&request(0, IrqAction::Trigger)).unwrap();
    assert_eq!(*bus.signals.borrow(), [0, 0]);
    assert!(lines.masked(0), "a request is as good as the line");
}

#[test]
fn an_edge_line_is_never_masked() {
    let bus = Bus::default();
    let mut device = open(&bus);
    assert_eq!(
        device.irq(1),
        Some(IrqInfo {
            count: 1,
            flags: IrqFlags::SIGNAL
        })
    );
    device.set_irqs(&request(1, IrqAction::Signal(&[true]))).unwrap();
    for _ in 0..2 {
        device.lines().arrived(1, &bus, &bus).unwrap();
    }
    assert_eq!(*bus.signals.borrow(), [1, 1]);
    assert_eq!(bus.masked(1), Some(false));
    assert_eq!(
        device.set_irqs(&request(1, IrqAction::Mask)),
        Err(IrqError::Unsupported)
    );
    assert_eq!(
        device.set_irqs(&request(2, IrqAction::Trigger)),
        Err(IrqError::NoIndex(2))
    );
}

#[test]
fn a_line_without_a_sink_signals_nobody() {
    let bus = Bus::default();
    let mut device = open(&bus);
    for action in [
        IrqAction::Disable,
        IrqAction::Trigger,
        IrqAction::Signal(&[false]),
        IrqAction::Mask,
        IrqAction::Unmask,
    ] {
        device.set_irqs(&request(0, action)).unwrap();
    }
    device.lines().arrived(0, &bus, &bus).unwrap();
    device.lines().arrived(1, &bus, &bus).unwrap();
    assert_eq!(device.lines().arrived(2, &bus, &bus), Err(Fault::Unknown));
    assert!(bus.signals.borrow().is_empty() && bus.lines.borrow().is_empty());
}

#[test]
fn what_fails_changes_nothing() {
    let fails = |device: &mut PlatformDevice<'_, Bus>, bus: &Bus, action| {
        bus.fails_in.set(Some(0));
        let result = device.set_irqs(&request(0, action));
        bus.fails_in.set(None);
        assert_eq!(result, Err(IrqError::Fault(Fault::TimedOut)), "{action:?}");
    };
    let bus = Bus::default();
    let mut device = open(&bus);
    fails(&mut device, &bus, IrqAction::Signal(&[true]));
    device.set_irqs(&request(0, IrqAction::Trigger)).unwrap();
    assert!(bus.signals.borrow().is_empty());
    device.set_irqs(&request(0, IrqAction::Signal(&[true]))).unwrap();
    fails(&mut device, &bus, IrqAction::Mask);
    fails(&mut device, &bus, IrqAction::Trigger);
    assert!(!device.lines().masked(0) && bus.signals.borrow().is_empty());
    device.set_irqs(&request(0, IrqAction::Mask)).unwrap();
    fails(&mut device, &bus, IrqAction::Unmask);
    assert!(device.lines().masked(0));
    fails(&mut device, &bus, IrqAction::Disable);
    assert!(device.lines().masked(0) && bus.masked(0) == Some(true));
    device.set_irqs(&request(0, IrqAction::Disable)).unwrap();
    assert_eq!(bus.masked(0), None);
}

#[test]
fn a_failure_at_each_step_of_a_close_is_an_error_and_the_reset_is_tried() {
    for at in 0..=3 {
        let bus = Bus::default();
        let mut device = open(&bus);
        for index in 0..2 {
            device
                .set_irqs(&request(index, IrqAction::Signal(&[true])))
                .unwrap();
        }
        bus.fails_in.set(Some(at));
        assert_eq!(device.close().is_ok(), at == 3, "{at}");
        assert_eq!(bus.resets.get(), 2, "{at}: one at the open, one at the close");
    }
    let bus = Bus::default();
    let device = PlatformDevice::open(description(ResetKind::None), &bus, &bus).unwrap();
    assert_eq!(device.close(), Ok(()));
    assert_eq!(bus.resets.get(), 0);
}

proptest! {
    #![proptest_config(cases(256))]

    /// Against a model of a line with a level: nothing is lost or repeated, and the controller's mask is what the line says.
    #[test]
    fn a_level_line_follows_its_model(acts in proptest::collection::vec(0..7_u8, 0..40)) {
        let bus = Bus::default();
        let mut device = open(&bus);
        let lines = device.lines();
        let (mut on, mut masked, mut signals) = (false, false, 0);
        for act in acts {
            match act {
                0 => {
                    device.set_irqs(&request(0, IrqAction::Signal(&[true]))).unwrap();
                    masked &= on;
                    on = true;
                }
                1 => {
                    device.set_irqs(&request(0, IrqAction::Signal(&[false]))).unwrap();
                    (on, masked) = (false, false);
                }
                2 => {
                    device.set_irqs(&request(0, IrqAction::Disable)).unwrap();
                    (on, masked) = (false, false);
                }
                3 => {
                    device.set_irqs(&request(0, IrqAction::Mask)).unwrap();
                    masked |= on;
                }
                4 => {
                    device.set_irqs(&request(0, IrqAction::Unmask)).unwrap();
                    masked = false;
                }
                5 | 6 => {
                    if act == 5 {
                        device.set_irqs(&request(0, IrqAction::Trigger)).unwrap();
                    } else if on && !masked {
                        lines.arrived(0, &bus, &bus).unwrap();
                    }
                    signals += usize::from(on && !masked);
                    masked |= on;
                }
                _ => {}
            }
            prop_assert_eq!(bus.masked(0), on.then_some(masked));
            prop_assert_eq!(lines.masked(0), masked);
            prop_assert_eq!(bus.signals.borrow().len(), signals);
        }
        prop_assert_eq!(device.close(), Ok(()));
        prop_assert!(bus.lines.borrow().is_empty());
    }

    /// Any access reads and writes exactly its bytes, or nothing.
    #[test]
    fn accesses_touch_what_they_name(region in 0..5_u32, offset in 0..0x1010_u64, data in proptest::collection::vec(1..=u8::MAX, 0..24)) {
        let bus = Bus::default();
        let mut device = open(&bus);
        let size = device.region(region).map_or(0, |info| info.size);
        let written = device.write(region, offset, &data);
        let good = matches!(region, 0 | 2) && offset + data.len() as u64 <= size;
        prop_assert_eq!(written.is_ok(), good);
        let base = if region == 0 { BASE } else { BASE + 0x1002 };
        let expected: BTreeMap<u64, u8> = (base + offset..).zip(data.iter().copied()).filter(|_| good).collect();
        prop_assert_eq!(&*bus.memory.borrow(), &expected);
        if good {
            let mut back = vec![0; data.len()];
            device.read(region, offset, &mut back).unwrap();
            prop_assert_eq!(back, data);
        }
    }
}
