//! Opening and closing a device takes no memory: what is needed is there since the device was registered. Opening a whole
//! cohort takes as much as its domain notes of it, however many devices there are beside it.
//!
//! In a process of its own, since the allocator that counts is the whole program's.

#![expect(unsafe_code, reason = "an allocator that counts is one")]

#[expect(
    dead_code,
    clippy::panic,
    reason = "the benchmarks need more of it, and have no caller to return an error to"
)]
#[path = "../../benches/instructions/fakes.rs"]
mod fakes;
mod functions;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fakes::{Nothing, singles};
use vfio_core::lease::{CohortTable, DeviceOps};
use vfio_core::pci::Bdf;
use vfio_core::set::{OpenError, Patience, SetTable};
use vfio_core::{DeviceId, Fault, Owner, SetId};

struct Counting;

thread_local! {
    /// Allocations of this thread; others (the test harness's) do not count.
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is done by `System`; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.with(|taken| taken.set(taken.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Fails where it is told to.
struct Ops {
    fails: bool,
}

impl DeviceOps for Ops {
    fn open_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        if self.fails { Err(Fault::TimedOut) } else { Ok(()) }
    }

    fn close_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        Ok(())
    }
}

fn taken_by(work: impl FnOnce()) -> u64 {
    let before = TAKEN.with(Cell::get);
    work();
    TAKEN.with(Cell::get) - before
}

#[test]
fn opens_and_closes_allocate_nothing() {
    let table = SetTable::new();
    let slot = SetId::PciSlot {
        segment: 0,
        bus: 1,
        slot: 0,
    };
    let mut members = Vec::new();
    // The counter counts: a registration does take memory.
    let registering = taken_by(|| {
        for function in 0..8 {
            let device = Bdf::new(0, 1, 0, function).into();
            members.extend(table.register(device, Some(slot)));
        }
    });
    assert_eq!(members.len(), 8);
    assert!(registering > 0, "registering takes memory");
    let (owner, other) = (Owner::Guest(1), Owner::Guest(2));
    let (works, fails) = (Ops { fails: false }, Ops { fails: true });
    let taken = taken_by(|| {
        for member in &members {
            let failed = member.open(owner, &fails).map(drop);
            assert_eq!(failed, Err(OpenError::Failed(Fault::TimedOut)));
            let first = member.open(owner, &works);
            let again = member.open(owner, &works);
            let refused = member.open(other, &works).map(drop);
            assert_eq!(refused, Err(OpenError::OwnedByAnother(owner)));
            let handle = member.hold(owner, &works, Patience::NONE);
            drop(handle.expect("it is the owner's"));
            for token in [again, first] {
                assert!(token.is_ok_and(|token| token.close(&works).is_ok()));
            }
            let alone = [member.device()];
            let reset = member.set().reset(&alone, None, Patience::NONE, || Ok(()));
            assert_eq!(reset, Ok(()));
        }
    });
    assert_eq!(taken, 0, "allocations while opening and closing");
}

/// Allocations of opening and of closing one cohort of a single device, in a machine of so many.
fn of_a_cohort(devices: u32) -> (u64, u64) {
    let table = CohortTable::new(singles(devices), Nothing).expect("there is room");
    let owner = Owner::Guest(1);
    let domain = table.domain(owner, Vec::new()).expect("there is a domain");
    let device = table.cohorts().devices()[0].id;
    let mut figures = (0, 0);
    // The first time the domain's own lists may grow.
    for _ in 0..2 {
        let plan = table.plan_open(owner, &[device], false).expect("it is free");
        let mut leases = None;
        let opening = taken_by(|| leases = table.open(&plan, &domain).ok());
        let mut leases = leases.expect("it opens");
        let lease = leases.pop().expect("it is one cohort");
        let closing = taken_by(|| lease.close().expect("it closes"));
        figures = (opening, closing);
    }
    figures
}

/// The list of leases, and what the domain notes of a requester and its unit: not the machine's size.
#[test]
fn a_cohort_takes_what_its_domain_notes() {
    let small = of_a_cohort(1);
    assert_eq!(of_a_cohort(4_096), small);
    let (opening, closing) = small;
    assert!(
        opening <= 16 && closing <= 8,
        "{opening} and {closing} allocations"
    );
}
