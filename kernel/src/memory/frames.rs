//! Frames for tables that hardware walks (nested paging, IOMMUs): pages of the heap, whose physical address is their address.
#![expect(unsafe_code, reason = "page tables are raw memory that hardware walks")]

use super::tables::FrameSource;
use crate::addr::HostPhys;
use alloc::alloc::{Layout, alloc_zeroed, dealloc};

const LAYOUT: Layout = match Layout::from_size_align(4096, 4096) {
    Ok(layout) => layout,
    Err(_) => Layout::new::<u64>(),
};

/// The heap as a source of frames.
#[derive(Clone, Copy, Debug)]
pub struct HeapFrames;

/// This many frames in one piece, a power of two, aligned to their size and all zeros; they are never given back.
pub fn contiguous(count: usize) -> Option<HostPhys> {
    let bytes = count.checked_mul(4096)?;
    let layout = Layout::from_size_align(bytes, bytes).ok().filter(|_| bytes > 0)?;
    // SAFETY: the layout has a size.
    let frames = unsafe { alloc_zeroed(layout) };
    (!frames.is_null()).then_some(HostPhys(frames as u64))
}

impl FrameSource for HeapFrames {
    fn allocate(&mut self) -> Option<HostPhys> {
        // SAFETY: the layout has a size.
        let frame = unsafe { alloc_zeroed(LAYOUT) };
        (!frame.is_null()).then_some(HostPhys(frame as u64))
    }

    fn free(&mut self, frame: HostPhys) {
        // SAFETY: the trait's users return only what `allocate` gave, once.
        unsafe { dealloc(frame.0 as *mut u8, LAYOUT) };
    }

    fn read(&self, frame: HostPhys, index: usize) -> u64 {
        // SAFETY: a frame of ours, and an index below 512.
        unsafe { (frame.0 as *const u64).add(index).read_volatile() }
    }

    fn write(&mut self, frame: HostPhys, index: usize, entry: u64) {
        // SAFETY: as for `read`; one aligned store.
        unsafe { (frame.0 as *mut u64).add(index).write_volatile(entry) };
    }
}
