//! Random sequences against a plain list: who is where, and what is mapped for whom.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Act {
    Attach(u32, u16),
    Quarantine(u16),
    Map(u32, u64, u64, bool),
    Unmap(u32, u64, u64),
    Access(u16, u64, bool),
}

/// In pages of 1 MiB, so that some regions are made of large pages and some are not.
const UNIT: u64 = 1 << 20;

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (1..4u32, 0..5u16).prop_map(|(domain, who)| Act::Attach(domain, who)),
        (0..5u16).prop_map(Act::Quarantine),
        (1..4u32, 0..16u64, 1..5u64, any::<bool>())
            .prop_map(|(domain, at, size, write)| Act::Map(domain, at, size, write)),
        (1..4u32, 0..16u64, 1..5u64).prop_map(|(domain, at, size)| Act::Unmap(domain, at, size)),
        (0..5u16, 0..16u64, any::<bool>()).prop_map(|(who, at, write)| Act::Access(who, at, write)),
    ];
    prop::collection::vec(act, 1..60)
}

#[derive(Default)]
struct Plain {
    places: BTreeMap<u16, u32>,
    /// By domain and unit of address: whether it may be written, and what it is a part of.
    mapped: BTreeMap<(u32, u64), (bool, u64)>,
}

impl Plain {
    fn exists(&self, domain: u32) -> bool {
        self.places.values().any(|place| *place == domain)
    }

    fn reach(&self, who: u16, at: u64, write: bool) -> Option<u64> {
        let domain = self.places.get(&who)?;
        let (writable, _) = self.mapped.get(&(*domain, at))?;
        (*writable || !write).then_some(host(*domain, at * UNIT))
    }
}

/// Where a domain's memory is.
fn host(domain: u32, iova: u64) -> u64 {
    (u64::from(domain) << 32) + iova
}

/// Requesters on two buses.
fn name(who: u16) -> u16 {
    who % 2 * 0x300 + who * 8
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_access_goes_where_the_list_says(kind in 0..kinds().len(), acts in acts()) {
        let (capability, extended) = kinds()[kind];
        let device = Device::new(capability, extended);
        let mut unit = ready(&device);
        let mut plain = Plain::default();
        for act in acts {
            match act {
                Act::Attach(domain, who) => {
                    let free = plain.places.get(&who).is_none_or(|place| *place == domain);
                    let done = unit.attach(DomainId(domain), by(name(who)));
                    prop_assert_eq!(done.is_ok(), free);
                    if free {
                        plain.places.insert(who, domain);
                    }
                }
                Act::Quarantine(who) => {
                    unit.quarantine(by(name(who))).unwrap();
                    if let Some(domain) = plain.places.remove(&who)
                        && !plain.exists(domain)
                    {
                        plain.mapped.retain(|(own, _), _| *own != domain);
                    }
                }
                Act::Map(domain, at, size, write) => {
                    let free = (at..at + size).all(|at| !plain.mapped.contains_key(&(domain, at)));
                    let mapping = Mapping {
                        access: if write { Access::READ | Access::WRITE } else { Access::READ },
                        ..region(at * UNIT, host(domain, at * UNIT), size * UNIT)
                    };
                    let done = unit.map(DomainId(domain), mapping);
                    prop_assert_eq!(done.is_ok(), free && plain.exists(domain));
                    if done.is_ok() {
                        plain.mapped.extend((at..at + size).map(|page| ((domain, page), (write, at))));
                    }
                }
                Act::Unmap(domain, at, size) => {
                    // As the rules are: a range splits no mapping.
                    let whole = |own: u64| {
                        let of = |key: &&(u32, u64)| key.0 == domain && plain.mapped[key].1 == own;
                        plain.mapped.keys().filter(of).all(|key| (at..at + size).contains(&key.1))
                    };
                    let touched = (at..at + size).filter_map(|at| plain.mapped.get(&(domain, at)));
                    if plain.exists(domain) && touched.map(|(_, own)| *own).all(whole) {
                        unit.unmap(DomainId(domain), range(at * UNIT, size * UNIT)).unwrap();
                        plain.mapped.retain(|key, _| key.0 != domain || !(at..at + size).contains(&key.1));
                    }
                }
                Act::Access(who, at, write) => {
                    let found = device.access(name(who), at * UNIT, write);
                    prop_assert_eq!(found, plain.reach(who, at, write));
                }
            }
        }
        for (who, at, write) in (0..5).flat_map(|who| (0..20).flat_map(move |at| [(who, at, false), (who, at, true)])) {
            let found = device.access(name(who), at * UNIT, write);
            prop_assert_eq!(found, plain.reach(who, at, write));
        }
    }
}
