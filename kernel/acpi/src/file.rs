//! One table as a file has it: what `acpidump -b` writes and `/sys/firmware/acpi/tables` shows.

use super::table::Table;
use super::{Cpu, Dmar, EcamWindow, Error, IoApic, Ivrs, Signature, Viot, dmar, ivrs, madt, mcfg, viot};
use alloc::vec::Vec;

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileTable {
    /// Processors and interrupt controllers.
    Madt {
        /// Processors.
        cpus: Vec<Cpu>,
        /// I/O APICs.
        ioapics: Vec<IoApic>,
    },
    /// Windows of configuration space.
    Mcfg(Vec<EcamWindow>),
    /// virtio-iommus.
    Viot(Viot),
    /// VT-d units.
    Dmar(Dmar),
    /// AMD-Vi units.
    Ivrs(Ivrs),
    /// A whole table that Cohort does not read.
    Other(Signature),
}

/// Reads the table in a file. Bytes past its length are left alone.
///
/// # Errors
///
/// It is no table, or a broken one.
pub fn read_file(bytes: &[u8]) -> Result<FileTable, Error> {
    let table = Table::in_file(bytes)?;
    Ok(match table.signature.0 {
        spec::acpi::madt::SIGNATURE => {
            let madt = madt::parse(table)?;
            FileTable::Madt {
                cpus: madt.cpus,
                ioapics: madt.ioapics,
            }
        }
        spec::acpi::mcfg::SIGNATURE => FileTable::Mcfg(mcfg::parse(table)?),
        spec::viot::SIGNATURE => FileTable::Viot(viot::parse(table)?),
        spec::dmar::SIGNATURE => FileTable::Dmar(dmar::parse(table)?),
        spec::ivrs::SIGNATURE => FileTable::Ivrs(ivrs::parse(table)?),
        _ => FileTable::Other(table.signature),
    })
}
