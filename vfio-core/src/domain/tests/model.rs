//! Random calls beside a model that knows single pages only: which are allowed, and what each is mapped to.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::testing::{cases, scaled};

/// Pages of the model: half of them at the bottom of the address space, half at its top.
const PAGES: u64 = 48;

fn number(page: u64) -> u64 {
    if page < PAGES / 2 {
        page
    } else {
        u64::MAX / PAGE - (PAGES - 1 - page)
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Bytes that the address is off, and bytes that the size is off.
    Map {
        page: u64,
        pages: u64,
        access: u8,
        off: (u64, u64),
    },
    Unmap {
        page: u64,
        pages: u64,
        off: u64,
    },
    UnmapAll,
    Reserve {
        page: u64,
        pages: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let odd = prop_oneof![9 => Just(0u64), 1 => 1u64..PAGE];
    let place = (0..PAGES, 1u64..6);
    prop_oneof![
        8 => (place.clone(), 0u8..4, odd.clone(), odd.clone())
            .prop_map(|((page, pages), access, a, b)| Op::Map { page, pages, access, off: (a, b) }),
        6 => (place.clone(), odd).prop_map(|((page, pages), off)| Op::Unmap { page, pages, off }),
        1 => Just(Op::UnmapAll),
        1 => place.prop_map(|(page, pages)| Op::Reserve { page, pages }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    mapping: usize,
    host: u64,
    access: Access,
}

#[derive(Default)]
struct Model {
    pages: BTreeMap<u64, Page>,
    reserved: BTreeSet<u64>,
}

impl Model {
    fn mappings(&self) -> usize {
        self.pages
            .values()
            .map(|page| page.mapping)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// Mappings with pages in and out of a range.
    fn split(&self, inside: impl Fn(u64) -> bool) -> bool {
        let of = |wanted: bool| -> BTreeSet<usize> {
            let pages = self.pages.iter().filter(|(number, _)| inside(**number) == wanted);
            pages.map(|(_, page)| page.mapping).collect()
        };
        !of(true).is_disjoint(&of(false))
    }
}

/// The pages from `page` on, or `None` if there are not as many.
fn range(page: u64, pages: u64) -> Option<Vec<u64>> {
    let first = number(page);
    (0..pages)
        .map(|at| first.checked_add(at).filter(|page| *page <= u64::MAX / PAGE))
        .collect()
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn mappings_are_what_the_pages_say(ops in prop::collection::vec(op(), 1..scaled(80, 8)), limit in 1usize..12) {
        let mut mappings = Mappings::new(limit);
        let (mut limits, mut model) = (Limits::default(), Model::default());
        for (at, op) in ops.into_iter().enumerate() {
            match op {
                Op::Map { page, pages, access, off } => {
                    let access = Access::from_bits_truncate(access);
                    let host = (at as u64 + 1) << 32;
                    let new = Mapping {
                        iova: Iova(number(page) * PAGE + off.0),
                        host: HostPhys(host),
                        size: (pages * PAGE).saturating_sub(off.1),
                        access,
                    };
                    let result = mappings.map(new, &limits);
                    let range = range(page, pages).filter(|_| off == (0, 0) && !access.is_empty());
                    let free = |page: &u64| !model.pages.contains_key(page);
                    let expected = range.filter(|range| {
                        range.iter().all(|page| free(page) && !model.reserved.contains(page)) && model.mappings() < limit
                    });
                    prop_assert_eq!(result.is_ok(), expected.is_some(), "{:?}: {:?}", new, result);
                    for (offset, page) in (0..).zip(expected.unwrap_or_default()) {
                        model.pages.insert(page, Page { mapping: at, host: host + offset * PAGE, access });
                    }
                    if let Err(MapError::Overlap { free: Some(free), .. } | MapError::Reserved { free: Some(free), .. }) = result
                        && model.mappings() < limit
                    {
                        let there = Mapping { iova: free, ..new };
                        prop_assert!(mappings.check(&there, &limits).is_ok());
                    }
                }
                Op::Unmap { page, pages, off } => {
                    let size = (pages * PAGE).saturating_sub(off);
                    let result = mappings.plan_unmap_at(Iova(number(page) * PAGE), size, &limits);
                    let range = range(page, pages).filter(|_| off == 0);
                    let expected = range.filter(|range| !model.split(|page| range.contains(&page)));
                    prop_assert_eq!(result.is_ok(), expected.is_some());
                    if let Err(Split::Mapping { whole, .. }) = result {
                        prop_assert!(mappings.plan_unmap(whole).is_ok());
                    }
                    if let (Ok(plan), Some(range)) = (result, expected) {
                        let before = model.pages.len();
                        model.pages.retain(|page, _| !range.contains(page));
                        prop_assert_eq!(mappings.unmap(plan), (before - model.pages.len()) as u64 * PAGE);
                    }
                }
                Op::UnmapAll => {
                    let plan = mappings.plan_unmap(IovaRange::ALL).unwrap();
                    prop_assert_eq!(mappings.unmap(plan), model.pages.len() as u64 * PAGE);
                    model.pages.clear();
                }
                Op::Reserve { page, pages } => {
                    let Some(range) = range(page, pages) else { continue };
                    let place = super::pages(range[0], *range.last().unwrap());
                    let region = ReservedRegion { kind: ReservedKind::Reserved, range: place };
                    let mut next = limits.clone();
                    next.add_reserved(requester(1), region);
                    let meets = range.iter().any(|page| model.pages.contains_key(page));
                    prop_assert_eq!(mappings.misfit(&next, PAGE).is_some(), meets);
                    if !meets {
                        limits = next;
                        model.reserved.extend(range);
                    }
                }
            }
            prop_assert_eq!(mappings.len(), model.mappings());
            for page in 0..PAGES + 1 {
                let page = if page < PAGES { number(page) } else { PAGES };
                let found = mappings.find(Iova(page * PAGE + 5)).map(|mapping| {
                    (mapping.host_of(Iova(page * PAGE)).unwrap().0, mapping.access)
                });
                prop_assert_eq!(found, model.pages.get(&page).map(|page| (page.host, page.access)));
            }
        }
    }
}
