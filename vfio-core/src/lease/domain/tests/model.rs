//! Random maps, unmaps, opens and closes with calls of the IOMMU failing, beside a model that knows single pages only.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::*;
use crate::domain::{MapError, ReservedKind, ReservedRegion, Split};
use crate::lease::{JoinRefusal, MapFailure, OpenFailure, UnmapFailure};
use crate::testing::{cases, scaled};

/// The page that `04:00.0` cannot use.
const RESERVED: u64 = 7;

#[derive(Clone, Copy, Debug)]
enum Op {
    Map { page: u64, pages: u64 },
    Unmap { page: u64, pages: u64 },
    UnmapAll,
    Open(usize),
    Close(usize),
}

fn ops() -> impl Strategy<Value = Vec<(Op, Option<usize>, bool)>> {
    let place = (0u64..16, 1u64..4);
    let op = prop_oneof![
        5 => place.clone().prop_map(|(page, pages)| Op::Map { page, pages }),
        4 => place.prop_map(|(page, pages)| Op::Unmap { page, pages }),
        1 => Just(Op::UnmapAll),
        3 => (0usize..3).prop_map(Op::Open),
        3 => (0usize..3).prop_map(Op::Close),
    ];
    let step = (op, prop::option::weighted(0.2, 0usize..16), any::<bool>());
    prop::collection::vec(step, 1..scaled(60, 10))
}

/// What is mapped at a page: by which mapping, and whether that is known to be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    mapping: usize,
    host: u64,
    known: bool,
}

type Pages = BTreeMap<u64, Page>;

fn splits(pages: &Pages, range: std::ops::Range<u64>) -> bool {
    let of = |inside: bool| -> BTreeSet<usize> {
        pages
            .iter()
            .filter(|(page, _)| range.contains(page) == inside)
            .map(|(_, page)| page.mapping)
            .collect()
    };
    !of(true).is_disjoint(&of(false))
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn devices_reach_what_the_pages_say(ops in ops()) {
        let table = table();
        let region = ReservedRegion { kind: ReservedKind::Reserved, range: super::pages(RESERVED, RESERVED) };
        table.platform().reserve(requester(0x400), region);
        let domain = table.domain(GUEST, Vec::new()).unwrap();
        let cohorts = [pair(), single(), legacy()];
        let mut leases: [Option<Lease<'_, Recorder>>; 3] = [None, None, None];
        let mut broken = [false; 3];
        let mut model = Pages::new();
        for (at, (op, fail, late)) in ops.into_iter().enumerate() {
            table.platform().fail_late(late);
            table.platform().fail_at(fail);
            table.platform().take_trace();
            match op {
                Op::Map { page, pages } => {
                    let free = (page..page + pages).all(|page| !model.contains_key(&page));
                    // A cohort that is out of service with its requester attached still keeps its region.
                    let members = domain.0.shared.state.lock().members.clone();
                    let kept = members.iter().any(|member| member.requester == requester(0x400));
                    let allowed = !(page..page + pages).contains(&RESERVED) || !kept;
                    let host = HOST + (at as u64) * 0x10_0000;
                    let new = Mapping { host: HostPhys(host), ..map(page, pages) };
                    let mut known = true;
                    match domain.map(new) {
                        Ok(()) => prop_assert!(free && allowed),
                        Err(MapFailure::Refused(MapError::Overlap { .. })) => { prop_assert!(!free); continue; }
                        Err(MapFailure::Refused(MapError::Reserved { .. })) => { prop_assert!(free && !allowed); continue; }
                        Err(MapFailure::Fault { .. }) => { prop_assert!(fail.is_some() || broken.contains(&true)); continue; }
                        Err(MapFailure::Poisoned { .. }) => known = false,
                        Err(other) => return Err(TestCaseError::fail(format!("{other}"))),
                    }
                    for offset in 0..pages {
                        model.insert(page + offset, Page { mapping: at, host: host + offset * PAGE, known });
                    }
                }
                Op::Unmap { .. } | Op::UnmapAll => {
                    let (page, pages, result) = match op {
                        Op::Unmap { page, pages } => (page, pages, domain.unmap(Iova(page * PAGE), pages * PAGE)),
                        _ => (0, 64, domain.unmap_all()),
                    };
                    let range = page..page + pages;
                    match result {
                        Ok(bytes) => {
                            prop_assert!(!splits(&model, range.clone()));
                            let before = model.len();
                            model.retain(|page, _| !range.contains(page));
                            prop_assert_eq!(bytes, (before - model.len()) as u64 * PAGE);
                            // Memory that may be used for something else now is reached by nobody.
                            let view = table.platform().view();
                            let reached = view.mapped.values().flat_map(BTreeMap::keys);
                            prop_assert!(!reached.clone().any(|iova| range.contains(&(iova.0 / PAGE))));
                        }
                        Err(UnmapFailure::Refused(Split::Mapping { .. })) => prop_assert!(splits(&model, range)),
                        Err(UnmapFailure::Poisoned { .. }) => {
                            for (_, page) in model.range_mut(range) {
                                page.known = false;
                            }
                        }
                        Err(other) => return Err(TestCaseError::fail(format!("{other}"))),
                    }
                }
                Op::Open(which) if leases[which].is_none() && !broken[which] => {
                    let plan = table.plan_open(GUEST, &cohorts[which], false).unwrap();
                    let meets = which == 1 && model.contains_key(&RESERVED);
                    match table.open(&plan, &domain) {
                        Ok(mut opened) => {
                            prop_assert!(!meets);
                            leases[which] = opened.pop();
                        }
                        Err(OpenFailure::Domain(JoinRefusal::Misfit { .. })) => prop_assert!(meets),
                        Err(OpenFailure::Failed(_)) => prop_assert!(fail.is_some() || broken.contains(&true)),
                        Err(other) => return Err(TestCaseError::fail(format!("{other}"))),
                    }
                }
                Op::Close(which) => {
                    if let Some(lease) = leases[which].take() {
                        broken[which] = lease.close().is_err();
                    }
                }
                Op::Open(_) => {}
            }
            table.platform().fail_at([]);
            // The table is the model, and what devices reach is the table; in what is not known, some of it.
            for page in 0..20 {
                let found = domain.find(Iova(page * PAGE)).and_then(|mapping| mapping.host_of(Iova(page * PAGE)));
                let known = model.get(&page).filter(|page| page.known);
                prop_assert_eq!(found.map(|host| host.0), known.map(|page| page.host));
            }
            assert_truth(&table, &domain);
            let unknown = model.values().any(|page| !page.known);
            if !unknown && !broken.contains(&true) {
                assert_in_step(&table, &domain);
            }
        }
    }
}
