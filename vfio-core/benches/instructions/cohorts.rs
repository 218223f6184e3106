//! Whole cohorts, each of one device: what a plan, an open into a domain and a close cost in machines of few and of many.

use std::hint::black_box;

use vfio_core::lease::{CohortTable, Lease};
use vfio_core::{DeviceId, Owner};

use crate::Case;
use crate::callgrind::measured;
use crate::fakes::{Nothing, singles};
use crate::table::Table;

/// Operations that a figure is the mean of.
const OPERATIONS: u32 = 64;

const OWNER: Owner = Owner::Guest(1);

pub(crate) const TABLES: &[Table] = &[Table {
    name: "cohorts",
    title: "instructions for each cohort of one device, in a machine of so many",
    sizes: &[1, 64, 4_096, 65_536],
    rows: &["plan-cohort", "open-cohort", "close-cohort"],
    aim: 1.2,
}];

pub(crate) const CASES: &[Case] = &[
    ("plan-cohort", |size| each(size, Counted::Plan)),
    ("open-cohort", |size| each(size, Counted::Open)),
    ("close-cohort", |size| each(size, Counted::Close)),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    Plan,
    Open,
    Close,
}

fn counted<R>(is: bool, run: impl FnOnce() -> R) -> R {
    if is { measured(run) } else { run() }
}

fn each(size: u32, what: Counted) -> u32 {
    let Ok(table) = CohortTable::new(singles(size), Nothing) else {
        panic!("every device is registered")
    };
    let devices: Vec<DeviceId> = table.cohorts().devices().iter().map(|device| device.id).collect();
    assert_eq!(devices.len(), size as usize);
    let Ok(domain) = table.domain(OWNER, Vec::new()) else {
        panic!("there is a domain")
    };
    for turn in 0..OPERATIONS {
        let device = devices[(turn * 7_919 % size) as usize];
        let plan = counted(what == Counted::Plan, || {
            table.plan_open(OWNER, black_box(&[device]), false)
        });
        let Ok(plan) = plan else {
            panic!("{device} is free")
        };
        let leases = counted(what == Counted::Open, || table.open(&plan, &domain));
        let Ok(mut leases) = leases else {
            panic!("{device} opens")
        };
        assert_eq!(leases.len(), 1);
        let closed = counted(what == Counted::Close, || leases.pop().map(Lease::close));
        assert_eq!(closed, Some(Ok(())));
    }
    OPERATIONS
}
