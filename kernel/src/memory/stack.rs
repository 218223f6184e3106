//! Stacks with a page below them that is never mapped, so that an overflow faults and nothing is overwritten.
#![expect(unsafe_code, reason = "stacks are raw memory")]

use super::paging::{PagingError, unmap_page};
use alloc::alloc::{Layout, alloc};

const PAGE: usize = 4096;

/// Allocates a stack of `bytes` (a multiple of 4 KiB) and returns its top. Stacks live for ever.
///
/// # Errors
/// [`PagingError::Memory`] where the heap is full.
pub fn allocate(bytes: usize) -> Result<u64, PagingError> {
    let layout = Layout::from_size_align(bytes + PAGE, PAGE).map_err(|_| PagingError::Range)?;
    // SAFETY: the layout has a size.
    let base = unsafe { alloc(layout) };
    if base.is_null() {
        return Err(PagingError::Memory);
    }
    unmap_page(base as u64)?;
    Ok(base as u64 + layout.size() as u64)
}
