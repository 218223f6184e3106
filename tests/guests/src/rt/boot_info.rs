//! What the loader left: PVH start info, copied into a [`Machine`] before anything else uses memory.
#![expect(unsafe_code, reason = "reads what lies at physical addresses")]

use alloc::string::{String, ToString};
use core::ops::Range;
use pvh::start_info::reader::StartInfoReader;

use super::{Failure, Machine, apic};
use crate::acpi::{self, Platform};
use crate::pci::Ecam;

/// The guest itself lies below this address, see `guest.ld`.
const OWN_END: u64 = 0x40_0000;

/// Type of RAM in the memory map.
const RAM: u32 = 1;

/// First address that the page tables do not map.
const MAPPED_END: u64 = 1 << 32;

/// Physical memory through the identity map.
struct Physical;

impl acpi::Memory for Physical {
    fn bytes(&self, address: u64, len: usize) -> Option<&[u8]> {
        let end = address.checked_add(len as u64)?;
        if address == 0 || end > MAPPED_END {
            return None;
        }
        // SAFETY: the range is mapped and not null; ACPI tables are not written while the guest runs.
        Some(unsafe {
            core::slice::from_raw_parts(core::ptr::with_exposed_provenance(address as usize), len)
        })
    }
}

/// Reads the start info at `address` and the ACPI tables that it names, and turns the local APIC on.
pub(super) fn machine(address: u32) -> Result<Machine, Failure> {
    // SAFETY: the loader gave this address; memory is identity-mapped.
    let info = unsafe { StartInfoReader::from_paddr_identity(address) }
        .ok_or("there is no PVH start info where EBX points")?;
    let cmdline = info
        .cmdline()
        .map_or(String::new(), |text| text.to_string_lossy().to_string());
    let free_ram = info
        .memmap()
        .iter()
        .filter(|entry| entry.ty == RAM)
        .map(|entry| entry.addr.max(OWN_END)..entry.addr.saturating_add(entry.size).min(MAPPED_END))
        .find(|range| !range.is_empty())
        .unwrap_or(Range::default());
    let platform = Platform::read(&Physical, info.raw().rsdp_paddr)?;
    apic::init(platform.local_apic)?;
    let pci = Ecam::new(platform.ecam, platform.buses.clone())?;
    Ok(Machine {
        cmdline,
        free_ram,
        platform,
        pci,
    })
}
