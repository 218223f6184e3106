//! Time, as a trait so that host tests need not wait.

/// A monotonic clock that can also wait.
pub trait Clock {
    /// Nanoseconds since some fixed moment.
    fn now(&self) -> u64;

    /// Returns `nanoseconds` later, or a little after that.
    fn wait(&self, nanoseconds: u64);
}

/// Nanoseconds in a millisecond.
pub const MILLISECOND: u64 = 1_000_000;

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> u64 {
        (**self).now()
    }

    fn wait(&self, nanoseconds: u64) {
        (**self).wait(nanoseconds);
    }
}
