//! Measuring one counter by another, on a machine whose host or firmware may stop the CPU at any time.

/// How long something took by a counter, when its start and its end are each known only to lie between two readings.
///
/// Whatever stops this CPU in between (a host that schedules it away, system management mode) widens the readings
/// around an event, and so shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    least: u64,
    most: u64,
}

impl Span {
    /// From the readings before and after the start, and before and after the end.
    #[must_use]
    pub const fn new(start: (u64, u64), end: (u64, u64)) -> Self {
        let most = end.1.wrapping_sub(start.0);
        let least = end.0.saturating_sub(start.1);
        Self { least, most }
    }

    /// The longest that it can have been, in ticks: waits that are made from it are too long, never too short.
    #[must_use]
    pub const fn most(self) -> u64 {
        self.most
    }

    /// Known to 1 in 64.
    const fn is_exact(self) -> bool {
        self.doubt() <= self.least / 64
    }

    const fn doubt(self) -> u64 {
        self.most.saturating_sub(self.least)
    }
}

/// Measures until a span is known exactly enough, [`TRIES`] times at most, and gives the one that is known best with what
/// was read with it. `None` where no measurement succeeds.
pub fn measure<T>(mut once: impl FnMut() -> Option<(Span, T)>) -> Option<(Span, T)> {
    let mut best: Option<(Span, T)> = None;
    for _ in 0..TRIES {
        let Some((span, read)) = once() else {
            continue;
        };
        if best
            .as_ref()
            .is_none_or(|(known, _)| span.doubt() < known.doubt())
        {
            best = Some((span, read));
        }
        if span.is_exact() {
            break;
        }
    }
    best
}

/// How often [`measure`] measures at most.
const TRIES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_disturbs_the_middle_does_not_matter_and_what_disturbs_an_end_shows() {
        let quiet = Span::new((100, 110), (10_100, 10_150));
        assert!(quiet.is_exact());
        assert_eq!(quiet.most(), 10_050);
        let late = Span::new((100, 110), (10_100, 121_000));
        assert!(!late.is_exact(), "the end was seen long after it");
        let slow_start = Span::new((100, 9_000), (10_100, 10_150));
        assert!(!slow_start.is_exact());
        assert!(!Span::new((100, 20_000), (10_100, 10_150)).is_exact());
    }

    #[test]
    fn a_disturbed_measurement_is_done_again() {
        let mut spans = [
            (10_100, 121_000),
            (10_100, 30_000),
            (10_100, 10_150),
            (10_100, 10_101),
        ]
        .into_iter();
        let mut number = 0;
        let found = measure(|| {
            number += 1;
            Some((Span::new((100, 110), spans.next()?), number))
        });
        assert_eq!(
            found.map(|(span, number)| (span.most(), number)),
            Some((10_050, 3))
        );
        assert_eq!(number, 3, "the first good one is taken");
    }

    #[test]
    fn a_machine_that_is_always_disturbed_gets_the_best_and_an_end() {
        let mut number = 0;
        let found = measure(|| {
            number += 1;
            Some((Span::new((0, 10), (1_000, 9_000 - number * 100)), ()))
        });
        assert_eq!(number, u64::from(TRIES));
        assert_eq!(found.map(|(span, ())| span.most()), Some(9_000 - number * 100));
        assert_eq!(measure(|| None::<(Span, ())>), None);
    }
}
