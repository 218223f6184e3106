//! Driver for AMD-Vi, the IOMMU of AMD's machines (AMD I/O Virtualization Technology (IOMMU) Specification 48882; constants and
//! sections are in `spec::amdvi`).
//!
//! A unit has one device table, with an entry for each requester id. From the start each entry is that of the quarantine: valid, with a
//! page table that maps nothing, without rights, interrupts blocked. An entry that is not valid would let everything pass, so there is
//! none. A domain has a page table and a number that tags what the unit remembers; a requester moves by a change of its entry.
//!
//! Whatever was changed is invalidated, and a COMPLETION_WAIT waited for, before a call is `Ok`. A unit that does not answer in time, or
//! refuses a command, is out of service for good ([`Error::Broken`]): what is in quarantine stays there, nothing new opens, and no memory
//! that it may still read is used for anything else.
//!
//! What the unit says of itself in its registers counts, not the copies in firmware's table.

mod commands;
mod device_table;
mod domain;
mod error;
mod events;
mod firmware;
mod hardware;
mod init;
mod interrupts;
mod log;
#[cfg(target_os = "none")]
mod machine;
#[cfg(test)]
pub(crate) mod tests;
mod unit;

pub use error::{Error, InitError, Misbehaviour};
pub use events::{Attempt, Blocked, Event};
pub use firmware::{Claimed, Firmware};
pub use hardware::Hardware;
pub use init::Capability;
pub use log::Read;
#[cfg(target_os = "none")]
pub use machine::{MachineUnit, units};
pub use unit::AmdViUnit;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use commands::{Command, Commands};
use device_table::{DeviceTable, Entry};
use domain::Part;
use interrupts::InterruptTable;
use log::EventLog;
use spec::amdvi::interrupt as message;
use vfio_core::DomainId;
use vfio_core::domain::{IovaRange, ReservedKind, ReservedRegion, UnitLimits};
use vfio_core::pci::Bdf;

use crate::addr::{HostPhys, Iova};

/// The quarantine's number. Number 0 is left alone: units tag with it what has no domain.
const QUARANTINE: u16 = 1;

/// An AMD-Vi unit that denies everything but what is mapped and routed.
#[derive(Debug)]
pub struct AmdVi<H: Hardware> {
    hardware: H,
    firmware: Firmware,
    table: DeviceTable,
    commands: Commands,
    log: EventLog,
    /// The page table of the quarantine: it maps nothing.
    empty: HostPhys,
    /// Levels of page tables.
    levels: u8,
    /// A new mapping needs an invalidation.
    caches_not_present: bool,
    parts: BTreeMap<DomainId, Part<H>>,
    /// Requester ids that may be in a domain.
    places: BTreeMap<u16, DomainId>,
    interrupts: BTreeMap<u16, InterruptTable>,
    /// The domain number that was given last.
    last_number: u16,
    broken: Option<Misbehaviour>,
    /// Events that were read while a command failed, for the next look.
    pending: Vec<Event>,
}

impl<H: Hardware> AmdVi<H> {
    /// What firmware says of the unit.
    #[must_use]
    pub const fn firmware(&self) -> &Firmware {
        &self.firmware
    }

    /// Commands sent so far.
    #[must_use]
    pub const fn commands(&self) -> u64 {
        self.commands.sent()
    }

    /// How the unit failed, if it did.
    #[must_use]
    pub const fn broken(&self) -> Option<Misbehaviour> {
        self.broken
    }

    /// Whether it translates for `requester`.
    #[must_use]
    pub fn covers(&self, requester: Bdf) -> bool {
        self.firmware.covers(requester) && self.table.has(requester.requester_id())
    }

    /// What every mapping must keep to.
    #[must_use]
    pub fn limits(&self) -> UnitLimits {
        // A page of each level: 4 KiB, 2 MiB, 1 GiB, and so on.
        let pages = (0..u32::from(self.levels)).fold(0, |pages, level| pages | 1u64 << (12 + 9 * level));
        let last = Iova(crate::memory::tables::Format::amdvi(self.levels).last());
        UnitLimits {
            page_sizes: pages,
            apertures: IovaRange::inclusive(Iova(0), last).into_iter().collect(),
        }
    }

    /// What no requester can use as memory: where interrupts are, and HyperTransport's own range.
    #[must_use]
    pub fn reserved() -> Vec<ReservedRegion> {
        let region = |kind, first, last| {
            IovaRange::inclusive(Iova(first), Iova(last)).map(|range| ReservedRegion { kind, range })
        };
        [
            region(ReservedKind::Msi, message::FIRST_ADDRESS, message::LAST_ADDRESS),
            region(ReservedKind::Reserved, message::HT_FIRST, message::HT_LAST),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Moves `requester` from quarantine to `domain`, which maps nothing if this is its first requester here.
    ///
    /// The entry's halves change one after the other, with an invalidation in between: first the domain's number, while the page table
    /// is still the one that maps nothing, then the page table. So nothing is ever remembered under the wrong number.
    ///
    /// # Errors
    /// The requester is not the unit's, is claimed by firmware, or in another domain; memory or numbers are short; or the unit
    /// fails. The requester then counts as attached until it was put into quarantine.
    pub fn attach(&mut self, domain: DomainId, requester: Bdf) -> Result<(), Error> {
        self.check_service()?;
        let id = self.id_of(requester)?;
        if !self.firmware.settings(id).is_empty() {
            return Err(Error::Claimed(requester));
        }
        match self.places.get(&id) {
            Some(same) if *same == domain => return Ok(()),
            Some(other) => {
                let domain = *other;
                return Err(Error::Attached { requester, domain });
            }
            None => {}
        }
        let part = self.part(domain)?;
        part.requesters.insert(id);
        let (number, root) = (part.number, part.tables.root());
        self.places.insert(id, domain);
        let settings = self.firmware.settings(id);
        self.table.set(
            &mut self.hardware,
            id,
            1,
            device_table::domain_of(number, settings),
        );
        self.run(&[Command::DeviceEntry(id)])?;
        let word = device_table::translation(root, self.levels);
        self.table.set(&mut self.hardware, id, 0, word);
        self.run(&[Command::DeviceEntry(id)])
    }

    /// Puts `requester` where it reaches no memory and raises no interrupt, from wherever it is, and waits until nothing that was let
    /// through is still on its way. With the last requester of a domain its page table goes.
    ///
    /// # Errors
    /// The requester is not the unit's, or the unit fails; its entry is that of the quarantine then, but may not have been read.
    pub fn quarantine(&mut self, requester: Bdf) -> Result<(), Error> {
        let id = self.id_of(requester)?;
        let Some(domain) = self.places.get(&id).copied() else {
            // It never left: its entry is the one that the table was made with.
            return self.check_service();
        };
        let Entry(words) = self.quarantined(id);
        // The page table first; the number stays until the unit has forgotten what it tagged with it.
        for word in [0, 2] {
            self.table.set(&mut self.hardware, id, word, words[word]);
        }
        self.check_service()?;
        let number = self.parts.get(&domain).map(|part| part.number);
        let forget = [
            Some(Command::DeviceEntry(id)),
            number.map(Command::domain),
            Some(Command::InterruptTable(id)),
        ];
        let forget: Vec<Command> = forget.into_iter().flatten().collect();
        self.run(&forget)?;
        self.table.set(&mut self.hardware, id, 1, words[1]);
        self.run(&[Command::DeviceEntry(id)])?;
        self.places.remove(&id);
        if let Some(table) = self.interrupts.remove(&id) {
            table.free(&mut self.hardware);
        }
        if let Some(part) = self.parts.get_mut(&domain) {
            part.requesters.remove(&id);
            if part.requesters.is_empty() {
                self.parts.remove(&domain);
            }
        }
        Ok(())
    }

    /// Takes events that the unit has logged, a bounded portion, and gives each to `each`.
    ///
    /// # Errors
    /// The unit is out of service, or goes there now.
    pub fn events(&mut self, mut each: impl FnMut(Event)) -> Result<Read, Error> {
        let mut read = Read::default();
        for event in core::mem::take(&mut self.pending) {
            read.events += 1;
            each(event);
        }
        self.check_service()?;
        let mut refused = None;
        let log = self.log.read(&mut self.hardware, |event| {
            refused = refused.or(failure(event));
            each(event);
        });
        match (log, refused) {
            (Ok(_), Some(how)) | (Err(how), _) => Err(self.break_down(how)),
            (Ok(more), None) => Ok(Read {
                events: read.events + more.events,
                ..more
            }),
        }
    }

    fn check_service(&self) -> Result<(), Error> {
        self.broken.map_or(Ok(()), |how| Err(Error::Broken(how)))
    }

    /// Puts the unit out of service.
    fn break_down(&mut self, how: Misbehaviour) -> Error {
        Error::Broken(*self.broken.get_or_insert(how))
    }

    fn id_of(&self, requester: Bdf) -> Result<u16, Error> {
        if self.covers(requester) {
            Ok(requester.requester_id())
        } else {
            Err(Error::UnknownRequester(requester))
        }
    }

    /// The entry of `id` in quarantine.
    fn quarantined(&self, id: u16) -> Entry {
        Entry::quarantine(self.empty, self.levels, QUARANTINE, self.firmware.settings(id))
    }

    /// Has the unit carry out `commands`. If it does not, its log says why, perhaps.
    fn run(&mut self, commands: &[Command]) -> Result<(), Error> {
        let Err(timeout) = self.commands.run(&mut self.hardware, commands) else {
            return Ok(());
        };
        let pending = &mut self.pending;
        let _ = self.log.read(&mut self.hardware, |event| pending.push(event));
        let how = self.pending.iter().find_map(|event| failure(*event));
        Err(self.break_down(how.unwrap_or(timeout)))
    }
}

/// What an event says of the unit's commands.
const fn failure(event: Event) -> Option<Misbehaviour> {
    match event {
        Event::IllegalCommand { at } => Some(Misbehaviour::IllegalCommand { at }),
        Event::CommandHardware { at, kind } => Some(Misbehaviour::CommandHardware { at, kind }),
        _ => None,
    }
}
