//! Device scopes: a device named by its way through bridges, whatever numbers the buses get.

use super::super::table::Table;
use super::super::{Error, Fault};
use super::MAX_ENTRIES;
use alloc::vec::Vec;
use core::fmt;
use spec::dmar::{self as wire, scope_type};

/// Device and function on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStep {
    /// Device number, 0 to 31.
    pub device: u8,
    /// Function number, 0 to 7.
    pub function: u8,
}

/// What a scope names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeKind {
    /// One PCI function that is no bridge.
    Endpoint,
    /// A PCI bridge and all behind it.
    SubHierarchy,
    /// The I/O APIC with this id.
    IoApic(u8),
    /// The HPET with this number.
    Hpet(u8),
    /// The device that the ANDD with this number names.
    AcpiDevice(u8),
    /// A type that Cohort does not know.
    Other(u8),
}

/// A device that a structure is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceScope {
    /// What it is.
    pub kind: ScopeKind,
    /// PCI segment.
    pub segment: u16,
    /// Bus of the first step.
    pub start_bus: u8,
    /// The way: every step but the last is a bridge. Never empty.
    pub path: Vec<PathStep>,
}

impl DeviceScope {
    const fn is_pci(&self) -> bool {
        matches!(self.kind, ScopeKind::Endpoint | ScopeKind::SubHierarchy)
    }

    fn same(&self, other: &Self) -> bool {
        let kind = (self.is_pci() && other.is_pci()) || self.kind == other.kind;
        kind && (self.segment, self.start_bus) == (other.segment, other.start_bus) && self.path == other.path
    }
}

impl fmt::Display for DeviceScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:", self.segment, self.start_bus)?;
        for (index, step) in self.path.iter().enumerate() {
            let separator = if index == 0 { "" } else { " > " };
            write!(f, "{separator}{:02x}.{}", step.device, step.function)?;
        }
        match self.kind {
            ScopeKind::Endpoint => Ok(()),
            ScopeKind::SubHierarchy => f.write_str(" and all behind it"),
            ScopeKind::IoApic(id) => write!(f, " (I/O APIC {id})"),
            ScopeKind::Hpet(number) => write!(f, " (HPET {number})"),
            ScopeKind::AcpiDevice(number) => write!(f, " (ACPI device {number})"),
            ScopeKind::Other(kind) => write!(f, " (scope of unknown type {kind:#x})"),
        }
    }
}

/// Whether two units claim the same device.
pub(super) fn meet(a: &[DeviceScope], b: &[DeviceScope]) -> bool {
    a.iter().any(|scope| b.iter().any(|other| scope.same(other)))
}

/// The scopes between `offset` and `end`.
pub(super) fn parse(
    table: &Table<'_>,
    segment: u16,
    mut offset: usize,
    end: usize,
) -> Result<Vec<DeviceScope>, Error> {
    let within = table.until(end);
    let mut scopes = Vec::new();
    while offset < end {
        if scopes.len() == MAX_ENTRIES {
            return Err(table.error(offset, Fault::TooMany { most: MAX_ENTRIES }));
        }
        let header: wire::DeviceScope = within.read(offset)?;
        let least = size_of::<wire::DeviceScope>() + size_of::<wire::PathElement>();
        let next = within.end_of(offset, header.length.into(), least)?;
        let mut path = Vec::new();
        let mut at = offset + size_of::<wire::DeviceScope>();
        while at < next {
            let step: wire::PathElement = within.until(next).read(at)?;
            if step.device > 31 || step.function > 7 {
                let fault = Fault::NoFunction {
                    device: step.device,
                    function: step.function,
                };
                return Err(table.error(at, fault));
            }
            path.push(PathStep {
                device: step.device,
                function: step.function,
            });
            at += size_of::<wire::PathElement>();
        }
        scopes.push(DeviceScope {
            kind: match header.kind {
                scope_type::ENDPOINT => ScopeKind::Endpoint,
                scope_type::SUB_HIERARCHY => ScopeKind::SubHierarchy,
                scope_type::IOAPIC => ScopeKind::IoApic(header.enumeration_id),
                scope_type::HPET => ScopeKind::Hpet(header.enumeration_id),
                scope_type::ACPI_DEVICE => ScopeKind::AcpiDevice(header.enumeration_id),
                other => ScopeKind::Other(other),
            },
            segment,
            start_bus: header.start_bus,
            path,
        });
        offset = next;
    }
    Ok(scopes)
}
