//! PCI: configuration space, the machine's topology, capabilities, resets.

mod config;

pub use config::{ConfigAccess, Width};
