//! What the tests share: machines, made by hand and at random, and a platform that records and fails.
//!
//! With the feature `testing` the hardware models are there for the tests of others.

#![cfg(not(loom))]

pub mod fsl_mc;
#[cfg(test)]
pub(crate) mod machine;
#[cfg(test)]
pub(crate) mod memory;
pub mod pci;
#[cfg(test)]
pub(crate) mod platform;

/// The waits of a model's clock.
///
/// Under Miri, to whom ten thousand looks at a register that does not change are minutes, a wait that follows many of the same
/// length lasts longer: a bound is reached all the same, and overrun by [`Waits::COARSE`] such waits at most.
#[derive(Default)]
pub(crate) struct Waits(core::cell::Cell<(u64, u32)>);

impl Waits {
    /// How many waits of one length are exact under Miri.
    const EXACT: u32 = 128;
    /// How many of them a later one lasts.
    pub(crate) const COARSE: u64 = 64;

    /// How long a wait of `nanoseconds` lasts.
    pub(crate) fn last(&self, nanoseconds: u64) -> u64 {
        let (length, times) = self.0.get();
        let times = if length == nanoseconds {
            times.saturating_add(1)
        } else {
            0
        };
        self.0.set((nanoseconds, times));
        if cfg!(miri) && times > Self::EXACT {
            nanoseconds.saturating_mul(Self::COARSE)
        } else {
            nanoseconds
        }
    }
}

/// How much of something a test tries: `normally`, or `under_miri`, which is some thousand times slower than a processor and
/// looks for undefined behaviour, not for rare cases. Whatever Miri is spared goes through here.
#[cfg(test)]
pub(crate) const fn scaled<T: Copy>(normally: T, under_miri: T) -> T {
    if cfg!(miri) { under_miri } else { normally }
}

/// How many cases a property is tried with.
#[cfg(test)]
pub(crate) fn cases(normally: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases: scaled(normally, 2),
        failure_persistence: None,
        ..Default::default()
    }
}
