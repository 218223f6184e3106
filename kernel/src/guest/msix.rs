//! Messages of assigned functions, as far as they mean an interrupt here, and BARs in parts that are mapped and parts that trap.
//!
//! The guest programs MSI and MSI-X in models ([`vfio_core::pci::irq`]), and the hypervisor routes the real interrupts. Pages of a
//! BAR that hold the MSI-X table or its pending bits trap. What else lies in them is passed on access by access; all other pages are
//! mapped.

use super::layout::MemoryRegion;
use crate::addr::{GuestPhys, HostPhys};
use crate::pci::{MsiX, TableLocation};
use crate::virt::nested::Rights;
use arrayvec::ArrayVec;
use spec::lapic::{FIRST_VECTOR, MESSAGE_ADDRESS};
use spec::page_table::PAGE;
use vfio_core::pci::irq::Message;
use vfio_core::pci::region;
use vfio_core::pci::vconfig::VirtualBar;

/// Where an interrupt goes in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Vector, 16 to 255.
    pub vector: u8,
    /// Local APIC id of the vCPU, which the guest has.
    pub apic: u8,
}

/// Message address: the bits that must be [`MESSAGE_ADDRESS`].
const ADDRESS_MASK: u32 = 0xfff0_0000;

/// Where a message goes in a guest with `cpus` vCPUs (AMD64 manual, volume 2, section 16.11): nowhere if it would hit none of them.
/// Logical destinations and delivery modes but fixed and lowest priority are not delivered.
#[must_use]
pub fn route(message: Message, cpus: u8) -> Option<Route> {
    let address = u32::try_from(message.address).ok()?;
    let (apic, vector) = ((address >> 12) as u8, message.data as u8);
    let logical = address & 4 != 0;
    let delivered = message.data >> 8 & 7 <= 1;
    (address & ADDRESS_MASK == MESSAGE_ADDRESS
        && !logical
        && delivered
        && vector >= FIRST_VECTOR
        && apic < cpus)
        .then_some(Route { vector, apic })
}

/// A range of a BAR whose accesses exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrappedRange {
    /// Start in the guest.
    pub gpa: GuestPhys,
    /// Start in the host.
    pub hpa: HostPhys,
    /// Bytes.
    pub size: u64,
    /// The MSI-X table in the range, from its start; writes to the model.
    pub table: Option<TableLocation>,
    /// The pending bits in the range, from its start; read-only.
    pub pending: Option<TableLocation>,
}

/// A BAR in ranges that are mapped and ranges that trap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Mapped with nested paging.
    pub direct: ArrayVec<MemoryRegion, 3>,
    /// Trapped.
    pub trapped: ArrayVec<TrappedRange, 4>,
}

/// Splits `bar`.
#[must_use]
pub fn split(bar: &VirtualBar, msix: Option<&MsiX>) -> Split {
    let host = &bar.host;
    let here = |location: &TableLocation| location.bar == host.index;
    let (table, pending) = (
        msix.map(|msix| msix.table).filter(here),
        msix.map(|msix| msix.pending).filter(here),
    );
    let place = |from: u64| (GuestPhys(bar.address + from), HostPhys(host.address + from));
    let direct = region::mappable(host, msix, PAGE).into_iter().map(|part| {
        let (gpa, hpa) = place(part.start);
        MemoryRegion {
            gpa,
            hpa,
            size: part.end - part.start,
            rights: Rights::DEVICE,
        }
    });
    let trapped = region::trapped(host, msix, PAGE).into_iter().map(|part| {
        let (gpa, hpa) = place(part.start);
        // A table lies in one part as a whole.
        let inside = |location: TableLocation| {
            let from = u64::from(location.offset);
            part.contains(&from).then(|| TableLocation {
                offset: (from - part.start) as u32,
                ..location
            })
        };
        TrappedRange {
            gpa,
            hpa,
            size: part.end - part.start,
            table: table.and_then(inside),
            pending: pending.and_then(inside),
        }
    });
    Split {
        direct: direct.collect(),
        trapped: trapped.collect(),
    }
}

#[cfg(test)]
#[path = "msix_tests.rs"]
mod tests;
