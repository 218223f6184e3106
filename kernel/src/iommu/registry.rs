//! The registry of units: which one translates for whom, and the numbers of domains that may span several.
//!
//! Each unit has a lock of its own, so that one that is slow to answer holds up nobody behind another, once it is known who is behind
//! which. The registry's own locks are held for look-ups only, never while a unit works.

use super::{FaultRecord, Message, Source, Storm, StormLimits, Taken, Target, Unit, Verdict};
use crate::pci::Function;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use spin::Mutex;
use vfio_core::domain::{IovaRange, ReservedRegion, UnitId, UnitLimits};
use vfio_core::pci::{Bdf, NotAssignable};
use vfio_core::{DomainId, Fault, Mapping, Requester};

/// All units of a machine.
pub struct Registry<U> {
    units: Vec<Mutex<U>>,
    /// Who is behind which unit, of those that were asked for.
    behind: Mutex<BTreeMap<Requester, UnitId>>,
    domains: Mutex<Domains>,
    storm: Mutex<Storm>,
}

/// Domains, and who is in them.
#[derive(Debug, Default)]
struct Domains {
    known: BTreeSet<DomainId>,
    /// Requesters that may be attached: from the call of `attach` until a quarantine has worked.
    inside: BTreeMap<Requester, DomainId>,
    next: u32,
}

impl<U> fmt::Debug for Registry<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("units", &self.units.len())
            .finish_non_exhaustive()
    }
}

impl<U: Unit> Registry<U> {
    /// These units, each of which denies everything by now. A requester belongs to the first one that covers it.
    #[must_use]
    pub fn new(units: Vec<U>) -> Self {
        Self {
            units: units.into_iter().map(Mutex::new).collect(),
            behind: Mutex::default(),
            domains: Mutex::default(),
            storm: Mutex::new(Storm::new(StormLimits::default())),
        }
    }

    /// The unit that translates for a requester.
    ///
    /// # Errors
    /// None does.
    pub fn unit_of(&self, requester: Requester) -> Result<UnitId, Fault> {
        if let Some(unit) = self.behind.lock().get(&requester) {
            return Ok(*unit);
        }
        let at = self.units.iter().position(|unit| unit.lock().covers(requester));
        let unit = at.and_then(|at| u32::try_from(at).ok()).map(UnitId);
        let unit = unit.ok_or(Fault::Unknown)?;
        self.behind.lock().insert(requester, unit);
        Ok(unit)
    }

    /// Why a function that speaks as `requesters` can be given to nobody, as far as the units know.
    pub fn objection(&self, function: &Function, requesters: &[Requester]) -> Option<NotAssignable> {
        if requesters.is_empty() {
            return Some(NotAssignable::NoIommu);
        }
        let each = |requester: &Requester| match self.unit_of(*requester) {
            Ok(unit) => self.on(unit, |unit| Ok(unit.objection(function))).unwrap_or(None),
            Err(_) => Some(NotAssignable::NoIommu),
        };
        requesters.iter().find_map(each)
    }

    /// Works on a unit.
    ///
    /// # Errors
    /// There is no such unit, or what `work` says.
    pub fn on<R>(&self, unit: UnitId, work: impl FnOnce(&mut U) -> Result<R, Fault>) -> Result<R, Fault> {
        let at = usize::try_from(unit.0).map_err(|_| Fault::Unknown)?;
        work(&mut self.units.get(at).ok_or(Fault::Unknown)?.lock())
    }

    /// What a unit can map.
    ///
    /// # Errors
    /// There is no such unit.
    pub fn limits(&self, unit: UnitId) -> Result<UnitLimits, Fault> {
        self.on(unit, |unit| Ok(unit.limits()))
    }

    /// What a requester cannot use as memory.
    ///
    /// # Errors
    /// It is not known.
    pub fn reserved(&self, requester: Requester) -> Result<Vec<ReservedRegion>, Fault> {
        self.on(self.unit_of(requester)?, |unit| unit.reserved(requester))
    }

    /// A new domain that maps nothing. Units hear of it with its first requester.
    ///
    /// # Errors
    /// All numbers are in use.
    pub fn create_domain(&self) -> Result<DomainId, Fault> {
        let mut domains = self.domains.lock();
        // Numbers are given in turn, so that one comes back as late as can be. Fewer are in use than there are tries.
        for _ in 0..=domains.known.len() {
            domains.next = domains.next.wrapping_add(1);
            let domain = DomainId(domains.next);
            if domains.known.insert(domain) {
                return Ok(domain);
            }
        }
        Err(Fault::NoResources)
    }

    /// Gives a domain's number back.
    ///
    /// # Errors
    /// It does not exist, or a requester may still be in it.
    pub fn destroy_domain(&self, domain: DomainId) -> Result<(), Fault> {
        let mut domains = self.domains.lock();
        if domains.inside.values().any(|inside| *inside == domain) {
            return Err(Fault::Busy);
        }
        if domains.known.remove(&domain) {
            Ok(())
        } else {
            Err(Fault::Unknown)
        }
    }

    /// Moves a requester from quarantine to a domain.
    ///
    /// # Errors
    /// There is no such domain or requester, the requester is in another domain, or its unit refuses.
    pub fn attach(&self, domain: DomainId, requester: Requester) -> Result<(), Fault> {
        let unit = self.unit_of(requester)?;
        {
            let mut domains = self.domains.lock();
            if !domains.known.contains(&domain) {
                return Err(Fault::Unknown);
            }
            match domains.inside.get(&requester) {
                Some(other) if *other != domain => return Err(Fault::Busy),
                _ => domains.inside.insert(requester, domain),
            };
        }
        self.on(unit, |unit| unit.attach(domain, requester))
    }

    /// Moves a requester to where nothing is reached.
    ///
    /// # Errors
    /// It is not known, or its unit refuses.
    pub fn quarantine(&self, requester: Requester) -> Result<(), Fault> {
        self.on(self.unit_of(requester)?, |unit| unit.quarantine(requester))?;
        self.domains.lock().inside.remove(&requester);
        Ok(())
    }

    /// Has a requester reach nothing until it is quarantined by whoever attached it, for whom it counts as attached meanwhile. What
    /// its domain maps anew while no other requester of the domain is behind its unit fails.
    ///
    /// # Errors
    /// It is not known, or its unit refuses.
    pub fn isolate(&self, requester: Requester) -> Result<(), Fault> {
        self.on(self.unit_of(requester)?, |unit| unit.quarantine(requester))
    }

    /// Maps one piece of memory in one unit.
    ///
    /// # Errors
    /// The unit refuses.
    pub fn map(&self, unit: UnitId, domain: DomainId, mapping: Mapping) -> Result<(), Fault> {
        self.on(unit, |unit| unit.map(domain, mapping))
    }

    /// Unmaps a range in one unit.
    ///
    /// # Errors
    /// The unit refuses.
    pub fn unmap(&self, unit: UnitId, domain: DomainId, range: IovaRange) -> Result<(), Fault> {
        self.on(unit, |unit| unit.unmap(domain, range))
    }

    /// Whether every unit remaps interrupts: no device raises one that was not routed for it.
    pub fn interrupts_isolated(&self) -> bool {
        !self.units.is_empty() && self.units.iter().all(|unit| unit.lock().remaps_interrupts())
    }

    /// Routes an interrupt; the message makes the device raise it.
    ///
    /// # Errors
    /// No unit covers the device, or its unit refuses.
    pub fn route(&self, source: Source, target: Target) -> Result<Message, Fault> {
        self.on(self.unit_of(source.requester)?, |unit| unit.route(source, target))
    }

    /// Takes back all that was routed for a function, in whichever unit.
    ///
    /// # Errors
    /// A unit does not answer.
    pub fn release(&self, function: Bdf) -> Result<(), Fault> {
        let each = self.units.iter().map(|unit| unit.lock().release(function));
        each.fold(Ok(()), Result::and)
    }

    /// Commands sent to all units so far.
    pub fn commands(&self) -> u64 {
        self.units.iter().map(|unit| unit.lock().commands()).sum()
    }

    /// Takes the faults that units have recorded, and hands over each with what to do about it: what is new is to be told, at a
    /// limited rate. All are counted. `now` is monotonic, in nanoseconds.
    ///
    /// # Errors
    /// A unit is out of service; the others are asked all the same.
    pub fn poll_faults(&self, now: u64, pass: &mut impl FnMut(FaultRecord, Verdict)) -> Result<Taken, Fault> {
        let (mut all, mut result) = (Taken::default(), Ok(()));
        for unit in &self.units {
            let mut judge = |fault: FaultRecord| {
                let verdict = self.storm.lock().judge(&fault, now);
                pass(fault, verdict);
            };
            match unit.lock().take_faults(&mut judge) {
                Ok(taken) => {
                    all.seen += taken.seen;
                    all.more |= taken.more;
                }
                Err(fault) => result = Err(fault),
            }
        }
        result.map(|()| all)
    }

    /// All faults of `requester` so far, passed on or not.
    pub fn faults_of(&self, requester: Requester) -> u64 {
        self.storm.lock().of(Some(requester))
    }

    /// All faults so far, passed on or not.
    pub fn faults(&self) -> u64 {
        self.storm.lock().total()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
#[path = "registry_tests.rs"]
mod tests;
