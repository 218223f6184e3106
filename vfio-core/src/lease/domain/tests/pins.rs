//! Unmaps beside pins: who is told, how often, and what becomes of the unmap; beside a model.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::string::ToString;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use super::*;
use crate::domain::{IovaRange, PinError};
use crate::lease::{Release, SoftwareDma, UnmapFailure, UnmapListener};
use crate::mediated::MediatedId;
use crate::testing::cases;
use crate::testing::memory::Memory;

/// How a device takes it that memory goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// It lets go of all that it has there.
    Obeys,
    /// It does so when it is told for the `n`th time.
    Slow(u32),
    /// It does nothing.
    Keeps,
}

/// A device that notes what it is told, and holds up its habit.
struct Device {
    habit: Habit,
    told: Mutex<Vec<IovaRange>>,
}

impl Device {
    fn new(habit: Habit) -> Arc<Self> {
        let told = Mutex::default();
        Arc::new(Self { habit, told })
    }

    fn told(&self) -> usize {
        self.told.lock().unwrap().len()
    }
}

impl UnmapListener for Device {
    fn unmapping(&self, range: IovaRange, release: &Release<'_>) {
        let mut told = self.told.lock().unwrap();
        told.push(range);
        let enough = match self.habit {
            Habit::Obeys => true,
            Habit::Slow(times) => told.len() as u32 >= times,
            Habit::Keeps => false,
        };
        if enough {
            release.all();
        }
    }
}

#[test]
fn who_has_pinned_what_goes_is_told_and_nobody_else() {
    let table = table();
    let domain = table
        .domain(GUEST, Vec::from([map(0, 4), map(4, 4), map(8, 1)]))
        .unwrap();
    let _lease = open(&table, &pair(), &domain);
    let memory = Memory::with(HOST, 1);
    let (one, two) = (Device::new(Habit::Slow(3)), Device::new(Habit::Obeys));
    let first = domain.software(MediatedId(1), &memory, one.clone()).unwrap();
    let second = domain.software(MediatedId(2), &memory, two.clone()).unwrap();
    first.pin(Iova(PAGE), 2 * PAGE, RW).unwrap();
    first.pin(Iova(PAGE), PAGE, RW).unwrap();
    second.pin(Iova(4 * PAGE), PAGE, RW).unwrap();
    assert_eq!(domain.unmap(Iova(8 * PAGE), PAGE), Ok(PAGE));
    assert_eq!((one.told(), two.told()), (0, 0), "it has nothing there");
    assert_eq!(domain.unmap(Iova(0), 4 * PAGE), Ok(4 * PAGE));
    assert_eq!((one.told(), two.told()), (3, 0));
    assert_eq!(one.told.lock().unwrap()[0], pages(0, 3));
    assert_eq!(first.pinned_pages(), 1, "the other device's");
    assert_eq!(domain.unmap_all(), Ok(4 * PAGE));
    assert_eq!((one.told(), two.told()), (3, 1));
    assert_in_step(&table, &domain);
}

#[test]
fn a_device_that_does_not_let_go_is_named_and_nothing_is_unmapped() {
    let table = table();
    let domain = table.domain(GUEST, Vec::from([map(0, 4), map(4, 4)])).unwrap();
    let _lease = open(&table, &pair(), &domain);
    let memory = Memory::with(HOST, 8);
    let (keeps, obeys) = (Device::new(Habit::Keeps), Device::new(Habit::Obeys));
    let first = domain.software(MediatedId(1), &memory, keeps.clone()).unwrap();
    let second = domain.software(MediatedId(2), &memory, obeys.clone()).unwrap();
    first.pin(Iova(2 * PAGE), PAGE, RW).unwrap();
    second.pin(Iova(6 * PAGE), PAGE, RW).unwrap();
    calls(&table);
    let failure = domain.unmap_all().unwrap_err();
    assert_eq!(
        failure.to_string(),
        "mediated.1 still has the page at 0x2000 pinned, after it was told 10 times that 0x0 to 0x7fff is unmapped"
    );
    assert_eq!((keeps.told(), obeys.told()), (10, 1));
    assert_eq!(calls(&table), [], "the IOMMU heard nothing of it");
    assert_in_step(&table, &domain);
    first.write(Iova(2 * PAGE), &[1]).unwrap();
    second.pin(Iova(6 * PAGE), PAGE, RW).unwrap();
    first.unpin(Iova(2 * PAGE), PAGE).unwrap();
    assert_eq!(domain.unmap_all(), Ok(8 * PAGE));
}

/// A device that tries everything while it is told.
struct Busybody {
    dma: Mutex<Option<SoftwareDma<Arc<Memory>>>>,
    seen: Mutex<Vec<Result<(), PinError>>>,
}

impl crate::domain::HostMemory for Arc<Memory> {
    fn read(&self, from: HostPhys, data: &mut [u8]) -> Result<(), crate::Fault> {
        (**self).read(from, data)
    }

    fn write(&self, to: HostPhys, data: &[u8]) -> Result<(), crate::Fault> {
        (**self).write(to, data)
    }
}

impl UnmapListener for Busybody {
    fn unmapping(&self, range: IovaRange, release: &Release<'_>) {
        let dma = self.dma.lock().unwrap();
        let dma = dma.as_ref().unwrap();
        dma.write(range.first(), &[7]).unwrap();
        let again = dma.pin(range.first(), PAGE, RW).map(drop);
        self.seen.lock().unwrap().push(again);
        release.unpin(range.first(), PAGE).unwrap();
    }
}

#[test]
fn no_lock_is_held_while_a_device_is_told_and_it_cannot_pin_what_goes() {
    let table = table();
    let domain = table.domain(GUEST, Vec::from([map(0, 1), map(1, 1)])).unwrap();
    let device = Arc::new(Busybody {
        dma: Mutex::default(),
        seen: Mutex::default(),
    });
    let dma = domain
        .software(MediatedId(3), Arc::new(Memory::with(HOST, 2)), device.clone())
        .unwrap();
    dma.pin(Iova(0), PAGE, RW).unwrap();
    dma.pin(Iova(0), PAGE, RW).unwrap();
    *device.dma.lock().unwrap() = Some(dma);
    assert_eq!(domain.unmap(Iova(0), PAGE), Ok(PAGE));
    let unmapping = Err(PinError::Unmapping(pages(0, 0)));
    assert_eq!(
        *device.seen.lock().unwrap(),
        [unmapping, unmapping],
        "told until both pins were gone"
    );
    let dma = device.dma.lock().unwrap().take().unwrap();
    dma.pin(Iova(PAGE), PAGE, RW).unwrap();
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Pin {
        device: usize,
        page: u64,
        pages: u64,
    },
    Unpin {
        device: usize,
        page: u64,
        pages: u64,
    },
    Map {
        page: u64,
        pages: u64,
    },
    Unmap {
        page: u64,
        pages: u64,
    },
    /// A device is taken out, and comes again.
    Renew(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let place = (0usize..3, 0u64..12, 1u64..4);
    prop_oneof![
        4 => place.clone().prop_map(|(device, page, pages)| Op::Pin { device, page, pages }),
        3 => place.clone().prop_map(|(device, page, pages)| Op::Unpin { device, page, pages }),
        3 => place.clone().prop_map(|(_, page, pages)| Op::Map { page, pages }),
        3 => place.prop_map(|(_, page, pages)| Op::Unmap { page, pages }),
        1 => (0usize..3).prop_map(Op::Renew),
    ]
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn pins_are_what_the_model_counts(ops in prop::collection::vec(op(), 1..80), limit in 2usize..12) {
        const HABITS: [Habit; 3] = [Habit::Obeys, Habit::Keeps, Habit::Slow(2)];
        let table = table();
        let options = crate::lease::DomainOptions { pinned_pages: limit, ..Default::default() };
        let domain = table.domain_with(GUEST, Vec::new(), options).unwrap();
        let memory = Memory::with(HOST, 16);
        let mut devices = HABITS.map(Device::new);
        let enter = |device: usize, listener: Arc<Device>| {
            Some(domain.software(MediatedId(device as u32), &memory, listener).unwrap())
        };
        let mut handles = [0, 1, 2].map(|device| enter(device, devices[device].clone()));
        // Which mapping a page is of, and how often each device has pinned it.
        let mut mapped: BTreeMap<u64, usize> = BTreeMap::new();
        let mut pins: BTreeMap<(usize, u64), u32> = BTreeMap::new();
        for (at, op) in ops.into_iter().enumerate() {
            match op {
                Op::Pin { device, page, pages } => {
                    let range = page..page + pages;
                    let new = range.clone().filter(|page| !pins.contains_key(&(device, *page))).count();
                    let fits = range.clone().all(|page| mapped.contains_key(&page)) && pins.len() + new <= limit;
                    let result = handles[device].as_ref().unwrap().pin(Iova(page * PAGE), pages * PAGE, RW);
                    prop_assert_eq!(result.is_ok(), fits, "{:?}", result);
                    if let Ok(pieces) = result {
                        let total: u64 = pieces.iter().map(|piece| piece.size).sum();
                        prop_assert_eq!((pieces[0].host, total), (HostPhys(HOST + page * PAGE), pages * PAGE));
                        range.for_each(|page| *pins.entry((device, page)).or_default() += 1);
                    }
                }
                Op::Unpin { device, page, pages } => {
                    let range = page..page + pages;
                    let all = range.clone().all(|page| pins.contains_key(&(device, page)));
                    let result = handles[device].as_ref().unwrap().unpin(Iova(page * PAGE), pages * PAGE);
                    prop_assert_eq!(result.is_ok(), all);
                    if all {
                        range.for_each(|page| *pins.get_mut(&(device, page)).unwrap() -= 1);
                        pins.retain(|_, count| *count > 0);
                    }
                }
                Op::Map { page, pages } => {
                    if domain.map(map(page, pages)).is_ok() {
                        (page..page + pages).for_each(|page| assert_eq!(mapped.insert(page, at), None));
                    }
                }
                Op::Unmap { page, pages } => {
                    let range = page..page + pages;
                    let told = [0, 1, 2].map(|device: usize| devices[device].told());
                    let result = domain.unmap(Iova(page * PAGE), pages * PAGE);
                    if matches!(result, Err(UnmapFailure::Refused(_))) {
                        continue;
                    }
                    for device in 0..3 {
                        let pinned = pins.keys().any(|(other, page)| *other == device && range.contains(page));
                        let more = devices[device].told() - told[device];
                        match HABITS[device] {
                            _ if !pinned => prop_assert_eq!(more, 0),
                            Habit::Keeps => prop_assert_eq!(more, 10),
                            Habit::Obeys => prop_assert_eq!(more, 1),
                            Habit::Slow(_) => prop_assert!((1..=2).contains(&more)),
                        }
                    }
                    pins.retain(|(device, page), _| !range.contains(page) || HABITS[*device] == Habit::Keeps);
                    let kept = pins.keys().find(|(_, page)| range.contains(page));
                    match (result, kept) {
                        (Ok(_), None) => mapped.retain(|page, _| !range.contains(page)),
                        (Err(UnmapFailure::Pinned { device, page, .. }), Some((kept, first))) => {
                            prop_assert_eq!((device, page), (MediatedId(*kept as u32), Iova(first * PAGE)));
                        }
                        (other, _) => return Err(TestCaseError::fail(format!("{other:?}"))),
                    }
                }
                Op::Renew(device) => {
                    handles[device] = None;
                    pins.retain(|(other, _), _| *other != device);
                    devices[device] = Device::new(HABITS[device]);
                    handles[device] = enter(device, devices[device].clone());
                }
            }
            prop_assert_eq!(handles[0].as_ref().unwrap().pinned_pages(), pins.len());
            // What is pinned is mapped, always.
            prop_assert!(pins.keys().all(|(_, page)| mapped.contains_key(page)));
            for page in 0..16 {
                prop_assert_eq!(domain.find(Iova(page * PAGE)).is_some(), mapped.contains_key(&page));
            }
        }
    }
}
