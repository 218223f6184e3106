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
//! | device set | devices that share one open and reset scope: a slot below a port, else a bus below a bridge; an fsl-mc container; else the device alone | [`set`], [`SetId`] |
//! | isolation group | devices that the IOMMU cannot tell apart, or that reach one another without passing it | [`cohort::GroupId`], [`pci::GroupLink`] |
//! | cohort | the unit of assignment: a connected component of "same set", "same isolation group" and, for fsl-mc, "container inside" | [`cohort`] |
//! | owner | who holds a cohort: a guest or the hypervisor | [`Owner`] |
//! | domain | an I/O address space that IOMMUs enforce; one for each owner, for all its cohorts, mapped and unmapped by the rules in [`domain`] | [`lease::Domain`] |
//! | mediated device | software that looks like a device, and reaches memory through its owner's domain | [`mediated`] |
//! | quarantine | the deny-all domain, where every device is unless its cohort is open | [`lease::DmaDomains::quarantine`] |
//! | lease | the proof that an owner holds a whole cohort; dropping it closes the cohort | [`lease::Lease`] |
//! | handle | one more open of one device by its owner; dropping it closes that, and a lease outlives its handles | [`set::Handle`] |
//!
//! From discovery to a lease there are four steps, and only the last one touches a device:
//!
//! 1. Each bus adds what it found to a [`cohort::Inventory`], by one call: [`add_pci`](cohort::Inventory::add_pci) for what
//!    [`pci::Topology::new`] has checked, which trusts none of it; [`add_fsl_mc`](cohort::Inventory::add_fsl_mc) for the
//!    [inventory](fsl_mc::inventory) of a scan; [`add_platform`](cohort::Inventory::add_platform) for descriptions; and
//!    [`add_mediated`](cohort::Inventory::add_mediated).
//! 2. [`cohort::Cohorts::build`] finds the cohorts, and keeps why each member is in. ([`cohort::Cohorts::new`] does both for a
//!    machine that has PCI only.)
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
//! | `Open` | `Resetting(owner)` | the owner asks for a reset of a device or a whole set |
//! | `Resetting` | `Open(owner)` | it is done, or it failed and the devices need a reset still |
//! | `Open` | `Closing(owner)` | the lease is closed or dropped |
//! | `Closing` | `Quarantined` | every step went well |
//! | `Opening`, `Closing` | `Broken(why)` | undoing failed, or a step of the close: hardware is in a state that nobody knows |
//! | `Broken` | `Repairing` | [`lease::CohortTable::repair`]: quiesce, quarantine, reset, and see whether all answer |
//! | `Repairing` | `Quarantined`, `Broken(why)` | every step went well, or one did not |
//!
//! An open quiesces all members, resets by the largest scope that stays within the cohort, checks that every device
//! came back, attaches all requester ids to the owner's domain, calls `open_device` for each, and enables interrupts.
//! A close quiesces, calls `close_device`, frees interrupts, returns all to quarantine and waits for that, and resets.
//! A failing step of an open is undone in reverse; a failing step of a close does not keep the others from being done.
//!
//! Rules that hold throughout:
//!
//! - Waits happen in a state that others see, never under a lock. Whoever comes meanwhile is refused, or waits as its
//!   [`set::Patience`] says, which has an end.
//! - At most one lock of this crate's tables and sets is held at a time, and none while the platform works.
//! - What nothing can reset never goes from one owner to another.
//! - A physical function and its virtual functions, which are sets of their own, are not open for two owners at a time.
//! - A device that was closed needs a reset until one of it or of its set works. A reset of a set reaches all of it and
//!   nothing else, or is refused ([`cohort::Obstacle`]).
//! - The user may split a device off from its isolation group (`split-unsafe`, [`cohort::Inventory::splitting`]), but not from
//!   its set, nor from what the IOMMU takes it for; whatever that overrides is listed ([`cohort::Cohorts::cuts`]).
//! - A device can leave ([`lease::CohortTable::remove`]); its cohort goes on with those that stay.
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
//! # What a PCI function shows
//!
//! [`pci::vconfig::VirtualConfig`] is its configuration space as a guest sees it, made from tables: what no row names does
//! not exist. What a write means beyond bits comes back as [`pci::vconfig::Effect`]s. [`pci::irq`] has its interrupts as state
//! machines, [`pci::region`] its BARs in parts that can be mapped, [`pci::quirk`] what is known of devices that lie.
//!
//! [`pci::assigned::PciDevice`] ties them together to one [`device::Device`], as there is one for
//! [fsl-mc objects](fsl_mc::assigned), [platform devices](platform::PlatformDevice) and [mediated ones](mediated::Mediated): it
//! carries the effects out, keeps the BARs mapped while they answer and no longer, and leaves nothing on when it is closed.
//! [`pci::assigned::OpenFunction`] is the same over one narrow trait, for a hypervisor whose leases open and reset functions.
//!
//! # What is not here
//!
//! Hot plug of new devices: a topology does not grow once it is checked. Virtual functions that nobody listed: their physical
//! function is then not assignable.

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

pub use domain::{Access, Mapping};
pub use fault::{Failure, Fault, Step};
pub use id::{DeviceId, DomainId, Owner, Requester, SetId};
