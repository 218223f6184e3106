//! The driver's own account of a domain: the device forgets a domain without endpoints, so the mappings are kept here
//! and told to it when the first endpoint is attached.

use super::Error;
use crate::addr::Iova;
use alloc::collections::{BTreeMap, BTreeSet};
use vfio_core::Mapping;

use crate::acpi::EndpointId;

/// What every region must keep to: the device's page size and input range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of the smallest page, a power of two.
    pub page: u64,
    /// First address that the device translates.
    pub input_start: u64,
    /// Last address that the device translates, inclusive.
    pub input_end: u64,
}

impl Geometry {
    /// Checks a region and returns its last address.
    pub(super) fn check(&self, region: &Mapping) -> Result<u64, Error> {
        let (iova, host) = (region.iova, region.host);
        if region.size == 0 || region.access.is_empty() {
            return Err(Error::Empty(iova));
        }
        let end = self.check_range(iova, region.size)?;
        let offset = host.0 & (self.page - 1);
        if offset != 0 {
            return Err(Error::Unaligned {
                iova,
                page: self.page,
            });
        }
        host.0.checked_add(region.size - 1).ok_or(Error::Overflow(iova))?;
        Ok(end)
    }

    /// Checks a range of addresses and returns its last.
    pub(super) fn check_range(&self, iova: Iova, size: u64) -> Result<u64, Error> {
        let above = size.checked_sub(1).ok_or(Error::Empty(iova))?;
        let end = iova.0.checked_add(above).ok_or(Error::Overflow(iova))?;
        if (iova.0 | size) & (self.page - 1) != 0 {
            return Err(Error::Unaligned {
                iova,
                page: self.page,
            });
        }
        if iova.0 < self.input_start || end > self.input_end {
            let (start, end) = (Iova(self.input_start), Iova(self.input_end));
            return Err(Error::InputRange { iova, start, end });
        }
        Ok(end)
    }
}

/// One domain.
#[derive(Debug, Default)]
pub(super) struct Domain {
    /// By first address; the value has the last one too.
    mappings: BTreeMap<u64, (u64, Mapping)>,
    /// Who is attached. The device has the domain while there is anybody.
    pub(super) endpoints: BTreeSet<EndpointId>,
}

impl Domain {
    /// The mapping that meets `start` to `end`, inclusive, and begins last.
    fn meets(&self, start: u64, end: u64) -> Option<&Mapping> {
        let (_, (last, region)) = self.mappings.range(..=end).next_back()?;
        (*last >= start).then_some(region)
    }

    /// Whether `start` to `end` is free.
    pub(super) fn check_free(&self, start: u64, end: u64) -> Result<(), Error> {
        match self.meets(start, end) {
            Some(other) => Err(Error::Overlap {
                iova: Iova(start),
                mapping: other.iova,
            }),
            None => Ok(()),
        }
    }

    /// Notes a mapping that is known to be free.
    pub(super) fn insert(&mut self, region: Mapping, end: u64) {
        self.mappings.insert(region.iova.0, (end, region));
    }

    /// Checks that `start` to `end` cuts no mapping in two, and says whether anything is mapped there.
    pub(super) fn check_whole(&self, start: u64, end: u64) -> Result<bool, Error> {
        let Some((first, (last, _))) = self.mappings.range(..=end).next_back() else {
            return Ok(false);
        };
        if *last < start {
            return Ok(false);
        }
        // The one that begins last is the only one that can reach beyond the end. If it begins before the range, it
        // is the only one there is; otherwise the last of those that begin before may reach in.
        let split = if *first < start || *last > end {
            Some(*first)
        } else {
            let before = self.mappings.range(..start).next_back();
            before
                .filter(|(_, (last, _))| *last >= start)
                .map(|(first, _)| *first)
        };
        match split {
            Some(mapping) => Err(Error::Split {
                iova: Iova(start),
                mapping: Iova(mapping),
            }),
            None => Ok(true),
        }
    }

    /// Forgets the mappings that begin from `start` to `end`.
    pub(super) fn remove(&mut self, start: u64, end: u64) {
        while let Some(first) = self.mappings.range(start..=end).next().map(|(first, _)| *first) {
            self.mappings.remove(&first);
        }
    }

    /// All mappings, each with its last address.
    pub(super) fn mappings(&self) -> impl Iterator<Item = (u64, &Mapping)> {
        self.mappings.values().map(|(end, region)| (*end, region))
    }
}
