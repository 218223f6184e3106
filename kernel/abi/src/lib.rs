//! What the host tool and the hypervisor agree on.
//!
//! [`bundle`] travels in: one boot module with the configuration and the guests' images. The
//! hypervisor checks it again and trusts nothing in it. [`report`] travels out: typed records on the
//! second serial port, beside the text for people on the first. [`exit`] is how a run ends, [`end`] how
//! a guest does. [`disk`] is the pattern by which host tool and guest prove disk I/O, [`exchange`] how they
//! prove a network. [`statistics`] is what a guest can learn of its own running.

#![no_std]

extern crate alloc;

pub mod bundle;
pub mod disk;
pub mod end;
pub mod exchange;
pub mod exit;
pub mod report;
pub mod statistics;
