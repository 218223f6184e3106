//! Which vCPUs of a guest no interrupt wakes: halted with interrupts off, or waiting for a start-up message.
//!
//! When all of them sleep like that and nothing was sent to any, the guest is over. No vCPU sees both at one moment: while it looks
//! what was sent, one that it has just seen asleep may take a message, answer it to one that was looked at before, and sleep
//! again. So wakings are counted in the same word, and a look between which and the next nobody woke is as good as a moment.

use crate::sync::{AtomicU64, Ordering};

/// The first bit of the number of wakings; below it is a bit for each vCPU.
const WAKINGS: u32 = 32;

/// Who sleeps.
#[derive(Debug)]
pub(super) struct Sleepers {
    all: u64,
    word: AtomicU64,
}

impl Sleepers {
    /// For `cpus` vCPUs, 1 to 32, all awake.
    pub(super) fn new(cpus: u8) -> Self {
        Self {
            all: u64::from(u32::MAX) >> (32 - u32::from(cpus)),
            word: AtomicU64::new(0),
        }
    }

    /// The vCPU `id` sleeps. Says whether all do while `quiet`.
    pub(super) fn sleep(&self, id: u8, quiet: impl FnOnce() -> bool) -> bool {
        let bit = 1 << (u32::from(id) % WAKINGS);
        let word = self.word.fetch_or(bit, Ordering::AcqRel) | bit;
        word & u64::from(u32::MAX) == self.all && quiet() && self.word.load(Ordering::Acquire) == word
    }

    /// The vCPU `id`, which may sleep, wakes up.
    pub(super) fn wake(&self, id: u8) {
        let bit = 1 << (u32::from(id) % WAKINGS);
        let mut seen = self.word.load(Ordering::Acquire);
        while seen & bit != 0 {
            let woken = (seen & !bit).wrapping_add(1 << WAKINGS);
            match self
                .word
                .compare_exchange(seen, woken, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}
