//! After registration an open and a close take no memory: neither first, nor further, nor by a handle.
#![cfg(not(loom))]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use vfio_core::lease::DeviceOps;
use vfio_core::set::{Patience, Registration, SetTable};
use vfio_core::{DeviceId, Fault, Owner, SetId, mediated::MediatedId};

struct Counting;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system allocator's; the count touches no memory that is handed out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Nothing;

impl DeviceOps for Nothing {
    fn open_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        Ok(())
    }

    fn close_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        Ok(())
    }
}

/// The only test of this file: another thread would be counted too.
#[test]
fn opens_and_closes_take_no_memory() {
    let table = SetTable::new();
    let owner = Owner::Guest(1);
    let register = |number: u32| {
        let set = SetId::PciBus {
            segment: 0,
            bus: (number % 7) as u8,
        };
        table
            .register(MediatedId(number).into(), Some(set))
            .expect("there is room")
    };
    let registrations: Vec<Registration> = (0..512).map(register).collect();
    let before = TAKEN.load(Ordering::SeqCst);
    for registration in &registrations {
        let handle = registration
            .hold(owner, &Nothing, Patience::NONE)
            .expect("it is free");
        let token = registration.open(owner, &Nothing).expect("it is the owner's");
        drop(handle);
        token.close(&Nothing).expect("it closes");
        let device = [registration.device()];
        registration
            .set()
            .reset(&device, None, Patience::NONE, || Ok(()))
            .expect("it is reset");
    }
    let taken = TAKEN.load(Ordering::SeqCst) - before;
    assert_eq!(taken, 0);
    let _one = Box::new(before);
    assert!(TAKEN.load(Ordering::SeqCst) > before, "the allocator does count");
}
