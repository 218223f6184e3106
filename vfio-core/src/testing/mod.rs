//! What the tests share: machines, made by hand and at random, and a platform that records and fails.
//!
//! With the feature `testing` the hardware models are there for the tests of others.

#![cfg(not(loom))]

pub mod fsl_mc;
#[cfg(test)]
pub(crate) mod machine;
pub mod pci;
#[cfg(test)]
pub(crate) mod platform;

/// How many cases a property is tried with; few under Miri, which is slow and looks for something else.
#[cfg(test)]
pub(crate) fn cases(normally: u32) -> proptest::test_runner::Config {
    let cases = if cfg!(miri) { 2 } else { normally };
    proptest::test_runner::Config {
        cases,
        failure_persistence: None,
        ..Default::default()
    }
}
