//! Driver for VT-d units (Intel Virtualization Technology for Directed I/O, revision 4.1), in legacy mode.
//!
//! A unit finds the domain of a requester by root and context tables, translates by second-level page tables of the
//! shared engine, and is told to forget by a queue of descriptors. Until a requester is attached its context entry is not present:
//! it reaches nothing, and each try is recorded. Interrupts go through a table in which each device has entries of its own, and
//! messages that name their target themselves are blocked.
//!
//! The unit is trusted to translate, not to answer well. The first error or silence puts the driver out of service for good
//! ([`Error::Broken`]): what is in quarantine stays there, and nothing new opens.
//!
//! Scalable mode is not used: units that have it have legacy mode too. Device TLBs are off.

mod domains;
mod error;
mod faults;
mod hardware;
mod init;
mod interrupts;
#[cfg(target_os = "none")]
mod machine;
mod queue;
mod scope;
#[cfg(test)]
#[cfg(not(loom))]
pub(crate) mod tests;
mod unit;

pub use error::{Act, Error, InitError, InitErrorKind, Misbehaviour};
pub use hardware::{Memory, Registers};
pub use init::Description;
#[cfg(target_os = "none")]
pub use machine::{StartError, units};
pub use scope::{Coverage, coverages};

use crate::addr::HostPhys;
use crate::memory::tables::Format;
use alloc::collections::BTreeMap;
use domains::Part;
use hardware::Walked;
use interrupts::InterruptTable;
use queue::Queue;
use spec::vtd::register::{Capability, Extended};
use vfio_core::DomainId;

/// A unit that denies everything but what is mapped for whoever is attached.
#[derive(Debug)]
pub struct Vtd<R, M: Memory, K> {
    registers: R,
    memory: Walked<M>,
    clock: K,
    /// Host physical address of the registers.
    base: u64,
    capability: Capability,
    extended: Extended,
    coverage: Coverage,
    format: Format,
    /// The last host address that DMA reaches.
    last_host: u64,
    queue: Queue,
    root: HostPhys,
    /// Context tables, by bus.
    contexts: BTreeMap<u8, HostPhys>,
    /// Domains that have requesters here.
    parts: BTreeMap<DomainId, Part<M>>,
    /// Who may be in which; the others are in quarantine.
    places: BTreeMap<u16, DomainId>,
    /// The unit's largest domain id, and the last that was given.
    last_id: u16,
    next_id: u16,
    /// Where interrupts are remapped.
    interrupts: Option<InterruptTable>,
    broken: Option<Misbehaviour>,
    commands: u64,
    overflows: u64,
}

impl<R, M: Memory, K> Vtd<R, M, K> {
    /// How the unit broke the specification, if it did.
    #[must_use]
    pub const fn broken(&self) -> Option<Misbehaviour> {
        self.broken
    }

    fn check_service(&self) -> Result<(), Error> {
        self.broken.map_or(Ok(()), |how| Err(Error::Broken(how)))
    }

    /// Puts the driver out of service.
    fn break_down(&mut self, how: Misbehaviour) -> Error {
        Error::Broken(*self.broken.get_or_insert(how))
    }
}
