//! Messages of assigned functions, as far as they mean an interrupt here, and the pages of BARs that are mapped.
//!
//! The guest programs MSI and MSI-X in models ([`vfio_core::pci::irq`]), and the hypervisor routes the real interrupts. Pages of a
//! BAR that hold the MSI-X table or its pending bits trap. What else lies in them is passed on access by access; all other pages are
//! mapped.

use super::layout::MemoryRegion;
use crate::addr::{GuestPhys, HostPhys};
use crate::pci::{Bar, MsiX};
use crate::virt::nested::Rights;
use spec::lapic::{FIRST_VECTOR, MESSAGE_ADDRESS};
use spec::page_table::PAGE;
use vfio_core::pci::irq::Message;
use vfio_core::pci::region;

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

/// The pages of `bar` that need no trap, where it answers the guest at `address`.
pub fn direct(bar: &Bar, msix: Option<&MsiX>, address: u64) -> impl Iterator<Item = MemoryRegion> + use<> {
    let host = bar.address;
    region::mappable(bar, msix, PAGE)
        .into_iter()
        .map(move |part| MemoryRegion {
            gpa: GuestPhys(address + part.start),
            hpa: HostPhys(host + part.start),
            size: part.end - part.start,
            rights: Rights::DEVICE,
        })
}

#[cfg(test)]
#[path = "msix_tests.rs"]
mod tests;
