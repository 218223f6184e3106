//! Where a start's time goes: the counter read between the steps of the boot, for `bench`.
//!
//! Only the boot CPU notes steps; a note costs some twenty instructions, so it is always on.

use crate::cpu::clock;
use arrayvec::ArrayVec;
use spin::Mutex;

/// Most steps that are kept; later ones are left out.
const MOST: usize = 64;

/// The end of a step.
#[derive(Clone, Copy, Debug)]
struct End {
    name: &'static str,
    ticks: u64,
    waited: u64,
}

static ENDS: Mutex<ArrayVec<End, MOST>> = Mutex::new(ArrayVec::new_const());

/// Notes that the step `name` has ended, and the next begins.
pub fn done(name: &'static str) {
    // What does not fit is left out: it is a measurement, nothing rests on it.
    let _ = ENDS.lock().try_push(End {
        name,
        ticks: clock::ticks(),
        waited: clock::waited(),
    });
}

/// Forgets all steps, and begins with the one that follows.
pub fn begin() {
    ENDS.lock().clear();
    done("");
}

/// Each step with the ticks that it took outside waits and those that it waited, in order.
pub fn taken() -> impl Iterator<Item = (&'static str, u64, u64)> {
    let ends = ENDS.lock().clone();
    (1..ends.len()).filter_map(move |at| {
        let (last, this) = (ends.get(at - 1)?, ends.get(at)?);
        let took = this.ticks.wrapping_sub(last.ticks);
        let waited = this.waited.wrapping_sub(last.waited);
        Some((this.name, took.saturating_sub(waited), waited))
    })
}
