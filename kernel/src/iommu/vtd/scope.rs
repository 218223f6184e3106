//! Which unit has which requesters, and which functions firmware keeps memory for: DMAR's device scopes, resolved along the
//! bridges of the machine.

use crate::acpi::{DeviceScope, Dmar, ScopeKind};
use crate::pci::Function;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use vfio_core::Requester;
use vfio_core::pci::{Bdf, BusRange};

/// What a structure of the table names in its segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    /// Functions.
    functions: BTreeSet<u16>,
    /// Buses behind bridges.
    buses: Vec<BusRange>,
}

impl Named {
    fn has(&self, id: u16) -> bool {
        let bus = (id >> 8) as u8;
        let behind = |buses: &BusRange| (buses.secondary..=buses.subordinate).contains(&bus);
        self.functions.contains(&id) || self.buses.iter().any(behind)
    }

    /// What `scopes` name. A scope whose path ends at nothing names nothing: firmware lists sockets and slots that are empty.
    fn resolve(segment: u16, scopes: &[DeviceScope], functions: &[Function]) -> Self {
        let mut named = Self::default();
        for scope in scopes {
            let Some(bdf) = last_step(scope, functions) else {
                continue;
            };
            named.functions.insert(bdf.requester_id());
            let found = functions.iter().find(|function| function.bdf == bdf);
            if let (ScopeKind::SubHierarchy, Some(buses)) = (scope.kind, found.and_then(|found| found.buses))
            {
                named.buses.push(buses);
            }
        }
        // A virtual function belongs where its physical function does (section 8.3.1).
        for function in functions
            .iter()
            .filter(|function| function.bdf.segment() == segment)
        {
            let physical = function.physical_function;
            if physical.is_some_and(|of| named.functions.contains(&of.requester_id())) {
                named.functions.insert(function.bdf.requester_id());
            }
        }
        named
    }
}

/// The function that a scope names: from bridge to bridge, whatever numbers their buses have. `None` where it is none that is there,
/// or no PCI function.
fn last_step(scope: &DeviceScope, functions: &[Function]) -> Option<Bdf> {
    if !matches!(scope.kind, ScopeKind::Endpoint | ScopeKind::SubHierarchy) {
        return None;
    }
    let (last, bridges) = scope.path.split_last()?;
    let mut bus = scope.start_bus;
    for step in bridges {
        let bridge = Bdf::new(scope.segment, bus, step.device, step.function);
        let found = functions.iter().find(|function| function.bdf == bridge)?;
        bus = found.buses?.secondary;
    }
    let bdf = Bdf::new(scope.segment, bus, last.device, last.function);
    functions
        .iter()
        .any(|function| function.bdf == bdf)
        .then_some(bdf)
}

/// Whom one unit translates for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    segment: u16,
    /// It also has what no unit names.
    all: bool,
    own: Named,
    /// What other units of the segment name.
    others: Vec<Named>,
    /// Functions that firmware keeps memory for.
    reserved: BTreeSet<Bdf>,
}

impl Coverage {
    /// Everything in a segment.
    #[cfg(test)]
    pub(crate) fn everything(segment: u16) -> Self {
        Self {
            segment,
            all: true,
            ..Self::default()
        }
    }

    /// The PCI segment of all that it covers.
    #[must_use]
    pub const fn segment(&self) -> u16 {
        self.segment
    }

    /// Whether the unit translates for a requester.
    #[must_use]
    pub fn covers(&self, requester: Requester) -> bool {
        match requester {
            Requester::Pci { segment, id } if segment == self.segment => {
                self.own.has(id) || self.all && !self.others.iter().any(|other| other.has(id))
            }
            _ => false,
        }
    }

    /// Whether firmware keeps memory for a function.
    #[must_use]
    pub fn has_reserved(&self, function: Bdf) -> bool {
        self.reserved.contains(&function)
    }
}

/// Base class of displays, and class and sub-class of USB controllers.
const CLASS_DISPLAY: u32 = 0x03;
const CLASS_USB: u32 = 0x0c_03;

/// Whether a function does without its reserved memory once its driver has it: firmware uses USB controllers for keyboards
/// before an operating system starts, and graphics for its screen. Anything else may go on using it behind everybody's back
/// (remote management, for one). Linux decides alike (`device_rmrr_is_relaxable`).
const fn may_be_relaxed(function: &Function) -> bool {
    function.class >> 16 == CLASS_DISPLAY || function.class >> 8 == CLASS_USB
}

/// The coverage of each unit of the table, in its order, on a machine of these functions.
#[must_use]
pub fn coverages(dmar: &Dmar, functions: &[Function]) -> Vec<Coverage> {
    let named: Vec<Named> = dmar
        .units
        .iter()
        .map(|unit| Named::resolve(unit.segment, &unit.scopes, functions))
        .collect();
    let reserved = dmar.reserved.iter().map(|memory| {
        let found = Named::resolve(memory.segment, &memory.scopes, functions);
        (memory.segment, found)
    });
    let reserved: Vec<(u16, Named)> = reserved.collect();
    let kept = |function: &&Function| {
        let theirs = |(segment, named): &(u16, Named)| {
            *segment == function.bdf.segment() && named.has(function.bdf.requester_id())
        };
        !may_be_relaxed(function) && reserved.iter().any(theirs)
    };
    let reserved_of: BTreeSet<Bdf> = functions
        .iter()
        .filter(kept)
        .map(|function| function.bdf)
        .collect();
    let each = dmar.units.iter().enumerate().map(|(index, unit)| {
        let others = dmar.units.iter().zip(&named).enumerate();
        Coverage {
            segment: unit.segment,
            all: unit.include_all,
            own: named.get(index).cloned().unwrap_or_default(),
            others: others
                .filter(|(other, (found, _))| *other != index && found.segment == unit.segment)
                .map(|(_, (_, named))| named.clone())
                .collect(),
            reserved: reserved_of.clone(),
        }
    });
    each.collect()
}
