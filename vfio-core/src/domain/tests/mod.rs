//! The rules of mapping and unmapping, one by one; beside a model that knows only pages; and with many mappings.

#![cfg(not(loom))]

mod limits;
mod model;

use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::addr::{HostPhys, Iova};
use crate::lease::DomainOptions;
use crate::pci::Bdf;
use crate::testing::scaled;
use crate::{Access, Mapping, Requester};

const RW: Access = Access::READ.union(Access::WRITE);
const PAGE: u64 = SMALLEST;

fn map(first_page: u64, pages: u64) -> Mapping {
    Mapping {
        iova: Iova(first_page * PAGE),
        host: HostPhys(0x1_0000_0000 + first_page * PAGE),
        size: pages * PAGE,
        access: RW,
    }
}

/// Pages `first` to `last`, inclusive.
fn pages(first: u64, last: u64) -> IovaRange {
    IovaRange::inclusive(Iova(first * PAGE), Iova(last * PAGE + (PAGE - 1))).unwrap()
}

fn mapped(all: &[(u64, u64)]) -> Mappings {
    let mut mappings = Mappings::default();
    for (first, last) in all {
        let limits = Limits::default();
        mappings.map(map(*first, last - first + 1), &limits).unwrap();
    }
    mappings
}

fn left(mappings: &Mappings) -> Vec<(u64, u64)> {
    let page = |own: Mapping| (own.iova.0 / PAGE, own.last().unwrap().0 / PAGE);
    mappings.iter().map(page).collect()
}

/// The examples of virtio 1.2, section 5.13.6.6 (UNMAP request), and more of their kind; in pages, both ends included.
#[test]
fn the_examples_of_the_virtio_specification() {
    type Range = (u64, u64);
    let examples: [(&[Range], Range, Result<u64, Range>); 12] = [
        (&[], (0, 4), Ok(0)),
        (&[(0, 9)], (0, 9), Ok(10)),
        (&[(0, 4), (5, 9)], (0, 9), Ok(10)),
        (&[(0, 9)], (0, 4), Err((0, 9))),
        (&[(0, 4), (5, 9)], (0, 4), Ok(5)),
        (&[(0, 4)], (0, 9), Ok(5)),
        (&[(0, 4), (10, 14)], (0, 14), Ok(10)),
        // Split by the upper edge, by the lower one, by both, and by an edge within the first of several.
        (&[(0, 9)], (5, 14), Err((0, 9))),
        (&[(0, 9)], (3, 4), Err((0, 9))),
        (&[(0, 4), (5, 9), (20, 24)], (3, 12), Err((0, 4))),
        (&[(0, 4), (5, 9), (20, 24)], (5, 21), Err((20, 24))),
        (&[(0, 4), (20, 24)], (5, 19), Ok(0)),
    ];
    for (existing, (first, last), expected) in examples {
        let mut mappings = mapped(existing);
        match (mappings.plan_unmap(pages(first, last)), expected) {
            (Ok(plan), Ok(removed)) => {
                assert_eq!(mappings.unmap(plan), removed * PAGE);
                let kept = existing.iter().filter(|own| own.1 < first || own.0 > last);
                assert_eq!(left(&mappings), kept.copied().collect::<Vec<_>>());
            }
            (Err(Split::Mapping { mapping, .. }), Err((low, high))) => {
                assert_eq!(mapping, pages(low, high), "{existing:?} {first}..{last}");
                assert_eq!(left(&mappings), existing, "nothing is removed");
            }
            (found, expected) => panic!("{existing:?} {first}..{last}: {found:?}, not {expected:?}"),
        }
    }
}

#[test]
fn a_split_says_what_would_split_nothing() {
    let mappings = mapped(&[(0, 4), (5, 9), (20, 24)]);
    let split = mappings.plan_unmap(pages(3, 21)).unwrap_err();
    let Split::Mapping { whole, .. } = split else {
        panic!("{split}");
    };
    assert_eq!(whole, pages(0, 24));
    assert_eq!(
        split.to_string(),
        "unmapping 0x3000 to 0x15fff would split the mapping 0x14000 to 0x18fff; unmap 0x0 to 0x18fff instead"
    );
    assert!(mappings.plan_unmap(whole).is_ok());
}

#[test]
fn each_rule_of_mapping_has_its_error() {
    let limits = Limits::default();
    let mut mappings = mapped(&[(16, 31)]);
    let refused = |mapping: Mapping| mappings.check(&mapping, &limits).unwrap_err();
    let fine = map(0, 1);
    let nothing = Access::empty();
    assert_eq!(
        refused(Mapping {
            access: nothing,
            ..fine
        }),
        MapError::NoAccess(Iova(0))
    );
    let empty = RangeError::Empty(Iova(0));
    assert_eq!(refused(Mapping { size: 0, ..fine }), MapError::Range(empty));
    for odd in [
        Mapping {
            iova: Iova(0x800),
            ..fine
        },
        Mapping {
            host: HostPhys(0x800),
            ..fine
        },
        Mapping { size: 0x1800, ..fine },
        Mapping {
            iova: Iova(0x800),
            host: HostPhys(0x800),
            ..fine
        },
        Mapping {
            iova: Iova(0x800),
            size: 0x800,
            ..fine
        },
    ] {
        assert!(matches!(refused(odd), MapError::Unaligned { granule: PAGE, .. }));
    }
    let top = u64::MAX - (PAGE - 1);
    let long = Mapping {
        iova: Iova(top),
        size: 2 * PAGE,
        ..fine
    };
    assert!(matches!(refused(long), MapError::Range(RangeError::Wraps { .. })));
    assert_eq!(
        refused(long).to_string(),
        "0x2000 bytes at 0xfffffffffffff000 go past the end of the address space; 0x1000 fit there at most"
    );
    let high = Mapping {
        host: HostPhys(top),
        size: 2 * PAGE,
        ..fine
    };
    assert!(matches!(refused(high), MapError::HostWraps { .. }));
    for overlap in [map(16, 16), map(15, 2), map(31, 1), map(0, 64), map(20, 1)] {
        let MapError::Overlap { existing, .. } = refused(overlap) else {
            panic!("{overlap:?} overlaps");
        };
        assert_eq!(existing, pages(16, 31));
    }
    assert_eq!(
        refused(map(15, 2)).to_string(),
        "0xf000 to 0x10fff overlaps the mapping 0x10000 to 0x1ffff; as many bytes are free at 0x20000"
    );
    // Beside it is not over it, and one byte of the address space is not lost at its end.
    mappings.map(map(15, 1), &limits).unwrap();
    mappings.map(map(32, 1), &limits).unwrap();
    let last = Mapping {
        iova: Iova(top),
        host: HostPhys(top),
        ..fine
    };
    mappings.map(last, &limits).unwrap();
    assert_eq!(mappings.find(Iova(u64::MAX)), Some(last));
    assert_eq!(mappings.find(Iova(top - 1)), None);
}

#[test]
fn the_top_of_the_address_space_is_mapped_and_unmapped_like_any_other() {
    let limits = Limits::default();
    let mut mappings = Mappings::default();
    let all_but_one = Mapping {
        iova: Iova(PAGE),
        host: HostPhys(PAGE),
        size: u64::MAX - (PAGE - 1),
        access: RW,
    };
    mappings.map(all_but_one, &limits).unwrap();
    assert_eq!(all_but_one.last(), Some(Iova(u64::MAX)));
    mappings.map(map(0, 1), &limits).unwrap();
    let error = mappings.check(&map(1, 1), &limits).unwrap_err();
    assert!(
        matches!(error, MapError::Overlap { free: None, .. }),
        "nothing is free: {error}"
    );
    let whole = mappings.plan_unmap(IovaRange::ALL).unwrap();
    assert_eq!(whole.span(), Some(IovaRange::ALL));
    assert_eq!(
        mappings.clone().unmap(whole),
        u64::MAX,
        "2^64, as near as 64 bits can say it"
    );
    let upper = mappings
        .plan_unmap_at(Iova(PAGE), u64::MAX - (PAGE - 1), &limits)
        .unwrap();
    assert_eq!(mappings.unmap(upper), u64::MAX - (PAGE - 1));
    assert_eq!(left(&mappings), [(0, 0)]);
    let range = IovaRange::new(Iova(u64::MAX), 1).unwrap();
    assert_eq!(
        (range.bytes(), range.first(), range.last()),
        (1, Iova(u64::MAX), Iova(u64::MAX))
    );
    assert_eq!(IovaRange::ALL.without(range), [pages_up_to(u64::MAX - 1), None]);
    assert_eq!(IovaRange::ALL.without(IovaRange::ALL), [None, None]);
    assert!(mappings.plan_unmap_at(Iova(0), 0, &limits).is_err());
    assert!(
        mappings
            .plan_unmap_at(Iova(u64::MAX - (PAGE - 1)), 2 * PAGE, &limits)
            .is_err()
    );
    let odd = mappings.plan_unmap_at(Iova(0), 0x1800, &limits).unwrap_err();
    assert!(matches!(odd, Split::Unaligned { granule: PAGE, .. }));
    let both = mappings.plan_unmap_at(Iova(0x800), 0x800, &limits).unwrap_err();
    assert!(matches!(both, Split::Unaligned { granule: PAGE, .. }));
}

fn pages_up_to(last: u64) -> Option<IovaRange> {
    IovaRange::inclusive(Iova(0), Iova(last))
}

#[test]
fn the_limit_counts_mappings_and_gives_them_back() {
    assert_eq!(Mappings::default().left(), 65_535);
    assert_eq!(DomainOptions::default().mappings, 65_535);
    let limits = Limits::default();
    for limit in [1, scaled(1_000, 100), scaled(DEFAULT_LIMIT, 600)] {
        let mut mappings = Mappings::new(limit);
        for page in 0..limit as u64 {
            // From both ends, so that the tree grows everywhere.
            let page = if page % 2 == 0 { page } else { 0x20_0000 - page };
            mappings.map(map(page, 1), &limits).unwrap();
        }
        assert_eq!((mappings.len(), mappings.left()), (limit, 0));
        let more = mappings.map(map(0x30_0000, 1), &limits).unwrap_err();
        assert_eq!(more, MapError::Full { limit });
        let first = mappings.plan_unmap(pages(0, 0)).unwrap();
        assert_eq!(mappings.unmap(first), PAGE);
        mappings.map(map(0x30_0000, 1), &limits).unwrap();
        let mut plan = mappings.plan_unmap(IovaRange::ALL).unwrap();
        let mut bytes = 0;
        while plan.span().is_some() {
            let before = mappings.len();
            bytes += mappings.unmap_some(&mut plan, 512);
            assert!(before - mappings.len() <= 512);
        }
        assert_eq!(bytes, limit as u64 * PAGE);
        assert!(mappings.is_empty());
    }
}

#[test]
fn a_mapping_ends_where_it_ends() {
    let mapping = map(2, 3);
    let of = |iova| mapping.host_of(Iova(iova)).map(|host| host.0 - mapping.host.0);
    assert_eq!([of(2 * PAGE), of(5 * PAGE - 1)], [Some(0), Some(3 * PAGE - 1)]);
    assert_eq!([of(2 * PAGE - 1), of(5 * PAGE)], [None, None]);
}

#[test]
fn what_is_poisoned_keeps_its_place_until_it_is_unmapped() {
    let limits = Limits::default();
    let mut mappings = mapped(&[(0, 1), (4, 5)]);
    let plan = mappings.plan_unmap(pages(4, 5)).unwrap();
    mappings.poison(plan);
    assert_eq!(mappings.find(Iova(4 * PAGE)), None);
    assert_eq!(mappings.next_from(Iova(PAGE)), None);
    assert_eq!(
        mappings.piece(Iova(4 * PAGE), 1, Access::READ),
        Err(DmaError::Poisoned(Iova(4 * PAGE)))
    );
    assert!(matches!(
        mappings.check(&map(5, 1), &limits),
        Err(MapError::Overlap { .. })
    ));
    assert!(mappings.plan_unmap(pages(4, 4)).is_err());
    assert_eq!(mappings.unmap(plan), 2 * PAGE);
    mappings.map(map(5, 1), &limits).unwrap();
}

#[test]
fn pieces_end_with_their_mapping_and_keep_to_its_access() {
    let limits = Limits::default();
    let mut mappings = Mappings::default();
    mappings.map(map(1, 2), &limits).unwrap();
    let read_only = Mapping {
        access: Access::READ,
        ..map(3, 1)
    };
    mappings.map(read_only, &limits).unwrap();
    let at = |iova, len, access| mappings.piece(Iova(iova), len, access);
    assert_eq!(at(0x1800, 0x10, RW), Ok((HostPhys(0x1_0000_1800), 0x10)));
    assert_eq!(at(0x1800, 0x8000, RW), Ok((HostPhys(0x1_0000_1800), 0x1800)));
    assert_eq!(at(0x3fff, 2, Access::READ), Ok((HostPhys(0x1_0000_3fff), 1)));
    let denied = at(0x3004, 1, RW).unwrap_err();
    assert_eq!(
        denied,
        DmaError::Denied {
            at: Iova(0x3004),
            mapping: read_only,
            wanted: RW
        }
    );
    assert_eq!(at(0xfff, 1, Access::READ), Err(DmaError::NotMapped(Iova(0xfff))));
    assert_eq!(
        at(0x4000, 1, Access::READ),
        Err(DmaError::NotMapped(Iova(0x4000)))
    );
}

fn requester(number: u8) -> Requester {
    Bdf::new(0, 1, number, 0).into()
}
