//! The heap: TLSF over a fixed part of the image, so that the hypervisor's memory is bounded from the start.
#![expect(unsafe_code, reason = "a global allocator over static memory")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering};
use rlsf::Tlsf;
use spin::Mutex;

/// Size of the heap in bytes.
pub const HEAP_BYTES: usize = 4 << 20;

#[repr(C, align(4096))]
struct Arena(UnsafeCell<[u8; HEAP_BYTES]>);

// SAFETY: the arena is handed to the allocator once, and reached only through it.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; HEAP_BYTES]));

type Pool = Tlsf<'static, u32, u32, 20, 32>;

struct Heap {
    pool: Mutex<Pool>,
    used: AtomicUsize,
}

#[global_allocator]
static HEAP: Heap = Heap {
    pool: Mutex::new(Tlsf::new()),
    used: AtomicUsize::new(0),
};

/// Gives the arena to the allocator; the second call does nothing.
pub fn init() {
    let mut pool = HEAP.pool.lock();
    static DONE: AtomicUsize = AtomicUsize::new(0);
    if DONE.swap(1, Ordering::Relaxed) == 0
        && let Some(arena) = NonNull::new(ARENA.0.get())
    {
        // SAFETY: nobody else reaches the arena, it lives for ever, and it is given once.
        unsafe { pool.insert_free_block_ptr(arena) };
    }
}

/// Bytes that are allocated now.
#[must_use]
pub fn used() -> usize {
    HEAP.used.load(Ordering::Relaxed)
}

// SAFETY: TLSF returns blocks that fit the layout and do not overlap; the lock serialises it. Interrupt handlers never
// allocate, so the lock is never taken twice on one CPU.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = self.pool.lock().allocate(layout);
        if block.is_some() {
            self.used.fetch_add(layout.size(), Ordering::Relaxed);
        }
        block.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            self.used.fetch_sub(layout.size(), Ordering::Relaxed);
            // SAFETY: the caller returns a block of this allocator with the layout that it asked for.
            unsafe { self.pool.lock().deallocate(block, layout.align()) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let (Some(block), Ok(wanted)) = (
            NonNull::new(block),
            Layout::from_size_align(bytes, layout.align()),
        ) else {
            return null_mut();
        };
        // SAFETY: the caller passes a block of this allocator with the layout that it asked for.
        let moved = unsafe { self.pool.lock().reallocate(block, wanted) };
        if moved.is_some() {
            self.used.fetch_add(bytes, Ordering::Relaxed);
            self.used.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        moved.map_or(null_mut(), NonNull::as_ptr)
    }
}
