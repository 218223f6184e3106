//! What a driver of an IOMMU gives to the [`Registry`](super::Registry): one unit, whatever kind it is.

use super::FaultRecord;
use crate::pci::Function;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use vfio_core::domain::{IovaRange, ReservedRegion, UnitLimits};
use vfio_core::pci::{Bdf, NotAssignable};
use vfio_core::{DomainId, Fault, Mapping, Requester};

/// A unit that denies everything but what it is told to let pass.
///
/// The registry numbers domains; a unit hears of one with the first requester that is attached to it, and forgets it,
/// with all that it maps, when the last one is put into quarantine. How a unit numbers its own domains is its affair.
/// Every requester is in quarantine from the start, whether the unit was told of it or not. Calls that fail have said why
/// in the log.
///
/// # Safety
///
/// Each unit keeps, for the requesters that it [`covers`](Self::covers), the promises of `vfio_core`'s
/// [`DmaDomains`](vfio_core::lease::DmaDomains), of which these methods are parts. Besides: where
/// [`remaps_interrupts`](Self::remaps_interrupts) is true, no covered requester raises an interrupt but by an entry that
/// was routed for it.
#[expect(
    unsafe_code,
    reason = "implementations promise isolation, which memory safety rests on"
)]
pub unsafe trait Unit {
    /// How people find it: the kind and where it is.
    fn name(&self) -> String;

    /// Whether it translates for a requester.
    fn covers(&self, requester: Requester) -> bool;

    /// Why a function that it covers can be given to nobody all the same, if so: memory that firmware wants left to it.
    fn objection(&self, function: &Function) -> Option<NotAssignable> {
        let _ = function;
        None
    }

    /// What it can map.
    fn limits(&self) -> UnitLimits;

    /// What a requester cannot use as memory.
    ///
    /// # Errors
    /// The requester is not covered, or was never put into quarantine.
    fn reserved(&self, requester: Requester) -> Result<Vec<ReservedRegion>, Fault>;

    /// Moves a requester from quarantine to a domain, which maps nothing if this is its first requester here.
    ///
    /// # Errors
    /// The unit refuses or does not answer; the requester is put into quarantine next.
    fn attach(&mut self, domain: DomainId, requester: Requester) -> Result<(), Fault>;

    /// Moves a requester to where nothing is reached, and waits until that is so. One that is there may stay as it is.
    ///
    /// # Errors
    /// The unit refuses or does not answer.
    fn quarantine(&mut self, requester: Requester) -> Result<(), Fault>;

    /// Maps one piece of memory, with the largest pages that there are. The domain has a requester here.
    ///
    /// # Errors
    /// The unit refuses or does not answer; all, some or nothing of it is mapped.
    fn map(&mut self, domain: DomainId, mapping: Mapping) -> Result<(), Fault>;

    /// Unmaps all in a range, which splits no mapping, and waits until nothing of it is reached any more.
    ///
    /// # Errors
    /// The unit refuses or does not answer; nobody knows what is mapped.
    fn unmap(&mut self, domain: DomainId, range: IovaRange) -> Result<(), Fault>;

    /// Commands or requests sent to the hardware so far.
    fn commands(&self) -> u64;

    /// Takes blocked accesses that the hardware has recorded, a bounded portion, all of them, repeats too. Who limits what is
    /// told of them is the registry.
    ///
    /// # Errors
    /// The unit is out of service.
    fn take_faults(&mut self, pass: &mut dyn FnMut(FaultRecord)) -> Result<Taken, Fault>;

    /// Whether a device behind it can raise no interrupts but those that were routed for it.
    fn remaps_interrupts(&self) -> bool {
        false
    }

    /// Routes an interrupt of a device, or routes it anew without losing one in between, and returns the message that
    /// makes the device raise it. Without remapping the message is the interrupt.
    ///
    /// # Errors
    /// No entry is left, the target has an id that the unit cannot reach, or the unit does not answer.
    fn route(&mut self, source: Source, target: Target) -> Result<Message, Fault> {
        let _ = source;
        Message::compatible(target)
    }

    /// Takes back all that was routed for a function; none of it is raised afterwards.
    ///
    /// # Errors
    /// The unit does not answer.
    fn release(&mut self, function: Bdf) -> Result<(), Fault> {
        let _ = function;
        Ok(())
    }
}

/// What one call has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Faults taken, those that made no sense or were not recorded included.
    pub seen: u64,
    /// There may be more; call again, after other work.
    pub more: bool,
}

/// Which interrupt of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The function.
    pub function: Bdf,
    /// Who its messages say they are from.
    pub requester: Requester,
    /// Number of the message: entry of the MSI-X table, 0 for MSI with one vector.
    pub entry: u16,
}

/// Where an interrupt is to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Local APIC, physical mode.
    pub apic: u32,
    /// Vector, fixed delivery, edge.
    pub vector: u8,
}

/// What a device writes to raise an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where. Below 4 GiB, since MSI may have no more.
    pub address: u32,
    /// What.
    pub data: u32,
}

impl Message {
    /// The message that goes to a local APIC by itself (AMD64 manual, volume 2, section 16.11).
    ///
    /// # Errors
    /// The APIC's id has more than 8 bits.
    pub fn compatible(target: Target) -> Result<Self, Fault> {
        let apic = u8::try_from(target.apic).map_err(|_| Fault::BadAddress)?;
        Ok(Self {
            address: spec::lapic::MESSAGE_ADDRESS | u32::from(apic) << 12,
            data: target.vector.into(),
        })
    }
}

/// Any kind of unit, chosen when the machine starts.
pub type AnyUnit = Box<dyn Unit + Send>;

// SAFETY: it is the unit in the box.
#[expect(unsafe_code, reason = "hands on what the unit in the box promises")]
unsafe impl<U: Unit + ?Sized> Unit for Box<U> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn covers(&self, requester: Requester) -> bool {
        (**self).covers(requester)
    }

    fn objection(&self, function: &Function) -> Option<NotAssignable> {
        (**self).objection(function)
    }

    fn limits(&self) -> UnitLimits {
        (**self).limits()
    }

    fn reserved(&self, requester: Requester) -> Result<Vec<ReservedRegion>, Fault> {
        (**self).reserved(requester)
    }

    fn attach(&mut self, domain: DomainId, requester: Requester) -> Result<(), Fault> {
        (**self).attach(domain, requester)
    }

    fn quarantine(&mut self, requester: Requester) -> Result<(), Fault> {
        (**self).quarantine(requester)
    }

    fn map(&mut self, domain: DomainId, mapping: Mapping) -> Result<(), Fault> {
        (**self).map(domain, mapping)
    }

    fn unmap(&mut self, domain: DomainId, range: IovaRange) -> Result<(), Fault> {
        (**self).unmap(domain, range)
    }

    fn commands(&self) -> u64 {
        (**self).commands()
    }

    fn take_faults(&mut self, pass: &mut dyn FnMut(FaultRecord)) -> Result<Taken, Fault> {
        (**self).take_faults(pass)
    }

    fn remaps_interrupts(&self) -> bool {
        (**self).remaps_interrupts()
    }

    fn route(&mut self, source: Source, target: Target) -> Result<Message, Fault> {
        (**self).route(source, target)
    }

    fn release(&mut self, function: Bdf) -> Result<(), Fault> {
        (**self).release(function)
    }
}
