//! Device sets, isolation groups and cohorts: which devices must be opened together, and how.

#![cfg_attr(not(any(test, loom)), no_std)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod addr;
pub mod cohort;
mod fault;
mod hash;
mod id;
pub mod lease;
pub mod pci;
mod region;
pub mod set;
mod sync;
#[cfg(test)]
mod testing;

pub use fault::{Failure, Fault, Step};
pub use id::{DeviceId, DomainId, Owner, Requester, SetId};
pub use region::{Access, Region, RegionError, check_regions};
