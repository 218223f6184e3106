//! Device sets, isolation groups and cohorts: which devices must be opened together, and how.
//!
//! Devices that can affect one another are opened together or not at all. This crate works out which ones these
//! are, decides whether an owner may have them, and opens and closes them whole. It touches no hardware: what
//! does comes through the traits of [`lease`], so that the same code runs in a hypervisor and in tests. It needs
//! `alloc`, has no unsafe blocks, and knows no architecture.
//!
//! # The model
//!
//! | word | meaning | here |
//! |---|---|---|
//! | device | what can be assigned | [`DeviceId`] |
//! | device set | devices that share one open and reset scope: a slot below a port, else a bus below a bridge, else the device alone | [`set`], [`SetId`] |
//! | isolation group | devices that the IOMMU cannot tell apart, or that reach one another without passing it | [`pci::GroupLink`] |
//! | cohort | the unit of assignment: a connected component of "same set" and "same isolation group" | [`cohort`] |
//! | owner | who holds a cohort: a guest or the hypervisor | [`Owner`] |
//! | domain | an I/O address space that an IOMMU enforces; one for each owner, for all its cohorts | [`lease::Domain`] |
//! | quarantine | the deny-all domain, where every device is unless its cohort is open | [`lease::DmaDomains::quarantine`] |
//! | lease | the proof that an owner holds a whole cohort; dropping it closes the cohort | [`lease::Lease`] |
//!
//! From discovery to a lease there are four steps, and only the last one touches a device:
//!
//! 1. [`pci::Topology::new`] checks the functions that discovery found, and trusts none of it.
//! 2. [`cohort::Cohorts::new`] finds the cohorts, and keeps why each member is in.
//! 3. [`cohort::Cohorts::plan_open`], or [`lease::CohortTable::plan_open`] where cohorts are open already, answers a
//!    request with a plan or with a [`cohort::Refusal`] that names the devices and the cause.
//! 4. [`lease::CohortTable::open`] carries the plan out, whole, or leaves everything as it was.
//!
//! The states of a cohort ([`lease::CohortState`]):
//!
//! | from | to | when |
//! |---|---|---|
//! | `Quarantined` | `Opening(owner)` | a plan is carried out |
//! | `Opening` | `Open(owner)` | every step went well: the owner has the lease |
//! | `Opening` | `Quarantined` | a step failed, and all is as before |
//! | `Open` | `Closing(owner)` | the lease is closed or dropped |
//! | `Closing` | `Quarantined` | every step went well |
//! | `Opening`, `Closing` | `Broken(why)` | undoing failed, or a step of the close: hardware is in a state that nobody knows |
//!
//! An open quiesces all members, resets by the largest scope that stays within the cohort, checks that every device
//! came back, attaches all requester ids to the owner's domain, calls `open_device` for each, and enables interrupts.
//! A close quiesces, calls `close_device`, frees interrupts, returns all to quarantine and waits for that, and resets.
//! A failing step of an open is undone in reverse; a failing step of a close does not keep the others from being done.
//!
//! Three rules hold throughout. Waits happen in a state that others see, never under a lock. The lock of the
//! [set table](set::SetTable) and the lock of a set are never held together. What nothing can reset never goes from one
//! owner to another.
//!
//! # Example
//!
//! Half of a slot is refused, with the reason:
//!
//! ```
//! use vfio_core::Owner;
//! use vfio_core::cohort::{Cohorts, Terms};
//! use vfio_core::pci::{Acs, AcsCapability, Bdf, BusRange, Function, PortKind, ResetMethods, Topology};
//!
//! // A root port, and a device with two functions below it, which a reset of the slot reaches.
//! let port = Bdf::new(0, 0, 0x1c, 0);
//! let mut functions = vec![Function {
//!     buses: Some(BusRange { secondary: 1, subordinate: 1 }),
//!     acs: Some(AcsCapability::enabled(Acs::PORT)),
//!     ..Function::new(port, PortKind::RootPort)
//! }];
//! for number in 0..2 {
//!     functions.push(Function {
//!         parent: Some(port),
//!         acs: Some(AcsCapability::enabled(Acs::FUNCTION)),
//!         resets: ResetMethods::BUS,
//!         ..Function::new(Bdf::new(0, 1, 0, number), PortKind::Endpoint)
//!     });
//! }
//!
//! let cohorts = Cohorts::new(&Topology::new(functions)?);
//! let (first, second) = (Bdf::new(0, 1, 0, 0).into(), Bdf::new(0, 1, 0, 1).into());
//! let terms = Terms { interrupts_isolated: true, allow_unsafe_interrupts: false };
//!
//! let refusal = cohorts.plan_open(Owner::Guest(1), &[first], terms).unwrap_err();
//! assert_eq!(
//!     refusal.to_string(),
//!     "0000:01:00.1 must come with 0000:01:00.0: both are reset by slot 0000:01:00"
//! );
//!
//! let plan = cohorts.plan_open(Owner::Guest(1), &[first, second], terms)?;
//! assert_eq!(plan.cohorts().count(), 1);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # What is not here
//!
//! Buses other than PCI; hot plug (a topology does not change once it is checked); bringing a cohort that is out of
//! service back; virtual functions together with their physical function (the latter is then not assignable).

#![cfg_attr(not(any(test, loom, feature = "testing")), no_std)]
#![deny(missing_docs)]

extern crate alloc;
#[cfg(any(test, feature = "testing"))]
extern crate std;

pub mod addr;
pub mod clock;
pub mod cohort;
pub mod device;
pub mod domain;
mod fault;
pub mod fsl_mc;
mod hash;
mod id;
pub mod lease;
pub mod mediated;
pub mod pci;
pub mod platform;
#[cfg(any(doctest, all(test, not(loom), not(miri))))]
mod readme;
pub mod set;
mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use domain::{Access, Mapping, MappingError, check_mappings};
pub use fault::{Failure, Fault, Step};
pub use id::{DeviceId, DomainId, Owner, Requester, SetId};
