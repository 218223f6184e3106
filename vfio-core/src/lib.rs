//! Device sets, isolation groups and cohorts: which devices must be opened together, and how.

#![cfg_attr(not(any(test, loom)), no_std)]

#[cfg(test)]
extern crate std;

pub mod addr;
pub mod pci;
