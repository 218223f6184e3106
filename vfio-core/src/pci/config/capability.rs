//! Capability lists, standard and extended, and what the capabilities say.
//!
//! A list is a chain of offsets that the function chooses: each walk remembers where it has been, stays inside the
//! space that the list belongs to, and ends at the first entry that it cannot believe.

use super::bar::Bar;
use super::function::{AdvancedFeatures, Express, Msi, MsiX, PowerManagement, TableLocation};
use super::scan::ProblemKind;
use super::{Capability, ConfigAccess, ExtendedCapability, Registers};
use crate::pci::spec::{STATUS_CAPABILITIES, af, express, extended, header, msi, msix, pm};
use alloc::vec::Vec;

/// Bytes of configuration space that conventional PCI has.
const CONVENTIONAL_END: u16 = 0x100;
/// Bytes of configuration space that PCI Express has.
const EXPRESS_END: u16 = 0x1000;

/// Walks the standard list (section 7.5.1.1.11).
pub(super) fn standard<C: ConfigAccess>(
    registers: &Registers<'_, C>,
    problems: &mut impl FnMut(ProblemKind),
) -> Vec<Capability> {
    let mut found: Vec<Capability> = Vec::new();
    if registers.u16(header::STATUS) & STATUS_CAPABILITIES == 0 {
        return found;
    }
    let mut offset = u16::from(registers.u8(header::CAPABILITIES) & !3);
    while offset != 0 {
        if offset < header::END {
            problems(ProblemKind::CapabilityOutside { offset });
            break;
        }
        if found.iter().any(|capability| capability.offset == offset) {
            problems(ProblemKind::CapabilityLoop { offset });
            break;
        }
        let capability = Capability {
            id: registers.u8(offset),
            offset,
        };
        if capability.id == 0xff || offset + capability.least_bytes() > CONVENTIONAL_END {
            problems(ProblemKind::CapabilityOutside { offset });
            break;
        }
        found.push(capability);
        offset = u16::from(registers.u8(offset + 1) & !3);
    }
    found
}

/// Walks the extended list (section 7.6.3), which PCI Express functions have.
pub(super) fn extended<C: ConfigAccess>(
    registers: &Registers<'_, C>,
    problems: &mut impl FnMut(ProblemKind),
) -> Vec<ExtendedCapability> {
    let mut found: Vec<ExtendedCapability> = Vec::new();
    let mut offset = extended::FIRST;
    loop {
        let head = registers.u32(offset);
        if found.is_empty() && (head == 0 || head == u32::MAX) {
            return found;
        }
        let capability = ExtendedCapability {
            id: head as u16,
            version: (head >> 16) as u8 & 0xf,
            offset,
        };
        if capability.id == 0xffff || offset + capability.least_bytes() > EXPRESS_END {
            problems(ProblemKind::CapabilityOutside { offset });
            return found;
        }
        found.push(capability);
        offset = (head >> 20) as u16 & !3;
        if offset == 0 {
            return found;
        }
        if offset < extended::FIRST {
            problems(ProblemKind::CapabilityOutside { offset });
            return found;
        }
        if found.iter().any(|capability| capability.offset == offset) {
            problems(ProblemKind::CapabilityLoop { offset });
            return found;
        }
    }
}

pub(super) fn decode_express<C: ConfigAccess>(registers: &Registers<'_, C>, offset: u16) -> Express {
    let flags = registers.u16(offset + express::FLAGS);
    let link = registers.u32(offset + express::LINK_CAPABILITIES);
    Express {
        offset,
        version: flags as u8 & 0xf,
        port_type: (flags >> 4) as u8 & 0xf,
        slot: flags & 1 << 8 != 0,
        reports_link: link & express::LINK_CAPABILITIES_ACTIVE_REPORTING != 0,
    }
}

pub(super) fn decode_pm<C: ConfigAccess>(registers: &Registers<'_, C>, offset: u16) -> PowerManagement {
    PowerManagement {
        offset,
        no_soft_reset: registers.u16(offset + pm::CONTROL) & pm::NO_SOFT_RESET != 0,
    }
}

pub(super) fn decode_af<C: ConfigAccess>(registers: &Registers<'_, C>, offset: u16) -> AdvancedFeatures {
    let needed = af::CAPABILITIES_FLR | af::CAPABILITIES_TP;
    AdvancedFeatures {
        offset,
        flr: registers.u8(offset + af::CAPABILITIES) & needed == needed,
    }
}

pub(super) fn decode_msi<C: ConfigAccess>(
    registers: &Registers<'_, C>,
    offset: u16,
) -> Result<Msi, ProblemKind> {
    let control = registers.u16(offset + msi::CONTROL);
    let exponent = (control >> msi::CAPABLE_SHIFT) & 7;
    let decoded = Msi {
        offset,
        vectors: 1u8
            .checked_shl(exponent.into())
            .filter(|&vectors| vectors <= 32)
            .unwrap_or(0),
        address_64: control & msi::ADDRESS_64 != 0,
        maskable: control & msi::MASKING != 0,
    };
    if decoded.vectors == 0 {
        return Err(ProblemKind::MsiVectors {
            exponent: exponent as u8,
        });
    }
    if offset + decoded.bytes() > CONVENTIONAL_END {
        return Err(ProblemKind::CapabilityOutside { offset });
    }
    Ok(decoded)
}

/// Reads where the tables are, and checks that they are inside memory BARs.
pub(super) fn decode_msix<C: ConfigAccess>(
    registers: &Registers<'_, C>,
    offset: u16,
    bars: &[Bar],
) -> Result<MsiX, ProblemKind> {
    let vectors = (registers.u16(offset + msix::CONTROL) & msix::SIZE_MASK) + 1;
    let locate = |register: u16, length: u32| {
        let value = registers.u32(offset + register);
        let location = TableLocation {
            bar: (value & msix::BIR_MASK) as u8,
            offset: value & !msix::BIR_MASK,
            length,
        };
        let inside = bars
            .iter()
            .any(|bar| bar.index == location.bar && bar.is_memory() && bar.holds(location.offset, length));
        if inside {
            Ok(location)
        } else {
            Err(ProblemKind::TableOutsideBar(location))
        }
    };
    Ok(MsiX {
        offset,
        vectors,
        table: locate(msix::TABLE, u32::from(vectors) * msix::ENTRY)?,
        pending: locate(msix::PBA, u32::from(vectors).div_ceil(64) * 8)?,
    })
}
