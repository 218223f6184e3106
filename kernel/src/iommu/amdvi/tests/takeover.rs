//! Taking units over: off, on, locked, broken; and what firmware claims.

use super::unit::Mischief;
use super::*;
use crate::pci::{ConfigAccess, Width};
use std::cell::RefCell;
use std::collections::BTreeMap;

#[test]
fn everything_is_in_quarantine_from_the_start() {
    let (fake, unit) = ready();
    for id in 0..=u16::MAX {
        assert_eq!(fake.access(id, 0x1000, id % 2 == 0), None);
    }
    for id in 0..0x100 {
        assert_eq!(fake.interrupt(id, 0x30), None);
    }
    assert!(unit.broken().is_none());
    let control = fake.0.borrow().registers[&0x18];
    assert_eq!(control & 0x1405, 0x1405, "on, logs, takes commands, coherent");
}

#[test]
fn a_unit_that_firmware_left_on_is_never_off_and_forgets_what_it_knew() {
    for at_once in [true, false] {
        let fake = Fake::new(4000);
        let mut old = init(&fake, bus_0(), PLAIN).unwrap();
        let mapping = vfio_core::Mapping {
            iova: Iova(0x1000),
            host: HostPhys(0x7000_0000),
            size: 0x1000,
            access: vfio_core::Access::READ,
        };
        let id = device(3).requester_id();
        old.attach(DomainId(1), device(3)).unwrap();
        old.map(DomainId(1), mapping).unwrap();
        assert!(fake.access(id, 0x1000, false).is_some(), "it is cached");
        {
            let mut state = fake.0.borrow_mut();
            // Firmware's taste: segments, guest tables, large interrupt entries.
            let odd = 1 << 34 | 1 << 16 | 1 << 17;
            *state.registers.get_mut(&0x18).unwrap() |= odd;
            if !at_once {
                state.registers.insert(0x30, 0);
            }
        }
        let watched = Watch {
            fake: fake.clone(),
            off: RefCell::new(false),
        };
        let unit = AmdVi::init(watched, bus_0(), Capability::of(PLAIN), 0).unwrap();
        assert_eq!(fake.access(id, 0x1000, false), None);
        assert!(!*unit.hardware.off.borrow(), "it was off in between");
        assert_eq!(fake.0.borrow().registers[&0x18] >> 16 & 3, 0);
        core::mem::forget(old);
    }
}

/// Notices when a unit that is on is turned off.
#[derive(Debug)]
struct Watch {
    fake: Fake,
    off: RefCell<bool>,
}

impl Hardware for Watch {
    type Frames = Fake;
    fn frames(&self) -> Fake {
        self.fake.clone()
    }
    fn read(&mut self, register: u16) -> u64 {
        Hardware::read(&mut self.fake, register)
    }
    fn write(&mut self, register: u16, value: u64) {
        if register == 0x18 && value & 1 == 0 {
            *self.off.borrow_mut() = true;
        }
        Hardware::write(&mut self.fake, register, value);
    }
    fn allocate(&mut self, bytes: u64) -> Option<HostPhys> {
        Hardware::allocate(&mut self.fake, bytes)
    }
    fn free(&mut self, at: HostPhys, bytes: u64) {
        Hardware::free(&mut self.fake, at, bytes);
    }
    fn load(&self, at: HostPhys) -> u64 {
        self.fake.load(at)
    }
    fn store(&mut self, at: HostPhys, value: u64) {
        self.fake.store(at, value);
    }
    fn store_half(&mut self, at: HostPhys, value: u32) {
        self.fake.store_half(at, value);
    }
    fn wait(&self, nanoseconds: u64) {
        self.fake.wait(nanoseconds);
    }
}

#[test]
fn a_unit_that_cannot_be_taken_over_says_why() {
    let failure = |mischief: &[Mischief]| {
        let fake = Fake::new(4000);
        fake.0.borrow_mut().mischief = mischief.to_vec();
        init(&fake, bus_0(), PLAIN).map(drop).unwrap_err()
    };
    assert_eq!(
        failure(&[Mischief::Stuck(0x18, u64::MAX)]),
        InitError::NoAnswer(FUNCTION)
    );
    assert!(matches!(
        failure(&[Mischief::Stuck(0x30, 3 << 10)]),
        InitError::Levels { .. }
    ));
    for register in [0x00, 0x08, 0x10, 0x18, 0x20] {
        let error = failure(&[Mischief::Stuck(register, 0x1_0000_0000_1000)]);
        assert!(
            matches!(error, InitError::Register { register: found, .. } if found == register),
            "{error}"
        );
    }
    for (bit, on) in [(1 << 4, true), (1 << 4, false), (1 << 3, true), (1 << 3, false)] {
        let error = failure(&[Mischief::Status(bit, on)]);
        assert!(matches!(error, InitError::State { .. }), "{error}");
    }
    assert!(matches!(
        failure(&[Mischief::Deaf(0)]),
        InitError::Commands {
            cause: Misbehaviour::Timeout { .. },
            ..
        }
    ));
    assert!(matches!(
        failure(&[Mischief::Illegal(8)]),
        InitError::Commands {
            cause: Misbehaviour::IllegalCommand { .. },
            ..
        }
    ));
}

#[test]
fn without_memory_nothing_is_held_and_the_unit_is_as_it_was() {
    // The empty table, two pages of entries, commands, their cell, two pages of log.
    for left in 0..7 {
        let fake = Fake::new(left);
        let error = init(&fake, bus_0(), PLAIN).map(drop);
        assert_eq!(error, Err(InitError::NoMemory(FUNCTION)), "{left}");
        let state = fake.0.borrow();
        assert!(state.memory.is_empty());
        assert_eq!(state.registers.keys().collect::<Vec<_>>(), [&0x30]);
    }
    assert!(init(&Fake::new(7), bus_0(), PLAIN).is_ok());
}

fn memory(first: u16, last: u16, exclusion: bool) -> IvrsMemory {
    IvrsMemory {
        first: 0xa000_0000,
        last: 0xa000_ffff,
        segment: 0,
        requesters: (first, last),
        unity: !exclusion,
        read: true,
        write: true,
        exclusion,
    }
}

#[test]
fn what_firmware_claims_is_given_to_nobody() {
    let system = Settings::NMI | Settings::INIT;
    let firmware = firmware(
        vec![
            range(3, 0xff, None, Settings::empty()),
            range(0xa0, 0xa0, None, system),
            range(0x100, 0x1ff, Some(0x18), Settings::empty()),
            range(0x130, 0x130, None, Settings::empty()),
        ],
        vec![memory(0x20, 0x28, false), memory(0x30, 0x30, true)],
    );
    let claimed = |id, known: &[u16]| {
        let known: Vec<Bdf> = known.iter().map(|id| Bdf::from_requester_id(0, *id)).collect();
        firmware.claimed(Bdf::from_requester_id(0, id), &known)
    };
    let region = Some(Claimed::Memory {
        first: 0xa000_0000,
        last: 0xa000_ffff,
    });
    assert_eq!(
        [0x1f, 0x20, 0x24, 0x28, 0x29, 0x30].map(|id| claimed(id, &[])),
        [None, region, region, region, None, region]
    );
    assert_eq!(claimed(0xa0, &[]), Some(Claimed::Messages));
    // An alias that PCI explains is none of firmware's making; a later entry takes it back.
    assert_eq!(claimed(0x108, &[]), Some(Claimed::Alias(0x18)));
    assert_eq!(claimed(0x108, &[0x108, 0x18]), None);
    assert_eq!(claimed(0x130, &[]), None);
    assert_eq!(firmware.last_id(0), 0x130);
    assert_eq!(firmware.last_id(5), 0x5ff);

    let fake = Fake::new(4000);
    let mut unit = init(&fake, firmware, PLAIN).unwrap();
    let southbridge = Bdf::from_requester_id(0, 0xa0);
    assert_eq!(
        unit.attach(DomainId(1), southbridge),
        Err(Error::Claimed(southbridge))
    );
    // It passes what firmware says, and no memory.
    let base = fake.0.borrow().registers[&0] & 0x000f_ffff_ffff_f000;
    let word = fake.load(HostPhys(base + 0xa0 * 32 + 16));
    assert_eq!(word, 1 | 1 << 56 | 1 << 58);
    assert_eq!(fake.access(0xa0, 0x1000, true), None);
    // Exclusion ranges do not pass.
    assert_eq!(fake.access(0x30, 0xa000_0000, false), None);
}

#[test]
fn special_devices_are_named_and_not_covered() {
    let special = IvhdEntry {
        target: IvhdTarget::IoApic {
            id: 2,
            requester: 0xa0,
        },
        settings: Settings::NMI.bits(),
    };
    let firmware = firmware(vec![special], Vec::new());
    assert!(!firmware.covers(Bdf::from_requester_id(0, 0xa0)));
    assert_eq!(firmware.settings(0xa0), Settings::NMI);
}

#[test]
fn limits_are_those_of_four_levels() {
    let (_, unit) = ready();
    let limits = unit.limits();
    assert_eq!(limits.page_sizes, 1 << 12 | 1 << 21 | 1 << 30 | 1 << 39);
    assert_eq!(limits.apertures[0].last(), Iova((1 << 48) - 1));
    assert_eq!(AmdVi::<Fake>::reserved().len(), 2);
}

/// Configuration space of one function.
struct Config(RefCell<BTreeMap<u16, u32>>);

impl ConfigAccess for Config {
    fn read(&self, _: Bdf, offset: u16, _: Width) -> u32 {
        self.0.borrow().get(&offset).copied().unwrap_or(0)
    }
    fn write(&self, _: Bdf, offset: u16, _: Width, value: u32) {
        self.0.borrow_mut().insert(offset, value);
    }
}

#[test]
fn the_capability_must_be_an_iommus_and_agree() {
    let read = |words: &[(u16, u32)]| {
        let config = Config(RefCell::new(words.iter().copied().collect()));
        let result = Capability::read(&config, &bus_0());
        (result, config.0.into_inner())
    };
    let header = 0x0f | 3 << 16 | 1 << 27;
    let (result, _) = read(&[(0x40, header), (0x44, 0xfeb8_0001)]);
    assert_eq!(result, Ok(Capability::of(Header::from_bits_retain(header))));
    // Off: it is turned on where the table says.
    let (result, after) = read(&[(0x40, header)]);
    assert!(result.is_ok());
    assert_eq!((after[&0x44], after[&0x48]), (0xfeb8_0001, 0));
    let (result, _) = read(&[(0x40, header), (0x44, 0xfea0_0001), (0x48, 1)]);
    assert_eq!(
        result,
        Err(InitError::Base {
            function: FUNCTION,
            table: 0xfeb8_0000,
            capability: 0x1_fea0_0000
        })
    );
    for wrong in [0, u32::MAX, 0x10 | 3 << 16, 0x0f | 2 << 16] {
        assert!(matches!(
            read(&[(0x40, wrong)]).0,
            Err(InitError::NoCapability { .. })
        ));
    }
}
