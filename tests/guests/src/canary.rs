//! Memory that nobody may write: filled with a pattern at the start, checked at the end.
//!
//! What a device of another guest, or a hypervisor that mixed up two guests, wrote there shows.
#![expect(unsafe_code, reason = "uses RAM beyond this program")]

use core::ops::Range;

use crate::pattern::{CANARY, WORD, word};

/// Most memory that is watched, in bytes: filling more takes long where the CPU is emulated.
const MOST: u64 = 16 * 1024 * 1024;

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Watched memory.
#[derive(Debug)]
pub struct Canary {
    range: Range<u64>,
}

/// Watched memory changed.
#[derive(Debug, thiserror::Error)]
#[error("{words} words of watched memory changed, the first at {first:#x}: {found:#018x} stands there")]
pub struct CanaryError {
    /// How many words.
    pub words: u64,
    /// Address of the first.
    pub first: u64,
    /// What stands there.
    pub found: u64,
}

impl Canary {
    /// Watches `ram` (whole pages of it, at most 16 MiB), which must be RAM that nothing uses: what
    /// [`crate::rt::Machine::free_ram`] says.
    #[must_use]
    pub fn plant(ram: &Range<u64>) -> Self {
        let start = ram.start.next_multiple_of(PAGE);
        let end = (ram.end - ram.end % PAGE)
            .min(start.saturating_add(MOST))
            .max(start);
        for address in (start..end).step_by(WORD) {
            // SAFETY: RAM of this guest beyond its image, identity-mapped, aligned.
            unsafe { pointer(address).write_volatile(word(CANARY, address)) };
        }
        Self { range: start..end }
    }

    /// The watched addresses.
    #[must_use]
    pub const fn range(&self) -> &Range<u64> {
        &self.range
    }

    /// Checks every word.
    ///
    /// # Errors
    /// Something changed.
    pub fn check(&self) -> Result<(), CanaryError> {
        let mut damage: Option<CanaryError> = None;
        for address in self.range.clone().step_by(WORD) {
            // SAFETY: as in `plant`.
            let found = unsafe { pointer(address).read_volatile() };
            if found != word(CANARY, address) {
                let first = CanaryError {
                    words: 0,
                    first: address,
                    found,
                };
                damage.get_or_insert(first).words += 1;
            }
        }
        damage.map_or(Ok(()), Err)
    }
}

fn pointer(address: u64) -> *mut u64 {
    core::ptr::with_exposed_provenance_mut(address as usize)
}
