//! Nothing reaches more than it was given: memory, and interrupts.

use super::*;
use crate::addr::HostPhys;
use proptest::prelude::*;
use std::collections::BTreeMap;
use vfio_core::{Access, Mapping};

fn mapping(iova: u64, host: u64, size: u64, access: Access) -> Mapping {
    Mapping {
        iova: Iova(iova),
        host: HostPhys(host),
        size,
        access,
    }
}

const BOTH: Access = Access::READ.union(Access::WRITE);

fn span(first: u64, size: u64) -> IovaRange {
    IovaRange::new(Iova(first), size).unwrap()
}

#[test]
fn a_device_reaches_what_is_mapped_for_it_and_nothing_else() {
    let (fake, mut unit) = ready();
    let (a, b) = (DomainId(70_000), DomainId(9));
    unit.attach(a, device(3)).unwrap();
    unit.attach(b, device(4)).unwrap();
    unit.map(a, mapping(0x1000, 0x7000_1000, 0x2000, BOTH)).unwrap();
    unit.map(a, mapping(0x40_0000, 0x8000_0000, 2 << 20, Access::READ))
        .unwrap();
    unit.map(b, mapping(0x1000, 0x9000_0000, 0x1000, Access::WRITE))
        .unwrap();
    let (third, fourth) = (device(3).requester_id(), device(4).requester_id());
    assert_eq!(fake.access(third, 0x1008, true), Some(0x7000_1008));
    assert_eq!(fake.access(third, 0x2ff8, false), Some(0x7000_2ff8));
    assert_eq!(fake.access(third, 0x3000, false), None);
    assert_eq!(fake.access(third, 0x4f_0000, false), Some(0x800f_0000));
    assert_eq!(fake.access(third, 0x4f_0000, true), None);
    assert_eq!(fake.access(third, 1 << 48, false), None);
    assert_eq!(fake.access(fourth, 0x1000, true), Some(0x9000_0000));
    assert_eq!(fake.access(fourth, 0x1000, false), None);
    assert_eq!(fake.access(device(5).requester_id(), 0x1000, false), None);
    // What has no entry at all.
    assert_eq!(fake.access(0x0700, 0x1000, false), None);
    let mut events = Vec::new();
    let read = unit.events(|event| events.push(event)).unwrap();
    assert_eq!(read.events, 6);
    let expected = |requester: u16, address: u64, attempt, blocked| Event::Access {
        requester,
        address: Some(Iova(address)),
        attempt,
        blocked,
    };
    assert_eq!(
        events,
        [
            expected(third, 0x3000, Attempt::Read, Blocked::NotPresent),
            expected(third, 0x4f_0000, Attempt::Write, Blocked::Permission),
            expected(third, 1 << 48, Attempt::Read, Blocked::NotPresent),
            expected(fourth, 0x1000, Attempt::Read, Blocked::Permission),
            expected(
                device(5).requester_id(),
                0x1000,
                Attempt::Read,
                Blocked::NotPresent
            ),
            expected(0x0700, 0x1000, Attempt::Read, Blocked::NotPresent),
        ]
    );
}

#[test]
fn the_last_requester_takes_the_page_table_with_it() {
    let (fake, mut unit) = ready();
    let held = fake.0.borrow().memory.len();
    let domain = DomainId(1);
    for number in [3, 4] {
        unit.attach(domain, device(number)).unwrap();
    }
    unit.map(domain, mapping(0, 0x7000_0000, 0x1000, BOTH)).unwrap();
    unit.quarantine(device(3)).unwrap();
    assert_eq!(fake.access(device(3).requester_id(), 0, true), None);
    assert_eq!(fake.access(device(4).requester_id(), 0, true), Some(0x7000_0000));
    unit.quarantine(device(4)).unwrap();
    assert_eq!(fake.access(device(4).requester_id(), 0, true), None);
    assert_eq!(fake.0.borrow().memory.len(), held);
    // It comes back empty.
    unit.attach(domain, device(4)).unwrap();
    assert_eq!(fake.access(device(4).requester_id(), 0, true), None);
    assert!(matches!(
        unit.map(DomainId(2), mapping(0, 0, 0x1000, BOTH)),
        Err(Error::UnknownDomain(DomainId(2)))
    ));
    assert!(matches!(
        unit.attach(DomainId(2), device(4)),
        Err(Error::Attached {
            domain: DomainId(1),
            ..
        })
    ));
}

#[test]
fn requesters_of_others_are_unknown() {
    let (_, mut unit) = ready();
    for stranger in [Bdf::new(1, 0, 3, 0), FUNCTION, Bdf::new(0, 1, 0, 0)] {
        assert_eq!(
            unit.attach(DomainId(1), stranger),
            Err(Error::UnknownRequester(stranger))
        );
        assert_eq!(unit.quarantine(stranger), Err(Error::UnknownRequester(stranger)));
    }
}

#[test]
fn a_message_raises_what_was_routed_and_nothing_else() {
    let (fake, mut unit) = ready();
    let (id, function) = (device(3).requester_id(), device(3));
    for data in 0..0x800 {
        assert_eq!(fake.interrupt(id, data), None);
    }
    assert_eq!(
        unit.route(function, (function, 0), 1, 0x40),
        Err(Error::Quarantined(function))
    );
    unit.attach(DomainId(1), function).unwrap();
    assert_eq!(fake.interrupt(id, 0x40), None);
    let data = unit.route(function, (function, 5), 3, 0x41).unwrap();
    assert_eq!(fake.interrupt(id, data.into()), Some((3, 0x41)));
    for other in (0..0x800).filter(|other| *other != u32::from(data)) {
        assert_eq!(fake.interrupt(id, other), None, "{other:#x}");
    }
    // Anew: the same message, at no time without an entry.
    assert_eq!(unit.route(function, (function, 5), 2, 0x99).unwrap(), data);
    assert_eq!(fake.interrupt(id, data.into()), Some((2, 0x99)));
    // Another requester has a table of its own.
    assert_eq!(fake.interrupt(device(4).requester_id(), data.into()), None);
    for (apic, vector) in [(256, 0x40), (1, 15)] {
        assert_eq!(
            unit.route(function, (function, 6), apic, vector),
            Err(Error::Target { apic, vector })
        );
    }
    unit.release(function).unwrap();
    assert_eq!(fake.interrupt(id, data.into()), None);
    let data = unit.route(function, (function, 1), 2, 0x99).unwrap();
    unit.quarantine(function).unwrap();
    assert_eq!(fake.interrupt(id, data.into()), None);
}

#[test]
fn functions_that_share_a_requester_have_entries_of_their_own_until_there_are_no_more() {
    let (fake, mut unit) = ready();
    let bridge = device(3);
    unit.attach(DomainId(1), bridge).unwrap();
    let (a, b) = (Bdf::new(0, 3, 1, 0), Bdf::new(0, 3, 2, 0));
    let mut data = std::collections::BTreeSet::new();
    for message in 0..256 {
        data.insert(unit.route(bridge, (a, message), 0, 0x50).unwrap());
        data.insert(unit.route(bridge, (b, message), 0, 0x51).unwrap());
    }
    assert_eq!(data.len(), 512);
    assert_eq!(
        unit.route(bridge, (b, 256), 0, 0x50),
        Err(Error::NoInterrupts(bridge))
    );
    unit.release(a).unwrap();
    let raised = (0..512).filter(|data| fake.interrupt(bridge.requester_id(), *data).is_some());
    assert_eq!(raised.count(), 256);
    assert!(unit.route(bridge, (b, 256), 0, 0x50).is_ok());
}

#[test]
fn blocked_interrupts_are_logged_as_such() {
    let (fake, mut unit) = ready();
    assert_eq!(fake.interrupt(device(3).requester_id(), 0x21), None);
    let mut seen = Vec::new();
    unit.events(|event| seen.push(event)).unwrap();
    assert!(matches!(
        seen[..],
        [Event::Access {
            attempt: Attempt::Interrupt,
            blocked: Blocked::NotPresent,
            ..
        }]
    ));
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Attach(u8, u32),
    Quarantine(u8),
    Map {
        domain: u32,
        iova: u64,
        host: u64,
        pages: u64,
        write: bool,
    },
    Unmap {
        domain: u32,
        iova: u64,
        pages: u64,
    },
    Route {
        number: u8,
        message: u16,
        vector: u8,
    },
    Release(u8),
}

fn calls() -> impl Strategy<Value = Call> {
    let unit = prop_oneof![Just(1u64), Just(512), Just(512 * 512)];
    prop_oneof![
        2 => (3u8..7, 0u32..3).prop_map(|(number, domain)| Call::Attach(number, domain)),
        1 => (3u8..7).prop_map(Call::Quarantine),
        3 => (0u32..3, unit.clone(), 0u64..4, 0u64..4, 1u64..3, any::<bool>()).prop_map(|(domain, unit, iova, host, pages, write)| Call::Map {
            domain, iova: iova * unit * 4096, host: host * unit * 4096, pages: pages * unit, write,
        }),
        2 => (0u32..3, unit, 0u64..4, 1u64..4).prop_map(|(domain, unit, iova, pages)| Call::Unmap { domain, iova: iova * unit * 4096, pages: pages * unit }),
        2 => (3u8..7, 0u16..3, 16u8..).prop_map(|(number, message, vector)| Call::Route { number, message, vector }),
        1 => (3u8..7).prop_map(Call::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Whatever is called, in whatever order: after each call every device reaches exactly what the list says, though the unit has
    /// looked at all of it before and remembers.
    #[test]
    fn devices_reach_what_the_list_says(
        calls in prop::collection::vec(calls(), 1..40), not_present in any::<bool>(), left in prop_oneof![3 => Just(4000usize), 1 => 12usize..24],
    ) {
        let fake = Fake::new(left);
        let header = if not_present { PLAIN | Header::CACHES_NOT_PRESENT } else { PLAIN };
        let Ok(mut unit) = init(&fake, bus_0(), header) else {
            prop_assert!(left < 24);
            return Ok(());
        };
        let held = fake.0.borrow().memory.len();
        let mut places: BTreeMap<u8, u32> = BTreeMap::new();
        let mut mapped: BTreeMap<u32, Vec<Mapping>> = BTreeMap::new();
        let mut routed: BTreeMap<(u8, u16), (u16, u8)> = BTreeMap::new();
        for call in calls {
            let short = |result: &Result<(), Error>| left < 4000 && matches!(result, Err(Error::NoMemory | Error::Table { error: crate::memory::tables::TableError::OutOfFrames, .. }));
            match call {
                Call::Attach(number, domain) => {
                    let result = unit.attach(DomainId(domain), device(number));
                    match places.get(&number) {
                        Some(place) => prop_assert_eq!(result.is_ok(), *place == domain),
                        None if short(&result) => {}
                        None => {
                            prop_assert_eq!(result, Ok(()));
                            places.insert(number, domain);
                        }
                    }
                }
                Call::Quarantine(number) => {
                    prop_assert_eq!(unit.quarantine(device(number)), Ok(()));
                    routed.retain(|(other, _), _| *other != number);
                    if let Some(domain) = places.remove(&number)
                        && !places.values().any(|place| *place == domain)
                    {
                        mapped.remove(&domain);
                    }
                }
                Call::Map { domain, iova, host, pages, write } => {
                    let access = if write { BOTH } else { Access::READ };
                    let wanted = mapping(iova, host, pages * 4096, access);
                    let result = unit.map(DomainId(domain), wanted);
                    let there = mapped.entry(domain).or_default();
                    let overlaps = there.iter().any(|other| other.iova.0 < iova + pages * 4096 && iova < other.iova.0 + other.size);
                    if !places.values().any(|place| *place == domain) {
                        prop_assert_eq!(result, Err(Error::UnknownDomain(DomainId(domain))));
                    } else if overlaps {
                        prop_assert!(result.is_err());
                    } else if !short(&result) {
                        prop_assert_eq!(result, Ok(()));
                        there.push(wanted);
                    }
                }
                Call::Unmap { domain, iova, pages } => {
                    let there = mapped.entry(domain).or_default();
                    let inside = |other: &Mapping| iova <= other.iova.0 && other.iova.0 + other.size <= iova + pages * 4096;
                    let apart = |other: &Mapping| other.iova.0 + other.size <= iova || iova + pages * 4096 <= other.iova.0;
                    // As `vfio-core` asks: no mapping is cut.
                    if places.values().any(|place| *place == domain) && there.iter().all(|other| inside(other) || apart(other)) {
                        prop_assert_eq!(unit.unmap(DomainId(domain), span(iova, pages * 4096)), Ok(()));
                        there.retain(|other| !inside(other));
                    }
                }
                Call::Route { number, message, vector } => {
                    let result = unit.route(device(number), (device(number), message), 1, vector);
                    if let Ok(data) = result {
                        prop_assert!(places.contains_key(&number));
                        routed.insert((number, message), (data, vector));
                    } else {
                        prop_assert!(!places.contains_key(&number) || short(&result.map(drop)));
                    }
                }
                Call::Release(number) => {
                    prop_assert_eq!(unit.release(device(number)), Ok(()));
                    routed.retain(|(other, _), _| *other != number);
                }
            }
            for number in 3..7 {
                let id = device(number).requester_id();
                let own = places.get(&number).and_then(|domain| mapped.get(domain)).cloned().unwrap_or_default();
                let edges = mapped.values().flatten().flat_map(|region| [region.iova.0, region.iova.0 + region.size - 8, region.iova.0 + region.size, region.iova.0.wrapping_sub(8)]);
                for at in edges.filter(|at| *at < 1 << 48) {
                    let there = own.iter().find(|region| region.iova.0 <= at && at < region.iova.0 + region.size);
                    for write in [false, true] {
                        let reached = there.filter(|region| !write || region.access.contains(Access::WRITE)).map(|region| region.host.0 + (at - region.iova.0));
                        prop_assert_eq!(fake.access(id, at, write), reached, "{:#x} {}", at, write);
                    }
                }
                for data in 0..4 {
                    let expected = routed.iter().find(|((other, _), (index, _))| *other == number && u32::from(*index) == data).map(|(_, (_, vector))| (1, *vector));
                    prop_assert_eq!(fake.interrupt(id, data), expected);
                }
            }
        }
        for number in 3..7 {
            unit.quarantine(device(number)).unwrap();
        }
        prop_assert_eq!(fake.0.borrow().memory.len(), held, "all memory came back");
    }
}
