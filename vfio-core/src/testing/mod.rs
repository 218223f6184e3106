//! What the tests share: machines, made by hand and at random, and a platform that records and fails.

#![cfg(not(loom))]

pub(crate) mod machine;
pub(crate) mod platform;

use proptest::test_runner::Config;

/// How many cases a property is tried with; few under Miri, which is slow and looks for something else.
pub(crate) fn cases(normally: u32) -> Config {
    let cases = if cfg!(miri) { 2 } else { normally };
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}
