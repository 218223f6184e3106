//! What each fuzz target does with an input: it must neither panic nor hang, and what it asserts must hold.
//!
//! Plain functions over bytes, which `cargo test` runs over the corpus and cargo-fuzz runs for as long as one likes.

mod capabilities;
mod config_scan;
mod domain;
mod hostile;
mod input;
mod mappings;
mod mc_response;
mod sets;
mod topology;
mod units;
mod virtual_config;

/// A name, and what it runs.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target, by name, in order.
pub(crate) const TARGETS: &[Target] = &[
    ("capabilities", capabilities::run),
    ("config_scan", config_scan::run),
    ("domain", domain::run),
    ("mappings", mappings::run),
    ("mc_response", mc_response::run),
    ("sets", sets::run),
    ("topology", topology::run),
    ("virtual_config", virtual_config::run),
];
