//! The driver's account against the device's: after any calls, answered well or not, an endpoint reaches exactly what
//! the calls that succeeded say.

use super::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Call {
    Create,
    Destroy(usize),
    Map(usize, u64, u64),
    Unmap(usize, u64, u64),
    Attach(usize, usize),
    Quarantine(usize),
}

fn call() -> impl Strategy<Value = Call> {
    let (domain, endpoint, page) = (0usize..3, 0usize..3, 0u64..12);
    let length = 1u64..5;
    prop_oneof![
        1 => Just(Call::Create),
        1 => domain.clone().prop_map(Call::Destroy),
        4 => (domain.clone(), page.clone(), length.clone()).prop_map(|(d, p, l)| Call::Map(d, p, l)),
        3 => (domain.clone(), page, length).prop_map(|(d, p, l)| Call::Unmap(d, p, l)),
        3 => (domain, endpoint.clone()).prop_map(|(d, e)| Call::Attach(d, e)),
        2 => endpoint.prop_map(Call::Quarantine),
    ]
}

/// What each domain maps, page by page, and where each endpoint is.
#[derive(Default)]
struct Model {
    domains: BTreeMap<DomainId, BTreeMap<u64, u64>>,
    places: BTreeMap<u32, DomainId>,
}

const ENDPOINTS: [u32; 3] = [8, 16, 24];

proptest! {
    #[test]
    fn the_device_holds_what_the_driver_says(
        calls in prop::collection::vec((call(), prop::bool::weighted(0.1)), 1..60),
        keeps_domains in any::<bool>(),
    ) {
        let device = Device::new().set(|state| state.keeps_domains = keeps_domains);
        let mut iommu = VirtioIommu::init(device.clone()).unwrap();
        for endpoint in ENDPOINTS {
            iommu.quarantine(EndpointId(endpoint)).unwrap();
        }
        let mut model = Model::default();
        let mut names: Vec<DomainId> = vec![DomainId(1); 3];
        for (at, (call, refused)) in calls.into_iter().enumerate() {
            // A device that refuses requests now and then changes nothing by that.
            device.set(|state| state.habit = if refused { Habit::Status(status::NOMEM) } else { Habit::Obedient });
            let host = |page: u64| (at as u64 + 1) << 32 | page << 12;
            match call {
                Call::Create => {
                    if model.domains.len() < 3 {
                        let domain = iommu.create_domain().unwrap();
                        names[at % 3] = domain;
                        prop_assert!(model.domains.insert(domain, BTreeMap::new()).is_none());
                    }
                }
                Call::Destroy(domain) => {
                    if iommu.destroy_domain(names[domain]).is_ok() {
                        prop_assert!(!model.places.values().any(|place| *place == names[domain]));
                        model.domains.remove(&names[domain]);
                    }
                }
                Call::Map(domain, page, length) => {
                    let done = iommu.map(names[domain], region(page << 12, host(0), length << 12));
                    if done.is_ok() {
                        prop_assert!(model.places.values().any(|place| *place == names[domain]));
                        let pages = model.domains.get_mut(&names[domain]).unwrap();
                        for offset in 0..length {
                            prop_assert!(pages.insert(page + offset, host(offset)).is_none());
                        }
                    }
                }
                Call::Unmap(domain, page, length) => {
                    if iommu.unmap(names[domain], range(page << 12, length << 12)).is_ok() {
                        let pages = model.domains.get_mut(&names[domain]).unwrap();
                        pages.retain(|mapped, _| !(page..page + length).contains(mapped));
                    }
                }
                Call::Attach(domain, endpoint) => {
                    let endpoint = ENDPOINTS[endpoint];
                    if iommu.attach(names[domain], EndpointId(endpoint)).is_ok() {
                        let before = model.places.insert(endpoint, names[domain]);
                        prop_assert!(before.is_none() || before == Some(names[domain]));
                    }
                }
                Call::Quarantine(endpoint) => {
                    let endpoint = ENDPOINTS[endpoint];
                    if iommu.quarantine(EndpointId(endpoint)).is_ok()
                        && let Some(left) = model.places.remove(&endpoint)
                        && !model.places.values().any(|place| *place == left)
                    {
                        // The device forgets a domain with its last endpoint.
                        model.domains.get_mut(&left).unwrap().clear();
                    }
                }
            }
            prop_assert_eq!(iommu.broken(), None);
            let state = device.0.borrow();
            for endpoint in ENDPOINTS {
                for page in 0..16u64 {
                    let expected = model.places.get(&endpoint).and_then(|place| model.domains[place].get(&page));
                    let found = state.translate(endpoint, page << 12).map(|(host, _)| host);
                    // A quarantine that was refused half-way denies all the same.
                    let denied = !state.attached.contains_key(&endpoint);
                    prop_assert!(found == expected.copied() || denied && found.is_none());
                }
            }
        }
    }
}
