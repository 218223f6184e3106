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
