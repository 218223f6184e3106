//! ACPI: the tables that Cohort reads, and what they say.
//!
//! Firmware's tables decide which memory is taken for configuration space and which device for the IOMMU, so a
//! broken one must stop the boot with the table, the offset and the fault. The `acpi` crate (5.2) reads lengths
//! and counts before it has checked them: a short MCFG underflows, a checksum runs over whatever length
//! the header claims. The few tables that Cohort needs are therefore read here, with zerocopy, from slices
//! that are never longer than what was mapped. There is no AML.
//!
//! [`read`] is the entry on the machine, [`read_file`] that of the host tool. The formats are in `spec::acpi`,
//! `spec::viot`, `spec::dmar` and `spec::ivrs`.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod dmar;
mod error;
mod file;
mod ivrs;
mod madt;
mod mcfg;
mod table;
#[cfg(test)]
mod tests;
mod viot;

pub use dmar::{
    AcpiDevice, AtsPorts, DeviceScope, Dmar, DmarUnit, IntegratedCache, PathStep, Proximity, ReservedMemory,
    ScopeKind,
};
pub use error::{Error, Fault, Signature};
pub use file::{FileTable, read_file};
pub use ivrs::{IvhdEntry, IvhdTarget, Ivrs, IvrsMemory, IvrsUnit, Uid};
pub use madt::{Cpu, IoApic};
pub use mcfg::EcamWindow;
pub use table::{MAX_TABLE_BYTES, MAX_TABLES, PhysMem};
pub use viot::{EndpointId, IommuLocation, PciRange, Viot};

use alloc::vec::Vec;
use table::Tables;

/// What the tables say of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Processors in the order of the MADT; the first is by custom the one that boots.
    pub cpus: Vec<Cpu>,
    /// Host physical address of every processor's local APIC.
    pub lapic_base: u64,
    /// I/O APICs.
    pub ioapics: Vec<IoApic>,
    /// Windows of configuration space; empty where there is no MCFG.
    pub ecam: Vec<EcamWindow>,
    /// Which devices a virtio-iommu translates; `None` where there is no VIOT.
    pub viot: Option<Viot>,
    /// VT-d's units; `None` where there is no DMAR.
    pub dmar: Option<Dmar>,
    /// AMD-Vi's units; `None` where there is no IVRS.
    pub ivrs: Option<Ivrs>,
}

impl Platform {
    /// Whether a table names an IOMMU, of whatever kind.
    #[must_use]
    pub const fn has_iommu(&self) -> bool {
        self.viot.is_some() || self.dmar.is_some() || self.ivrs.is_some()
    }
}

/// Reads the tables below the RSDP at host physical address `rsdp`.
///
/// A MADT must be there; MCFG, VIOT, DMAR and IVRS may be missing. Whatever is there must be whole: a table with a wrong
/// checksum or a wrong length is an error even when nothing else is wrong with it.
///
/// # Errors
///
/// The first table that is missing or broken, with the offset and the fault.
pub fn read(memory: &impl PhysMem, rsdp: u64) -> Result<Platform, Error> {
    let tables = Tables::find(memory, rsdp)?;
    let madt = tables.get(memory, Signature(spec::acpi::madt::SIGNATURE))?;
    let madt = madt::parse(madt.ok_or(Error {
        table: Signature(spec::acpi::madt::SIGNATURE),
        offset: 0,
        fault: Fault::Missing,
    })?)?;
    let ecam = match tables.get(memory, Signature(spec::acpi::mcfg::SIGNATURE))? {
        Some(table) => mcfg::parse(table)?,
        None => Vec::new(),
    };
    let viot = match tables.get(memory, Signature(spec::viot::SIGNATURE))? {
        Some(table) => Some(viot::parse(table)?),
        None => None,
    };
    let dmar = match tables.get(memory, Signature(spec::dmar::SIGNATURE))? {
        Some(table) => Some(dmar::parse(table)?),
        None => None,
    };
    let ivrs = match tables.get(memory, Signature(spec::ivrs::SIGNATURE))? {
        Some(table) => Some(ivrs::parse(table)?),
        None => None,
    };
    Ok(Platform {
        cpus: madt.cpus,
        lapic_base: madt.lapic_base,
        ioapics: madt.ioapics,
        ecam,
        viot,
        dmar,
        ivrs,
    })
}
