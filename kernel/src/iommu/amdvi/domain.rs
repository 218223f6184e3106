//! The unit's part of a domain: a page table and a number.

use super::{AmdVi, Error, Hardware, commands::Command};
use crate::addr::Iova;
use crate::memory::tables::{Format, TableError, Tables};
use alloc::collections::BTreeSet;
use spec::amdvi_table::Entry;
use vfio_core::domain::IovaRange;
use vfio_core::{Access, DomainId, Mapping};

/// A part.
#[derive(Debug)]
pub(super) struct Part<H: Hardware> {
    /// What the unit calls the domain.
    pub(super) number: u16,
    pub(super) tables: Tables<H::Frames>,
    /// Requester ids that may be in it.
    pub(super) requesters: BTreeSet<u16>,
}

/// The bits of a page that lets devices do `access`. Accesses are coherent whatever the device asks for: one that did not snoop
/// caches would see what memory held before it was wiped.
const fn rights(access: Access) -> u64 {
    let mut entry = Entry::PRESENT.union(Entry::FORCE_COHERENT);
    if access.contains(Access::READ) {
        entry = entry.union(Entry::READ);
    }
    if access.contains(Access::WRITE) {
        entry = entry.union(Entry::WRITE);
    }
    entry.bits()
}

impl<H: Hardware> AmdVi<H> {
    /// Maps one region, with the largest pages that there are. The domain has a requester here.
    ///
    /// # Errors
    /// Something is mapped there, it is none of whole pages or beyond the table, or memory is short: nothing is mapped then. Or the
    /// unit fails: nobody knows.
    pub fn map(&mut self, domain: DomainId, region: Mapping) -> Result<(), Error> {
        self.check_service()?;
        let part = self.parts.get_mut(&domain).ok_or(Error::UnknownDomain(domain))?;
        let mapped = part
            .tables
            .map(region.iova.0, region.host, region.size, rights(region.access));
        let number = part.number;
        // Where a table was made and taken back, the unit may have been through it; and a unit may remember that nothing was there.
        if mapped.is_err() || self.caches_not_present {
            let last = region.iova.0.saturating_add(region.size.saturating_sub(1));
            self.run(&[Command::pages(number, region.iova.0, last)])?;
            self.release_tables(domain);
        }
        mapped.map_err(|error| Error::Table {
            at: region.iova,
            error,
        })
    }

    /// Unmaps everything inside a range, and waits until nothing of it is reached any more. The domain has a requester here.
    ///
    /// # Errors
    /// The range cuts a page or is none of whole pages: nothing is unmapped then. Or the unit fails: nobody knows.
    pub fn unmap(&mut self, domain: DomainId, range: IovaRange) -> Result<(), Error> {
        self.check_service()?;
        let part = self.parts.get_mut(&domain).ok_or(Error::UnknownDomain(domain))?;
        let (first, last) = (range.first().0, range.last().0);
        let error = |error| Error::Table {
            at: Iova(first),
            error,
        };
        let size = (last - first).checked_add(1).ok_or(error(TableError::Range))?;
        part.tables.unmap(first, size).map_err(error)?;
        let number = part.number;
        self.run(&[Command::pages(number, first, last)])?;
        self.release_tables(domain);
        Ok(())
    }

    /// Gives back tables that were unlinked, when the unit has forgotten them.
    fn release_tables(&mut self, domain: DomainId) {
        if let Some(part) = self.parts.get_mut(&domain) {
            part.tables.release();
        }
    }

    /// The part of `domain`, made if need be.
    pub(super) fn part(&mut self, domain: DomainId) -> Result<&mut Part<H>, Error> {
        if !self.parts.contains_key(&domain) {
            let number = self.free_number().ok_or(Error::NoDomains)?;
            let frames = self.hardware.frames();
            let tables = Tables::new(frames, Format::amdvi(self.levels)).map_err(|_| Error::NoMemory)?;
            let part = Part {
                number,
                tables,
                requesters: BTreeSet::new(),
            };
            self.parts.insert(domain, part);
        }
        self.parts.get_mut(&domain).ok_or(Error::UnknownDomain(domain))
    }

    /// A number that no part has. They are given in turn, so that one comes back as late as can be.
    fn free_number(&mut self) -> Option<u16> {
        for _ in 0..=self.parts.len() {
            self.last_number = self
                .last_number
                .checked_add(1)
                .unwrap_or(super::QUARANTINE + 1)
                .max(super::QUARANTINE + 1);
            let number = self.last_number;
            if self.parts.values().all(|part| part.number != number) {
                return Some(number);
            }
        }
        None
    }
}
