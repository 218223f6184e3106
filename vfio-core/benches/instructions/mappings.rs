//! Mapping and unmapping in a domain with an attached device, with few and with many mappings there already.

use std::hint::black_box;

use vfio_core::addr::{HostPhys, Iova};
use vfio_core::lease::{CohortTable, Domain};
use vfio_core::{Access, Mapping, Owner};

use crate::Case;
use crate::callgrind::measured;
use crate::fakes::{Nothing, singles};
use crate::table::Table;

/// Operations that a figure is the mean of.
const OPERATIONS: u32 = 256;

const OWNER: Owner = Owner::Guest(1);
const PAGE: u64 = 4096;

/// The depth of the tree grows with the logarithm of the number of mappings, and so may the figures.
pub(crate) const TABLES: &[Table] = &[Table {
    name: "mappings",
    title: "instructions for each call, in a domain of so many mappings",
    sizes: &[1, 1_000, 65_535],
    rows: &["map", "unmap", "find"],
    aim: 4.0,
}];

pub(crate) const CASES: &[Case] = &[
    ("map", |size| change(size, true)),
    ("unmap", |size| change(size, false)),
    ("find", find),
];

/// Every second page, so that no two touch.
fn mapping(number: u32) -> Mapping {
    Mapping {
        iova: Iova(u64::from(number) * 2 * PAGE),
        host: HostPhys(u64::from(number) * PAGE),
        size: PAGE,
        access: Access::READ | Access::WRITE,
    }
}

/// Numbers all over a domain of `size` mappings.
fn spread(size: u32) -> impl Iterator<Item = u32> {
    (0..OPERATIONS).map(move |turn| turn * 7_919 % size)
}

fn with_domain<R>(size: u32, work: impl FnOnce(&Domain<'_, Nothing>) -> R) -> R {
    let Ok(table) = CohortTable::new(singles(1), Nothing) else {
        panic!("the device is registered")
    };
    let device = table.cohorts().devices()[0].id;
    let mappings = (0..size).map(mapping).collect();
    let (Ok(domain), Ok(plan)) = (
        table.domain(OWNER, mappings),
        table.plan_open(OWNER, &[device], false),
    ) else {
        panic!("the device is free")
    };
    let leases = table.open(&plan, &domain);
    assert!(leases.is_ok(), "the device opens");
    work(&domain)
}

/// Takes one mapping out and puts it back, so that there are `size` again; `count_map` says which of the two is counted.
fn change(size: u32, count_map: bool) -> u32 {
    with_domain(size, |domain| {
        for number in spread(size) {
            let there = mapping(number);
            let unmap = || domain.unmap(black_box(there.iova), there.size);
            let unmapped = if count_map { unmap() } else { measured(unmap) };
            assert_eq!(unmapped, Ok(PAGE));
            let map = || domain.map(black_box(there));
            let mapped = if count_map { measured(map) } else { map() };
            assert_eq!(mapped, Ok(()));
        }
    });
    OPERATIONS
}

fn find(size: u32) -> u32 {
    with_domain(size, |domain| {
        for number in spread(size) {
            let there = mapping(number);
            assert_eq!(measured(|| domain.find(black_box(there.iova))), Some(there));
        }
    });
    OPERATIONS
}
