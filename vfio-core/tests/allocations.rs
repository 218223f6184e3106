//! Opening and closing a device takes no memory: what is needed is there since the device was registered.
//!
//! One test in a process of its own, since the allocator that counts is the whole program's.

#![expect(unsafe_code, reason = "an allocator that counts is one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use vfio_core::lease::DeviceOps;
use vfio_core::pci::Bdf;
use vfio_core::set::{OpenError, SetTable};
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
            for token in [again, first] {
                assert!(token.is_ok_and(|token| token.close(&works).is_ok()));
            }
        }
    });
    assert_eq!(taken, 0, "allocations while opening and closing");
}
