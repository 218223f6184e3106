//! DMAR: which VT-d unit remaps for which device, and which memory firmware wants left to devices.
//!
//! What is refused cannot be told apart from a table that hides a device: a structure or a scope that does not fit,
//! registers that are nowhere, two units that claim the same. Reserved regions may overlap: shipped machines list
//! the same one for several devices.

mod scope;
#[cfg(test)]
mod tests;

pub use scope::{DeviceScope, PathStep, ScopeKind};

use super::table::{HEADER, Table};
use super::{Error, Fault};
use alloc::string::String;
use alloc::vec::Vec;
use spec::dmar::{self as wire, StructureHeader, TableFlags, structure_type};

/// The most structures, scopes of one structure, and scopes of all units together that Cohort takes. Each is compared with all
/// others.
const MAX_ENTRIES: usize = 4096;

/// Bytes of the smallest register window.
const REGISTERS: u64 = 4096;

/// A remapping unit (DRHD).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmarUnit {
    /// Host physical address of the registers, a multiple of 4 KiB.
    pub base: u64,
    /// Bytes of registers: 4 KiB times a power of two.
    pub bytes: u64,
    /// PCI segment.
    pub segment: u16,
    /// It also has all of the segment that no other unit's scopes name.
    pub include_all: bool,
    /// What it has by name.
    pub scopes: Vec<DeviceScope>,
}

/// Memory that devices use without being told (RMRR).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedMemory {
    /// First byte, host physical.
    pub first: u64,
    /// Last byte, inclusive.
    pub last: u64,
    /// PCI segment.
    pub segment: u16,
    /// Which devices.
    pub scopes: Vec<DeviceScope>,
}

/// Root ports behind which devices may ask for translations (ATSR).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtsPorts {
    /// PCI segment.
    pub segment: u16,
    /// All ports of the segment.
    pub all: bool,
    /// Else these.
    pub scopes: Vec<DeviceScope>,
}

/// Which memory is near to the unit whose registers are at `base` (RHSA).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proximity {
    /// The unit's registers, host physical.
    pub base: u64,
    /// Proximity domain, as in the SRAT.
    pub domain: u32,
}

/// A device that ACPI names (ANDD).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcpiDevice {
    /// The number by which scopes name it.
    pub number: u8,
    /// Path in ACPI's name space; bytes that are not printable are escaped.
    pub name: String,
}

/// Devices of the SoC that keep translations (SATC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegratedCache {
    /// PCI segment.
    pub segment: u16,
    /// They do not work without.
    pub required: bool,
    /// Which devices.
    pub scopes: Vec<DeviceScope>,
}

/// What the table says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dmar {
    /// Bits of a physical address that DMA can use, 1 to 256.
    pub address_bits: u16,
    /// The platform supports interrupt remapping.
    pub interrupt_remapping: bool,
    /// Firmware asks that x2APIC is left off.
    pub x2apic_opt_out: bool,
    /// Firmware asks that DMA is restricted from the start.
    pub dma_opt_in: bool,
    /// The units.
    pub units: Vec<DmarUnit>,
    /// Reserved memory.
    pub reserved: Vec<ReservedMemory>,
    /// Ports with address translation services.
    pub ats: Vec<AtsPorts>,
    /// Proximities of units.
    pub proximities: Vec<Proximity>,
    /// Devices that ACPI names.
    pub acpi_devices: Vec<AcpiDevice>,
    /// Devices of the SoC that keep translations.
    pub integrated: Vec<IntegratedCache>,
    /// Types of structures that Cohort does not know; they were skipped.
    pub skipped: Vec<u16>,
}

fn least(kind: u16) -> usize {
    match kind {
        structure_type::DRHD => size_of::<wire::Drhd>(),
        structure_type::RMRR => size_of::<wire::Rmrr>(),
        structure_type::ATSR => size_of::<wire::Atsr>(),
        structure_type::RHSA => size_of::<wire::Rhsa>(),
        structure_type::ANDD => size_of::<wire::Andd>(),
        structure_type::SATC => size_of::<wire::Satc>(),
        _ => size_of::<StructureHeader>(),
    }
}

pub(super) fn parse(table: Table<'_>) -> Result<Dmar, Error> {
    let fixed: wire::Fixed = table.read(HEADER)?;
    let flags = TableFlags::from_bits_retain(fixed.flags);
    let mut dmar = Dmar {
        address_bits: u16::from(fixed.host_address_width) + 1,
        interrupt_remapping: flags.contains(TableFlags::INTERRUPT_REMAPPING),
        x2apic_opt_out: flags.contains(TableFlags::X2APIC_OPT_OUT),
        dma_opt_in: flags.contains(TableFlags::DMA_CONTROL_OPT_IN),
        ..Dmar::default()
    };
    let mut offset = HEADER + size_of::<wire::Fixed>();
    let mut structures = 0;
    while offset < table.bytes.len() {
        structures += 1;
        if structures > MAX_ENTRIES {
            return Err(table.error(offset, Fault::TooMany { most: MAX_ENTRIES }));
        }
        let header: StructureHeader = table.read(offset)?;
        let kind = header.kind.get();
        let end = table.end_of(offset, header.length.get().into(), least(kind))?;
        structure(&table, &mut dmar, kind, offset, end)?;
        offset = end;
    }
    Ok(dmar)
}

/// Reads the structure from `offset` to `end`, which has its fixed part.
fn structure(table: &Table<'_>, dmar: &mut Dmar, kind: u16, offset: usize, end: usize) -> Result<(), Error> {
    let scopes = |segment: u16| scope::parse(table, segment, offset + least(kind), end);
    match kind {
        structure_type::DRHD => {
            let entry: wire::Drhd = table.read(offset)?;
            let unit = DmarUnit {
                base: entry.base.get(),
                bytes: REGISTERS << (entry.size & wire::SIZE_MASK),
                segment: entry.segment.get(),
                include_all: entry.flags & wire::INCLUDE_PCI_ALL != 0,
                scopes: scopes(entry.segment.get())?,
            };
            let scopes: usize = dmar.units.iter().map(|unit| unit.scopes.len()).sum();
            if scopes + unit.scopes.len() > MAX_ENTRIES {
                return Err(table.error(offset, Fault::TooMany { most: MAX_ENTRIES }));
            }
            check(&unit, &dmar.units).map_err(|fault| table.error(offset, fault))?;
            dmar.units.push(unit);
        }
        structure_type::RMRR => {
            let entry: wire::Rmrr = table.read(offset)?;
            let (first, last) = (entry.base.get(), entry.limit.get());
            if last < first {
                let fault = Fault::EmptyRange {
                    start: first,
                    end: last,
                };
                return Err(table.error(offset, fault));
            }
            dmar.reserved.push(ReservedMemory {
                first,
                last,
                segment: entry.segment.get(),
                scopes: scopes(entry.segment.get())?,
            });
        }
        structure_type::ATSR => {
            let entry: wire::Atsr = table.read(offset)?;
            dmar.ats.push(AtsPorts {
                segment: entry.segment.get(),
                all: entry.flags & wire::ALL_PORTS != 0,
                scopes: scopes(entry.segment.get())?,
            });
        }
        structure_type::RHSA => {
            let entry: wire::Rhsa = table.read(offset)?;
            dmar.proximities.push(Proximity {
                base: entry.base.get(),
                domain: entry.proximity.get(),
            });
        }
        structure_type::ANDD => {
            let entry: wire::Andd = table.read(offset)?;
            if dmar.acpi_devices.iter().any(|other| other.number == entry.number) {
                return Err(table.error(offset, Fault::Overlap));
            }
            let text = table.bytes.get(offset + least(kind)..end).unwrap_or_default();
            let name = text.split(|&byte| byte == 0).next().unwrap_or_default();
            dmar.acpi_devices.push(AcpiDevice {
                number: entry.number,
                name: alloc::format!("{}", name.escape_ascii()),
            });
        }
        structure_type::SATC => {
            let entry: wire::Satc = table.read(offset)?;
            dmar.integrated.push(IntegratedCache {
                segment: entry.segment.get(),
                required: entry.flags & wire::ATC_REQUIRED != 0,
                scopes: scopes(entry.segment.get())?,
            });
        }
        other => dmar.skipped.push(other),
    }
    Ok(())
}

fn check(unit: &DmarUnit, earlier: &[DmarUnit]) -> Result<(), Fault> {
    if unit.base == 0 {
        return Err(Fault::NoRegisters);
    }
    if !unit.base.is_multiple_of(REGISTERS) {
        return Err(Fault::Unaligned {
            address: unit.base,
            alignment: REGISTERS,
        });
    }
    let last = unit.base.checked_add(unit.bytes - 1).ok_or(Fault::Overflow)?;
    let overlaps = earlier.iter().any(|other| {
        let registers = other.base <= last && unit.base <= other.base + (other.bytes - 1);
        let rest = other.segment == unit.segment && other.include_all && unit.include_all;
        registers || rest || scope::meet(&other.scopes, &unit.scopes)
    });
    if overlaps { Err(Fault::Overlap) } else { Ok(()) }
}
