//! Domains: what memory devices reach, and at which addresses.

mod mapping;

pub use mapping::{Access, Mapping, MappingError, check_mappings};
