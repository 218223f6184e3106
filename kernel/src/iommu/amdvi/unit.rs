//! An AMD-Vi unit as one of the registry's.
#![expect(
    unsafe_code,
    reason = "promises isolation to the registry, which memory safety rests on"
)]

use super::{AmdVi, Attempt, Blocked, Claimed, Error, Event, Hardware};
use crate::iommu::{FaultAccess, FaultReason, FaultRecord, Message, Source, Taken, Target, Unit};
use crate::pci::Function;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use spec::lapic::MESSAGE_ADDRESS;
use vfio_core::domain::{IovaRange, ReservedRegion, UnitLimits};
use vfio_core::pci::{Bdf, NotAssignable, Topology};
use vfio_core::{DomainId, Fault, Mapping, Requester};

/// A unit, and which functions can be given to nobody.
#[derive(Debug)]
pub struct AmdViUnit<H: Hardware> {
    unit: AmdVi<H>,
    objections: BTreeMap<Bdf, NotAssignable>,
}

impl<H: Hardware> AmdViUnit<H> {
    /// `functions` of the machine, and which requester ids each of them has by the rules of PCI. `emulated` says that the machine is
    /// an emulator's. QEMU names its devices when it makes them, which is before buses have numbers: one behind a bridge is taken for
    /// the device of bus 0 with its device number, whoever has that.
    pub fn new(unit: AmdVi<H>, functions: &[Function], topology: &Topology, emulated: bool) -> Self {
        let firmware = unit.firmware();
        let claim = |function: &Function| {
            let known: Vec<Bdf> = topology
                .dma_aliases(function.bdf)
                .iter()
                .filter_map(|requester| requester.pci())
                .collect();
            let ids = core::iter::once(&function.bdf).chain(&known);
            let ids = ids.filter(|id| id.segment() == firmware.function().segment());
            let found = ids.filter_map(|id| firmware.claimed(*id, &known)).next();
            let confused = emulated && function.parent.is_some();
            let objection = found
                .map(NotAssignable::from)
                .or(confused.then_some(NotAssignable::EmulatedAlias))?;
            Some((function.bdf, objection))
        };
        let objections = functions.iter().filter_map(claim).collect();
        Self { unit, objections }
    }
}

impl From<Claimed> for NotAssignable {
    fn from(claimed: Claimed) -> Self {
        match claimed {
            Claimed::Memory { .. } => Self::ReservedMemory,
            Claimed::Messages => Self::SystemMessages,
            Claimed::Alias(_) => Self::UnexplainedAlias,
        }
    }
}

fn pci(requester: Requester) -> Result<Bdf, Fault> {
    requester.pci().ok_or(Fault::Unknown)
}

/// What `vfio-core` can say of it, after the log has all of it.
fn logged<R>(result: Result<R, Error>) -> Result<R, Fault> {
    result.map_err(|error| {
        log::warn!("{error}");
        error.into()
    })
}

/// A blocked access in the registry's words; what is no access goes to the log.
fn record(segment: u16, event: Event) -> Option<FaultRecord> {
    let Event::Access {
        requester,
        address,
        attempt,
        blocked,
    } = event
    else {
        log::warn!("AMD-Vi: {event:?}");
        return None;
    };
    if matches!(
        blocked,
        Blocked::IllegalEntry | Blocked::Reserved | Blocked::DeviceTable | Blocked::PageTable
    ) {
        log::error!("AMD-Vi: tables of ours cannot be used ({blocked:?}) for requester {requester:#06x}");
    }
    Some(FaultRecord {
        requester: Some(Requester::Pci {
            segment,
            id: requester,
        }),
        address,
        access: match attempt {
            Attempt::Read => FaultAccess::Read,
            Attempt::Write | Attempt::Interrupt => FaultAccess::Write,
            Attempt::Translation | Attempt::Unknown => FaultAccess::Unknown,
        },
        reason: match (attempt, blocked) {
            (Attempt::Interrupt, _) => FaultReason::Interrupt,
            (_, Blocked::NotPresent | Blocked::Permission) => FaultReason::NoMapping,
            _ => FaultReason::Unknown,
        },
    })
}

// SAFETY: every entry of the device table is valid and that of the quarantine until `attach`, which gives its page table and its number
// to the requester that is asked for and to no other; page tables map exactly what they were told; each change is invalidated, and
// the unit has said that it is done with what came before, when a call is `Ok`; what a unit that does not say so may read is not freed.
// Interrupts go through the requester's own table, of which entries that were not routed are off.
unsafe impl<H: Hardware + fmt::Debug> Unit for AmdViUnit<H> {
    fn name(&self) -> String {
        alloc::format!("the AMD-Vi unit {}", self.unit.firmware().function())
    }

    fn covers(&self, requester: Requester) -> bool {
        requester.pci().is_some_and(|bdf| self.unit.covers(bdf))
    }

    fn objection(&self, function: &Function) -> Option<NotAssignable> {
        self.objections.get(&function.bdf).copied()
    }

    fn limits(&self) -> UnitLimits {
        self.unit.limits()
    }

    fn reserved(&self, requester: Requester) -> Result<Vec<ReservedRegion>, Fault> {
        if self.covers(requester) {
            Ok(AmdVi::<H>::reserved())
        } else {
            Err(Fault::Unknown)
        }
    }

    fn attach(&mut self, domain: DomainId, requester: Requester) -> Result<(), Fault> {
        logged(self.unit.attach(domain, pci(requester)?))
    }

    fn quarantine(&mut self, requester: Requester) -> Result<(), Fault> {
        logged(self.unit.quarantine(pci(requester)?))
    }

    fn map(&mut self, domain: DomainId, mapping: Mapping) -> Result<(), Fault> {
        logged(self.unit.map(domain, mapping))
    }

    fn unmap(&mut self, domain: DomainId, range: IovaRange) -> Result<(), Fault> {
        logged(self.unit.unmap(domain, range))
    }

    fn commands(&self) -> u64 {
        self.unit.commands()
    }

    fn take_faults(&mut self, pass: &mut dyn FnMut(FaultRecord)) -> Result<Taken, Fault> {
        let segment = self.unit.firmware().function().segment();
        let taken = self.unit.events(|event| {
            if let Some(fault) = record(segment, event) {
                pass(fault);
            }
        });
        let read = logged(taken)?;
        if read.overflowed {
            log::warn!("AMD-Vi: the event log overflowed; more accesses were blocked than are reported");
        }
        Ok(Taken {
            seen: u64::from(read.events) + u64::from(read.overflowed),
            more: read.overflowed,
        })
    }

    fn remaps_interrupts(&self) -> bool {
        true
    }

    fn route(&mut self, source: Source, target: Target) -> Result<Message, Fault> {
        let requester = pci(source.requester)?;
        let data = self.unit.route(
            requester,
            (source.function, source.entry),
            target.apic,
            target.vector,
        );
        logged(data).map(|data| Message {
            address: MESSAGE_ADDRESS,
            data: data.into(),
        })
    }

    fn release(&mut self, function: Bdf) -> Result<(), Fault> {
        logged(self.unit.release(function))
    }
}
