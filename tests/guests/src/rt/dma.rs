//! Memory that a device and this program share.
//!
//! Identity-mapped, so that a pointer is a guest physical address, which is also the address that a device
//! uses. Accesses are copies, never references, because the device may write at any time.
#![expect(unsafe_code, reason = "memory that devices write")]

use alloc::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use core::sync::atomic::{Ordering, fence};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// Whole pages, contiguous, given out for ever.
#[derive(Debug)]
pub struct DmaBuffer {
    start: *mut u8,
    len: usize,
}

impl DmaBuffer {
    /// A buffer of at least `len` bytes, zeroed, rounded up to pages.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let len = len.max(1).next_multiple_of(PAGE);
        let Ok(layout) = Layout::from_size_align(len, PAGE) else {
            handle_alloc_error(Layout::new::<[u8; PAGE]>());
        };
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        start.expose_provenance();
        Self { start, len }
    }

    /// The address for the device.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.start.addr() as u64
    }

    /// Bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Never.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies out of the buffer, from `offset`. Panics where the range is not in it.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        let from = self.at(offset, bytes.len());
        fence(Ordering::Acquire);
        // SAFETY: `at` checked the range; `bytes` is a Rust object and cannot overlap the buffer.
        unsafe { core::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
    }

    /// Copies into the buffer, at `offset`. Panics where the range is not in it.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let to = self.at(offset, bytes.len());
        // SAFETY: as for reading.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        fence(Ordering::Release);
    }

    /// One 32-bit word at `offset`, read once, before everything that the program reads after it.
    #[must_use]
    pub fn read32(&self, offset: usize) -> u32 {
        let from = self.at(offset, 4).cast::<u32>();
        assert!(from.is_aligned(), "a word at offset {offset:#x}");
        // SAFETY: in the buffer and aligned.
        let word = unsafe { from.read_volatile() };
        fence(Ordering::Acquire);
        word
    }

    fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len),
            "{len} bytes at {offset:#x} in a buffer of {:#x} bytes",
            self.len
        );
        self.start.wrapping_add(offset)
    }
}
