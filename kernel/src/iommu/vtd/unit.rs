//! A VT-d unit as a unit of the registry.
#![expect(
    unsafe_code,
    reason = "promises isolation to the registry, which memory safety rests on"
)]

use super::hardware::{Memory, Registers};
use super::{Error, Vtd};
use crate::addr::Iova;
use crate::iommu::{FaultRecord, Message, Source, Taken, Target, Unit};
use crate::pci::Function;
use alloc::string::String;
use alloc::vec::Vec;
use spec::vtd::interrupt::WINDOW;
use vfio_core::clock::Clock;
use vfio_core::domain::{IovaRange, ReservedKind, ReservedRegion, UnitLimits};
use vfio_core::pci::{Bdf, NotAssignable};
use vfio_core::{DomainId, Fault, Mapping, Requester};

impl<R: Registers, M: Memory, K: Clock> Vtd<R, M, K> {
    /// What `vfio-core` can say of it, after the log has all of it.
    fn logged<T>(&self, result: Result<T, Error>) -> Result<T, Fault> {
        result.map_err(|error| {
            log::warn!("{}: {error}", self.name());
            error.into()
        })
    }
}

// SAFETY: a requester that is not attached has no context entry, and the context entry of one that is leads to the tables of the
// domain asked for, in which there is what was mapped and nothing else. Whatever takes something away is `Ok` only after the unit
// has completed an invalidation of it that drains what was under way. A table goes back to the memory only after that. The entries of
// the interrupt table name their one requester.
unsafe impl<R: Registers, M: Memory, K: Clock> Unit for Vtd<R, M, K> {
    fn name(&self) -> String {
        alloc::format!("the VT-d unit at {:#x}", self.base)
    }

    fn covers(&self, requester: Requester) -> bool {
        self.coverage.covers(requester)
    }

    fn objection(&self, function: &Function) -> Option<NotAssignable> {
        self.coverage
            .has_reserved(function.bdf)
            .then_some(NotAssignable::ReservedMemory)
    }

    fn limits(&self) -> UnitLimits {
        let large = (u64::from(self.format.largest) > 1).then_some(1 << 21);
        let huge = (u64::from(self.format.largest) > 2).then_some(1 << 30);
        // The smaller of what the tables and the unit translate.
        let bits = u32::from(self.capability.address_bits()) + 1;
        let last = self.format.last().min(u64::MAX >> (64 - bits));
        UnitLimits {
            page_sizes: 1 << 12 | large.unwrap_or(0) | huge.unwrap_or(0),
            apertures: IovaRange::inclusive(Iova(0), Iova(last)).into_iter().collect(),
        }
    }

    /// Writes to the window are interrupts, remapped or not.
    fn reserved(&self, requester: Requester) -> Result<Vec<ReservedRegion>, Fault> {
        self.source(requester)?;
        let range = IovaRange::inclusive(Iova(WINDOW.0), Iova(WINDOW.1));
        let kind = ReservedKind::Msi;
        Ok(range
            .map(|range| ReservedRegion { kind, range })
            .into_iter()
            .collect())
    }

    fn attach(&mut self, domain: DomainId, requester: Requester) -> Result<(), Fault> {
        let done = Self::attach(self, domain, requester);
        self.logged(done)
    }

    fn quarantine(&mut self, requester: Requester) -> Result<(), Fault> {
        let done = Self::quarantine(self, requester);
        self.logged(done)
    }

    fn map(&mut self, domain: DomainId, mapping: Mapping) -> Result<(), Fault> {
        let done = Self::map(self, domain, mapping);
        self.logged(done)
    }

    fn unmap(&mut self, domain: DomainId, range: IovaRange) -> Result<(), Fault> {
        let done = Self::unmap(self, domain, range);
        self.logged(done)
    }

    fn commands(&self) -> u64 {
        self.commands
    }

    fn take_faults(&mut self, pass: &mut dyn FnMut(FaultRecord)) -> Result<Taken, Fault> {
        let done = Self::take_faults(self, pass);
        self.logged(done)
    }

    fn remaps_interrupts(&self) -> bool {
        self.interrupts.is_some()
    }

    fn route(&mut self, source: Source, target: Target) -> Result<Message, Fault> {
        let done = Self::route(self, source, target);
        self.logged(done)
    }

    fn release(&mut self, function: Bdf) -> Result<(), Fault> {
        let done = self.release_interrupts(function);
        self.logged(done)
    }
}
