//! IVRS: which AMD-Vi unit has which device, and which memory firmware wants left to devices.
//!
//! Firmware lists a unit once for each generation of the format (10h, 11h, 40h). The newest that is there counts, as
//! the specification says; the others must be whole all the same.

mod entry;
#[cfg(test)]
mod tests;

pub use entry::{IvhdEntry, IvhdTarget, Uid};

use super::table::{HEADER, Table};
use super::{Error, Fault};
use alloc::vec::Vec;
use spec::ivrs::{self as wire, BlockHeader, IvmdFlags, block_type};
use vfio_core::pci::Bdf;

/// The most blocks, entries of one block, and entries of all units together that Cohort takes. Each is compared with all others.
const MAX_ENTRIES: usize = 4096;

/// Bytes of registers that every unit has; units with counters have more.
const REGISTERS: u64 = 16 << 10;

/// An AMD-Vi unit (IVHD).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IvrsUnit {
    /// Type of the block: 10h, 11h or 40h.
    pub kind: u8,
    /// The unit's own function.
    pub function: Bdf,
    /// Offset of its PCI capability.
    pub capability: u16,
    /// Host physical address of the registers, a multiple of 16 KiB.
    pub base: u64,
    /// `spec::ivrs::IvhdFlags`.
    pub flags: u8,
    /// IOMMU info: bits 4:0 the MSI message, 12:8 the unit's id.
    pub info: u16,
    /// Feature reporting (10h) or attributes.
    pub features: u32,
    /// Images of the extended feature registers, where the block has them.
    pub extended: Option<(u64, u64)>,
    /// What it has, in the order of the table: a later entry overrides an earlier one.
    pub entries: Vec<IvhdEntry>,
}

/// Memory with rules of its own (IVMD).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IvrsMemory {
    /// First byte, host physical.
    pub first: u64,
    /// Last byte, inclusive.
    pub last: u64,
    /// PCI segment.
    pub segment: u16,
    /// First and last requester id that it is for, inclusive.
    pub requesters: (u16, u16),
    /// To be mapped one to one.
    pub unity: bool,
    /// The devices read it.
    pub read: bool,
    /// The devices write it.
    pub write: bool,
    /// Accesses pass untranslated.
    pub exclusion: bool,
}

/// What the table says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ivrs {
    /// Bits of a physical address, 0 where the table does not say.
    pub physical_bits: u8,
    /// Bits of a device's virtual address, 0 where the table does not say.
    pub virtual_bits: u8,
    /// The units, each by its newest block.
    pub units: Vec<IvrsUnit>,
    /// Memory with rules of its own.
    pub memory: Vec<IvrsMemory>,
    /// Types of blocks that Cohort does not know; they were skipped.
    pub skipped: Vec<u8>,
}

fn least(kind: u8) -> usize {
    match kind {
        block_type::IVHD_10 => size_of::<wire::Ivhd>(),
        block_type::IVHD_11 | block_type::IVHD_40 => {
            size_of::<wire::Ivhd>() + size_of::<wire::IvhdExtension>()
        }
        block_type::IVMD_ALL | block_type::IVMD_SELECT | block_type::IVMD_RANGE => size_of::<wire::Ivmd>(),
        // A block that is not known need not have a device.
        _ => 4,
    }
}

pub(super) fn parse(table: Table<'_>) -> Result<Ivrs, Error> {
    let fixed: wire::Fixed = table.read(HEADER)?;
    let bits = |shift: u32| (fixed.info.get() >> shift & 0x7f) as u8;
    let mut ivrs = Ivrs {
        physical_bits: bits(8),
        virtual_bits: bits(15),
        ..Ivrs::default()
    };
    // With where each lies, for what two of them contradict each other in.
    let mut units: Vec<(usize, IvrsUnit)> = Vec::new();
    let mut offset = HEADER + size_of::<wire::Fixed>();
    let mut blocks = 0;
    while offset < table.bytes.len() {
        blocks += 1;
        if blocks > MAX_ENTRIES {
            return Err(table.error(offset, Fault::TooMany { most: MAX_ENTRIES }));
        }
        let [kind, _, low, high]: [u8; 4] = table.read(offset)?;
        let end = table.end_of(offset, u16::from_le_bytes([low, high]).into(), least(kind))?;
        match kind {
            block_type::IVHD_10 | block_type::IVHD_11 | block_type::IVHD_40 => {
                let unit = unit(&table, kind, offset, end)?;
                let same = |(_, other): &&mut (usize, IvrsUnit)| other.function == unit.function;
                match units.iter_mut().find(same) {
                    Some((_, other)) if other.kind == kind => {
                        return Err(table.error(offset, Fault::Overlap));
                    }
                    Some(older) if older.1.kind < kind => *older = (offset, unit),
                    Some(_) => {}
                    None => units.push((offset, unit)),
                }
            }
            block_type::IVMD_ALL | block_type::IVMD_SELECT | block_type::IVMD_RANGE => {
                let memory = memory(&table.read(offset)?).map_err(|fault| table.error(offset, fault))?;
                ivrs.memory.push(memory);
            }
            other => ivrs.skipped.push(other),
        }
        offset = end;
    }
    let entries: usize = units.iter().map(|(_, unit)| unit.entries.len()).sum();
    if entries > MAX_ENTRIES {
        return Err(table.error(HEADER, Fault::TooMany { most: MAX_ENTRIES }));
    }
    for (offset, unit) in units {
        if ivrs.units.iter().any(|other| contradict(other, &unit)) {
            return Err(table.error(offset, Fault::Overlap));
        }
        ivrs.units.push(unit);
    }
    Ok(ivrs)
}

/// The IVHD from `offset` to `end`, which has its fixed part.
fn unit(table: &Table<'_>, kind: u8, offset: usize, end: usize) -> Result<IvrsUnit, Error> {
    let fixed: wire::Ivhd = table.read(offset)?;
    let base = fixed.base.get();
    if base == 0 {
        return Err(table.error(offset, Fault::NoRegisters));
    }
    if !base.is_multiple_of(REGISTERS) {
        let fault = Fault::Unaligned {
            address: base,
            alignment: REGISTERS,
        };
        return Err(table.error(offset, fault));
    }
    let extended = if kind == block_type::IVHD_10 {
        None
    } else {
        let extension: wire::IvhdExtension = table.read(offset + size_of::<wire::Ivhd>())?;
        Some((extension.efr.get(), extension.efr2.get()))
    };
    Ok(IvrsUnit {
        kind,
        function: Bdf::from_requester_id(fixed.segment.get(), fixed.header.device.get()),
        capability: fixed.capability.get(),
        base,
        flags: fixed.header.flags,
        info: fixed.info.get(),
        features: fixed.features.get(),
        extended,
        entries: entry::parse(table, offset + least(kind), end)?,
    })
}

fn memory(block: &wire::Ivmd) -> Result<IvrsMemory, Fault> {
    let BlockHeader { kind, device, .. } = block.header;
    let requesters = match kind {
        block_type::IVMD_ALL => (0, u16::MAX),
        block_type::IVMD_SELECT => (device.get(), device.get()),
        _ => (device.get(), block.last.get()),
    };
    if requesters.1 < requesters.0 {
        return Err(Fault::EmptyRange {
            start: requesters.0.into(),
            end: requesters.1.into(),
        });
    }
    let (first, bytes) = (block.start.get(), block.length.get());
    let Some(further) = bytes.checked_sub(1) else {
        return Err(Fault::EmptyRange {
            start: first,
            end: first,
        });
    };
    let flags = IvmdFlags::from_bits_retain(block.header.flags);
    Ok(IvrsMemory {
        first,
        last: first.checked_add(further).ok_or(Fault::Overflow)?,
        segment: block.segment.get(),
        requesters,
        unity: flags.contains(IvmdFlags::UNITY),
        read: flags.contains(IvmdFlags::READ),
        write: flags.contains(IvmdFlags::WRITE),
        exclusion: flags.contains(IvmdFlags::EXCLUSION),
    })
}

/// Whether two units have the same registers or the same device.
fn contradict(a: &IvrsUnit, b: &IvrsUnit) -> bool {
    let registers = a.base == b.base;
    let devices = a.function.segment() == b.function.segment()
        && a.entries
            .iter()
            .any(|entry| b.entries.iter().any(|other| entry.meets(other)));
    registers || devices
}
