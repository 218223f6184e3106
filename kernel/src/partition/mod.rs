//! Partitions: which CPUs and memory a guest gets, and how it is run on them.
//!
//! [`check`] reads the configuration, which is untrusted, against the machine.

pub mod check;
