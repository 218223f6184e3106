//! MADT: processors and interrupt controllers.

use super::table::{HEADER, Table};
use super::{Error, Fault};
use alloc::vec::Vec;
use spec::acpi::madt::{self, EntryHeader, ProcessorFlags, entry_type};

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Id of its local APIC.
    pub apic_id: u32,
    /// Whether firmware says that it can be used.
    pub enabled: bool,
}

/// An I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    /// Its id.
    pub id: u8,
    /// Host physical address of its registers.
    pub address: u64,
    /// First global system interrupt of its inputs.
    pub gsi_base: u32,
}

/// What the table says.
#[derive(Debug)]
pub(super) struct Madt {
    pub(super) cpus: Vec<Cpu>,
    pub(super) lapic_base: u64,
    pub(super) ioapics: Vec<IoApic>,
}

pub(super) fn parse(table: Table<'_>) -> Result<Madt, Error> {
    let fixed: madt::Fixed = table.read(HEADER)?;
    let mut result = Madt {
        cpus: Vec::new(),
        lapic_base: fixed.local_apic_address.get().into(),
        ioapics: Vec::new(),
    };
    let mut offset = HEADER + size_of::<madt::Fixed>();
    while offset < table.bytes.len() {
        let header: EntryHeader = table.read(offset)?;
        let length = usize::from(header.length);
        let left = table.bytes.len() - offset;
        let least = match header.kind {
            entry_type::LOCAL_APIC => size_of::<madt::LocalApic>(),
            entry_type::IO_APIC | entry_type::ADDRESS_OVERRIDE => size_of::<madt::IoApic>(),
            entry_type::LOCAL_X2APIC => size_of::<madt::LocalX2Apic>(),
            _ => size_of::<EntryHeader>(),
        };
        if length < least || length > left {
            return Err(table.error(
                offset,
                Fault::Length {
                    found: length,
                    least,
                    most: left,
                },
            ));
        }
        match header.kind {
            entry_type::LOCAL_APIC => {
                let entry: madt::LocalApic = table.read(offset)?;
                add(&mut result.cpus, entry.apic_id.into(), entry.flags.get());
            }
            entry_type::LOCAL_X2APIC => {
                let entry: madt::LocalX2Apic = table.read(offset)?;
                add(&mut result.cpus, entry.x2apic_id.get(), entry.flags.get());
            }
            entry_type::IO_APIC => {
                let entry: madt::IoApic = table.read(offset)?;
                result.ioapics.push(IoApic {
                    id: entry.id,
                    address: entry.address.get().into(),
                    gsi_base: entry.gsi_base.get(),
                });
            }
            entry_type::ADDRESS_OVERRIDE => {
                let entry: madt::AddressOverride = table.read(offset)?;
                result.lapic_base = entry.address.get();
            }
            _ => {}
        }
        offset += length;
    }
    Ok(result)
}

/// Notes a processor. Firmware may name one twice, by an 8-bit and a 32-bit id: it is one.
fn add(cpus: &mut Vec<Cpu>, apic_id: u32, flags: u32) {
    let enabled = ProcessorFlags::from_bits_retain(flags).contains(ProcessorFlags::ENABLED);
    match cpus.iter_mut().find(|cpu| cpu.apic_id == apic_id) {
        Some(cpu) => cpu.enabled |= enabled,
        None => cpus.push(Cpu { apic_id, enabled }),
    }
}
