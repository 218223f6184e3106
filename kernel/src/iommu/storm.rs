//! Rate limit on reported faults: a device can fault as fast as it can access memory, one record for each 4 bytes.
//!
//! A fault like one that was just passed on (same requester, page and kind of access) is counted only. What is left
//! draws on a token bucket, so that even faults at ever new pages end in counting.

use super::{FaultAccess, FaultRecord};
use alloc::collections::{BTreeMap, VecDeque};
use vfio_core::Requester;

/// How much is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StormLimits {
    /// Faults that pass at once after a quiet time.
    pub burst: u32,
    /// Nanoseconds after which one more may pass.
    pub refill: u64,
    /// Nanoseconds for which a fault like one that has passed is only counted.
    pub repeat: u64,
    /// How many passed faults are remembered to tell repeats.
    pub remembered: usize,
}

impl Default for StormLimits {
    /// 64 at once, then 16 a second; repeats within a second count only.
    fn default() -> Self {
        Self {
            burst: 64,
            refill: 62_500_000,
            repeat: 1_000_000_000,
            remembered: 64,
        }
    }
}

/// What to do with a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on.
    Report,
    /// It is like one that was passed on a moment ago.
    Repeat,
    /// Too many at once.
    Suppress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    requester: Option<Requester>,
    page: Option<u64>,
    access: FaultAccess,
}

/// Counts every fault, and says which to pass on.
#[derive(Debug)]
pub struct Storm {
    limits: StormLimits,
    tokens: u32,
    refilled: u64,
    recent: VecDeque<(Key, u64)>,
    totals: BTreeMap<Option<Requester>, u64>,
    total: u64,
}

/// Requesters that are counted each by itself; a unit that makes up names must not fill the heap.
const MAX_COUNTED: usize = 4096;

impl Storm {
    /// A quiet beginning.
    #[must_use]
    pub fn new(limits: StormLimits) -> Self {
        Self {
            limits,
            tokens: limits.burst,
            refilled: 0,
            recent: VecDeque::new(),
            totals: BTreeMap::new(),
            total: 0,
        }
    }

    /// Counts `fault`, which was seen at `now` (nanoseconds, monotonic), and says whether to pass it on.
    pub fn judge(&mut self, fault: &FaultRecord, now: u64) -> Verdict {
        self.count(fault.requester);
        let key = Key {
            requester: fault.requester,
            page: fault.address.map(|address| address.0 >> 12),
            access: fault.access,
        };
        self.recent
            .retain(|(_, at)| now.saturating_sub(*at) < self.limits.repeat);
        if self.recent.iter().any(|(recent, _)| *recent == key) {
            return Verdict::Repeat;
        }
        self.refill(now);
        let Some(left) = self.tokens.checked_sub(1) else {
            return Verdict::Suppress;
        };
        self.tokens = left;
        if self.recent.len() >= self.limits.remembered {
            self.recent.pop_front();
        }
        self.recent.push_back((key, now));
        Verdict::Report
    }

    fn count(&mut self, requester: Option<Requester>) {
        self.total = self.total.saturating_add(1);
        let room = self.totals.len() < MAX_COUNTED;
        if let Some(count) = self.totals.get_mut(&requester) {
            *count = count.saturating_add(1);
        } else if room {
            self.totals.insert(requester, 1);
        }
    }

    fn refill(&mut self, now: u64) {
        let earned = now.saturating_sub(self.refilled) / self.limits.refill.max(1);
        if earned > 0 {
            let room = self.limits.burst - self.tokens.min(self.limits.burst);
            self.tokens += u32::try_from(earned).unwrap_or(u32::MAX).min(room);
            self.refilled = now;
        }
    }

    /// All faults of `requester` so far, passed on or not; of those whom no unit could name, for `None`.
    #[must_use]
    pub fn of(&self, requester: Option<Requester>) -> u64 {
        self.totals.get(&requester).copied().unwrap_or(0)
    }

    /// All faults so far.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Iova;
    use crate::iommu::FaultReason;

    /// Numbers beyond 16 bits go on in the next segment.
    fn requester(number: u32) -> Option<Requester> {
        Some(Requester::Pci {
            segment: (number >> 16) as u16,
            id: number as u16,
        })
    }

    fn fault(number: u32, address: u64, access: FaultAccess) -> FaultRecord {
        FaultRecord {
            requester: requester(number),
            address: Some(Iova(address)),
            access,
            reason: FaultReason::NoMapping,
        }
    }

    #[test]
    fn one_transfer_is_one_report_and_all_its_pieces_are_counted() {
        let mut storm = Storm::new(StormLimits::default());
        let verdicts: Vec<Verdict> = (0..1024)
            .map(|piece| storm.judge(&fault(8, 0x5000 + piece * 4, FaultAccess::Write), 10))
            .collect();
        assert_eq!(verdicts[0], Verdict::Report);
        assert!(verdicts[1..].iter().all(|verdict| *verdict == Verdict::Repeat));
        assert_eq!(storm.of(requester(8)), 1024);
        assert_eq!(
            storm.judge(&fault(8, 0x5000, FaultAccess::Read), 10),
            Verdict::Report
        );
        assert_eq!(
            storm.judge(&fault(9, 0x5000, FaultAccess::Write), 10),
            Verdict::Report
        );
        assert_eq!(
            storm.judge(&fault(8, 0x5000, FaultAccess::Write), 2_000_000_000),
            Verdict::Report
        );
    }

    #[test]
    fn ever_new_pages_run_into_the_bucket_and_it_refills() {
        let limits = StormLimits {
            burst: 4,
            refill: 100,
            repeat: 1000,
            remembered: 8,
        };
        let mut storm = Storm::new(limits);
        let mut reported = 0;
        for page in 0..1000 {
            reported +=
                u32::from(storm.judge(&fault(1, page << 12, FaultAccess::Write), 50) == Verdict::Report);
        }
        assert_eq!(reported, 4);
        assert_eq!(storm.total(), 1000);
        assert_eq!(
            storm.judge(&fault(1, 0xdead_0000, FaultAccess::Write), 150),
            Verdict::Report
        );
        assert_eq!(
            storm.judge(&fault(1, 0xdeae_0000, FaultAccess::Write), 151),
            Verdict::Suppress
        );
    }

    #[test]
    fn invented_requesters_do_not_fill_the_heap() {
        let mut storm = Storm::new(StormLimits::default());
        for number in 0..100_000 {
            storm.judge(&fault(number, 0, FaultAccess::Write), 0);
        }
        assert!(storm.totals.len() <= MAX_COUNTED && storm.recent.len() <= 64);
        assert_eq!(storm.total(), 100_000);
    }
}
