//! Domains of a unit: context entries of requesters, and the page tables that they lead to.
//!
//! Quarantine is a context entry that is not present: every access faults, and faults are recorded. A domain is made with its
//! first requester and gone with its last one; the unit has forgotten everything under its id by then.

use super::hardware::{Memory, Registers, Walked};
use super::queue::context;
use super::{Error, Vtd};
use crate::addr::HostPhys;
use crate::memory::tables::{FrameSource, Tables};
use alloc::collections::BTreeSet;
use spec::second_level::Entry;
use spec::vtd::context::{High, Low, Root};
use vfio_core::clock::Clock;
use vfio_core::domain::IovaRange;
use vfio_core::{Access, DomainId, Mapping, Requester};

/// The unit's part of a domain.
#[derive(Debug)]
pub(super) struct Part<M: Memory> {
    /// The unit's id for it.
    id: u16,
    tables: Tables<Walked<M>>,
    /// Who may be in it.
    members: BTreeSet<u16>,
}

impl<R: Registers, M: Memory, K: Clock> Vtd<R, M, K> {
    /// The requester's id, if it is behind this unit.
    pub(super) fn source(&self, requester: Requester) -> Result<u16, Error> {
        match requester {
            Requester::Pci { id, .. } if self.coverage.covers(requester) => Ok(id),
            _ => Err(Error::UnknownRequester),
        }
    }

    /// Moves a requester from quarantine to `domain`, which maps nothing if it is the first one there.
    ///
    /// # Errors
    /// It is in another domain, nothing is left of something, or the unit misbehaves; it reaches at most what `domain` maps then.
    pub fn attach(&mut self, domain: DomainId, requester: Requester) -> Result<(), Error> {
        self.check_service()?;
        let source = self.source(requester)?;
        match self.places.get(&source) {
            Some(place) if *place == domain => return Ok(()),
            Some(_) => return Err(Error::Attached),
            None => {}
        }
        let table = self.context_table(source)?;
        if !self.parts.contains_key(&domain) {
            let part = Part {
                id: self.free_id()?,
                tables: Tables::new(self.memory.clone(), self.format)?,
                members: BTreeSet::new(),
            };
            self.parts.insert(domain, part);
        }
        let part = self.parts.get_mut(&domain).ok_or(Error::UnknownDomain)?;
        part.members.insert(source);
        self.places.insert(source, domain);
        let id = part.id;
        let high = High::new().with_width(self.format.levels - 2).with_domain(id);
        let low = part.tables.root().0 | Low::PRESENT.bits();
        let at = usize::from(source & 0xff) * 2;
        // The half with the present bit last.
        self.memory.write(table, at + 1, high.into_bits());
        self.memory.write(table, at, low);
        // What is not present is remembered under id 0.
        let forget = [context(0, source), self.translations(id)];
        self.made_present(&forget)
    }

    /// Puts a requester where it reaches nothing. When this is `Ok`, the unit has finished with whatever it could reach before.
    ///
    /// # Errors
    /// The unit misbehaves; the requester's cohort must be stopped by other means.
    pub fn quarantine(&mut self, requester: Requester) -> Result<(), Error> {
        self.check_service()?;
        let source = self.source(requester)?;
        let Some(domain) = self.places.get(&source).copied() else {
            return Ok(());
        };
        let part = self.parts.get(&domain).ok_or(Error::UnknownDomain)?;
        let id = part.id;
        let table = self.context_table(source)?;
        let at = usize::from(source & 0xff) * 2;
        self.memory.write(table, at, 0);
        self.memory.write(table, at + 1, 0);
        // Write buffers are flushed by the invalidation; contexts first, so that nothing comes back (section 6.2.2).
        self.invalidate(&[context(id, source), self.translations(id)])?;
        self.places.remove(&source);
        if let Some(part) = self.parts.get_mut(&domain) {
            part.members.remove(&source);
            if part.members.is_empty() {
                self.parts.remove(&domain);
            }
        }
        Ok(())
    }

    /// Maps one piece of memory with the largest pages that there are.
    ///
    /// # Errors
    /// The range is none that the tables can map, there is no memory (nothing is mapped then), or the unit misbehaves.
    pub fn map(&mut self, domain: DomainId, mapping: Mapping) -> Result<(), Error> {
        self.check_service()?;
        let range = mapping.range().map_err(|_| Error::HostAddress)?;
        let last = mapping.host.0.checked_add(mapping.size - 1);
        if last.is_none_or(|last| last > self.last_host) {
            return Err(Error::HostAddress);
        }
        let mut rights = Entry::empty();
        rights.set(Entry::READ, mapping.access.contains(Access::READ));
        rights.set(Entry::WRITE, mapping.access.contains(Access::WRITE));
        rights.set(Entry::SNOOP, self.extended.snoop_control());
        let part = self.parts.get_mut(&domain).ok_or(Error::UnknownDomain)?;
        let id = part.id;
        let mapped = part
            .tables
            .map(mapping.iova.0, mapping.host, mapping.size, rights.bits());
        let forget = [self.pages(id, range.first().0, range.last().0)];
        match mapped {
            Ok(()) => self.made_present(&forget),
            Err(error) => {
                // Tables that were linked and are not any more may be in a cache.
                self.invalidate(&[self.translations(id)])?;
                self.release(domain);
                Err(error.into())
            }
        }
    }

    /// Unmaps all in `range`, and waits until nothing of it is reached any more.
    ///
    /// # Errors
    /// The range cuts a page (nothing is unmapped then), or the unit misbehaves (nobody knows).
    pub fn unmap(&mut self, domain: DomainId, range: IovaRange) -> Result<(), Error> {
        self.check_service()?;
        let (first, last) = (range.first().0, range.last().0);
        let part = self.parts.get_mut(&domain).ok_or(Error::UnknownDomain)?;
        let id = part.id;
        part.tables.unmap(first, range.bytes())?;
        self.invalidate(&[self.pages(id, first, last)])?;
        self.release(domain);
        Ok(())
    }

    fn release(&mut self, domain: DomainId) {
        if let Some(part) = self.parts.get_mut(&domain) {
            part.tables.release();
        }
    }

    /// The context table of the requester's bus; it is made when there is none.
    fn context_table(&mut self, source: u16) -> Result<HostPhys, Error> {
        let bus = (source >> 8) as u8;
        if let Some(table) = self.contexts.get(&bus) {
            return Ok(*table);
        }
        let table = self.memory.allocate().ok_or(Error::NoMemory)?;
        let entry = table.0 | Root::PRESENT.bits();
        self.memory.write(self.root, usize::from(bus) * 2, entry);
        self.contexts.insert(bus, table);
        Ok(table)
    }

    /// An id that no domain has. 0 is what hardware remembers absent entries under.
    fn free_id(&mut self) -> Result<u16, Error> {
        if self.parts.len() >= usize::from(self.last_id) {
            return Err(Error::NoDomains);
        }
        // Ids are given in turn; fewer are in use than there are, so that a free one comes within that many steps.
        for _ in 0..=self.parts.len() {
            self.next_id = if self.next_id >= self.last_id {
                1
            } else {
                self.next_id + 1
            };
            if self.parts.values().all(|part| part.id != self.next_id) {
                return Ok(self.next_id);
            }
        }
        Err(Error::NoDomains)
    }
}
