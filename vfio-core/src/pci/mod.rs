//! PCI functions: how they are named, and how they form sets and isolation groups.

mod bdf;

pub use bdf::{Bdf, ParseBdfError};
