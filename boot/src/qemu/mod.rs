//! The machine: QEMU's command line, its process, and what comes out of it.
//!
//! [`command`] says what machine it is, [`process`] runs it and always ends it, [`report`] reads the records.

pub mod command;
pub mod process;
pub mod report;
