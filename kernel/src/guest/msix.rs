//! MSI-X of an assigned function: the guest programs a model of the table, the hypervisor routes the real
//! interrupts (PCI Express Base Specification 6.0, section 7.7.2).
//!
//! Pages of the BAR that hold the table trap. What else lies in them, the pending bits first of all, is passed on
//! access by access; all other pages are mapped.

use super::bars::VirtualBar;
use super::layout::MemoryRegion;
use crate::addr::{GuestPhys, HostPhys};
use crate::pci::{MsiX, TableLocation};
use crate::virt::nested::Rights;
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use spec::lapic::{FIRST_VECTOR, MESSAGE_ADDRESS};
use spec::page_table::PAGE;
use vfio_core::pci::spec::msix::ENTRY;

/// Where an interrupt goes in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Vector, 16 to 255.
    pub vector: u8,
    /// Local APIC id of the vCPU, which the guest has.
    pub apic: u8,
}

/// What the guest's programming asks of the hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsixAction {
    /// Unmask this entry, and deliver it so.
    Route {
        /// Entry of the table.
        index: u16,
        /// Where to.
        route: Route,
    },
    /// Mask this entry.
    Unroute {
        /// Entry of the table.
        index: u16,
    },
}

/// Vector control: the entry is masked.
const MASKED: u32 = 1;
/// Message address: the bits that must be [`MESSAGE_ADDRESS`].
const ADDRESS_MASK: u32 = 0xfff0_0000;

#[derive(Clone, Copy, Debug)]
struct Entry {
    words: [u32; 4],
    routed: Option<Route>,
}

/// The table as the guest programs it.
#[derive(Clone, Debug)]
pub struct MsixTable {
    entries: Vec<Entry>,
    enabled: bool,
    masked: bool,
    cpus: u8,
}

impl MsixTable {
    /// A table of `vectors` entries, all masked, for a guest with `cpus` vCPUs.
    #[must_use]
    pub fn new(vectors: u16, cpus: u8) -> Self {
        let entry = Entry {
            words: [0, 0, 0, MASKED],
            routed: None,
        };
        Self {
            entries: Vec::from_iter((0..vectors).map(|_| entry)),
            enabled: false,
            masked: false,
            cpus,
        }
    }

    /// Reads `bytes` (4 or 8) at an aligned `offset` of the table.
    #[must_use]
    pub fn read(&self, offset: u32, bytes: u8) -> u64 {
        let word = |offset: u32| {
            let entry = self.entries.get((offset / ENTRY) as usize);
            entry
                .and_then(|entry| entry.words.get((offset % ENTRY / 4) as usize))
                .copied()
                .unwrap_or(0)
        };
        let low = word(offset).into();
        if bytes == 8 {
            low | u64::from(word(offset + 4)) << 32
        } else {
            low
        }
    }

    /// Writes `bytes` (4 or 8) at an aligned `offset` of the table.
    pub fn write(&mut self, offset: u32, bytes: u8, value: u64, act: &mut dyn FnMut(MsixAction)) {
        let index = offset / ENTRY;
        let Some(entry) = self.entries.get_mut(index as usize) else {
            return;
        };
        let mut put = |at: u32, value: u32| {
            if let Some(word) = entry.words.get_mut(at as usize) {
                *word = if at == 3 { value & MASKED } else { value };
            }
        };
        let at = offset % ENTRY / 4;
        put(at, value as u32);
        if bytes == 8 {
            put(at + 1, (value >> 32) as u32);
        }
        self.update(index as u16, act);
    }

    /// The enable and function mask bits of the capability changed.
    pub fn control(&mut self, enabled: bool, masked: bool, act: &mut dyn FnMut(MsixAction)) {
        (self.enabled, self.masked) = (enabled, masked);
        for index in 0..self.entries.len() {
            self.update(index as u16, act);
        }
    }

    /// Takes all routes back.
    pub fn reset(&mut self, act: &mut dyn FnMut(MsixAction)) {
        self.control(false, false, act);
        let vectors = self.entries.len() as u16;
        *self = Self::new(vectors, self.cpus);
    }

    fn update(&mut self, index: u16, act: &mut dyn FnMut(MsixAction)) {
        let live = self.enabled && !self.masked;
        let cpus = self.cpus;
        let Some(entry) = self.entries.get_mut(usize::from(index)) else {
            return;
        };
        let wanted = if live { target(entry.words, cpus) } else { None };
        if wanted != entry.routed {
            entry.routed = wanted;
            act(match wanted {
                Some(route) => MsixAction::Route { index, route },
                None => MsixAction::Unroute { index },
            });
        }
    }
}

/// Where an entry's message goes: nowhere while it is masked, or where it would hit no vCPU of the guest. Logical
/// destinations and delivery modes but fixed and lowest priority are not delivered.
fn target([address, upper, data, control]: [u32; 4], cpus: u8) -> Option<Route> {
    let (apic, vector) = ((address >> 12) as u8, data as u8);
    let logical = address & 4 != 0;
    let delivered = data >> 8 & 7 <= 1;
    (control & MASKED == 0
        && upper == 0
        && address & ADDRESS_MASK == MESSAGE_ADDRESS
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
    pub direct: ArrayVec<MemoryRegion, 2>,
    /// Trapped.
    pub trapped: Option<TrappedRange>,
}

/// Splits `bar`. Without an MSI-X table it is mapped as a whole, unless it shares its host page with something
/// else: then all of it traps, because a page is the least that can be mapped.
#[must_use]
pub fn split(bar: &VirtualBar, msix: Option<&MsiX>) -> Split {
    let whole_pages = bar.size.is_multiple_of(PAGE) && bar.hpa.0.is_multiple_of(PAGE);
    let here = |location: &TableLocation| location.bar == bar.index;
    let table = msix.map(|msix| msix.table).filter(here);
    let (start, end) = match table {
        _ if !whole_pages => (0, bar.size),
        None => (bar.size, bar.size),
        Some(table) => {
            let end = u64::from(table.offset) + u64::from(table.length);
            let start = u64::from(table.offset) & !(PAGE - 1);
            (start.min(bar.size), end.next_multiple_of(PAGE).min(bar.size))
        }
    };
    let mut split = Split::default();
    for (from, to) in [(0, start), (end, bar.size)] {
        if from < to {
            split.direct.push(MemoryRegion {
                gpa: GuestPhys(bar.gpa.0 + from),
                hpa: HostPhys(bar.hpa.0 + from),
                size: to - from,
                rights: Rights::DEVICE,
            });
        }
    }
    if start < end {
        let inside = |location: TableLocation| {
            let from = u64::from(location.offset).checked_sub(start)?;
            (from < end - start).then_some(TableLocation {
                offset: from as u32,
                ..location
            })
        };
        split.trapped = Some(TrappedRange {
            gpa: GuestPhys(bar.gpa.0 + start),
            hpa: HostPhys(bar.hpa.0 + start),
            size: end - start,
            table: table.and_then(inside),
            pending: msix.map(|msix| msix.pending).filter(here).and_then(inside),
        });
    }
    split
}

#[cfg(test)]
#[path = "msix_tests.rs"]
mod tests;
