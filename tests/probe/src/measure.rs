//! What a read of a disk costs: ticks of the time-stamp counter, and what the hypervisor counts of this guest meanwhile.

use crate::failure::Failure;
use crate::sys::{self, File, Output};
use cohort_abi::statistics::{CPUID, LEAF, NAMES, SIGNATURE, STARTED};
use core::fmt::Write as _;

/// Most reads of one measurement.
const MOST: usize = 1024;
/// Reads before, so that everything has had its first time.
const WARM_UP: u64 = 16;

/// Prints where the counter stands, and where it stood at the guest's first instruction if somebody knows.
pub(crate) fn ticks() {
    let now = sys::ticks();
    let _ = write!(Output, "init={now}");
    if let Some(started) = Counters::now().and_then(|counters| counters.0.get(STARTED).copied()) {
        let _ = write!(Output, " started={started}");
    }
    let _ = writeln!(Output);
}

/// Reads `bytes` at a time, `count` times, one after the other over the disk, and prints the median and the least.
pub(crate) fn read(path: &str, bytes: u32, count: u32) -> Result<(), Failure> {
    let (file, buffer) = (File::disk(path)?, sys::buffer()?);
    let piece = buffer.get_mut(..bytes as usize).ok_or(Failure::Usage)?;
    let mut took = [0; MOST];
    let took = took
        .get_mut(..count as usize)
        .filter(|took| !took.is_empty())
        .ok_or(Failure::Usage)?;
    let size = file.size()?;
    let pieces = size
        .checked_div(bytes.into())
        .filter(|pieces| *pieces > 0)
        .ok_or(Failure::Size(size))?;
    for number in 0..WARM_UP {
        file.read_at(piece, number % pieces * u64::from(bytes))?;
    }
    let before = Counters::now();
    for (number, took) in (WARM_UP..).zip(&mut *took) {
        let start = sys::ticks();
        file.read_at(piece, number % pieces * u64::from(bytes))?;
        *took = sys::ticks() - start;
    }
    let after = Counters::now();
    took.sort_unstable();
    let (least, median) = (took.first(), took.get(took.len() / 2));
    let (least, median) = (least.unwrap_or(&0), median.unwrap_or(&0));
    let _ = write!(Output, "bytes={bytes} reads={count} ticks={median} least={least}");
    if let (Some(before), Some(after)) = (before, after) {
        for (name, count) in NAMES.iter().zip(after.since(&before)) {
            if count != 0 {
                let _ = write!(Output, " {name}={count}");
            }
        }
    }
    let _ = writeln!(Output);
    Ok(())
}

/// The hypervisor's counters of this guest.
struct Counters([u64; NAMES.len()]);

impl Counters {
    /// As they are now; `None` where no hypervisor counts.
    fn now() -> Option<Self> {
        let [_, b, c, d] = sys::cpuid(LEAF - 1, 0);
        let said = [b, c, d].map(u32::to_le_bytes);
        if said.as_flattened() != SIGNATURE {
            return None;
        }
        let mut counters = [0; NAMES.len()];
        for (number, counter) in (0..).zip(&mut counters) {
            let [low, high, ..] = sys::cpuid(LEAF, number);
            *counter = u64::from(high) << 32 | u64::from(low);
        }
        Some(Self(counters))
    }

    /// How often each happened after `earlier`, without the looking.
    fn since(&self, earlier: &Self) -> [u64; NAMES.len()] {
        let mut out = [0; NAMES.len()];
        for (to, (new, old)) in out.iter_mut().zip(self.0.iter().zip(&earlier.0)) {
            *to = new.wrapping_sub(*old);
        }
        // From this counter's reading to its next one leaf was asked for each counter, and one for the signature.
        if let Some(own) = out.get_mut(CPUID) {
            *own = own.saturating_sub(NAMES.len() as u64 + 1);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_in_between_counts() {
        let (mut before, mut after) = (Counters([5; NAMES.len()]), Counters([5; NAMES.len()]));
        after.0[CPUID] += NAMES.len() as u64 + 1;
        after.0[1] += 3;
        let mut expected = [0; NAMES.len()];
        expected[1] = 3;
        assert_eq!(after.since(&before), expected);
        before.0[3] = u64::MAX;
        assert_eq!(after.since(&before)[3], 6);
    }

    #[test]
    fn nothing_counts_on_a_machine_without_cohort() {
        assert!(Counters::now().is_none());
    }

    #[test]
    fn senseless_measurements_are_refused() {
        assert!(matches!(read("/no/such/disk", 4096, 1), Err(Failure::System(..))));
    }
}
