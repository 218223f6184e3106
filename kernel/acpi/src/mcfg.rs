//! MCFG: windows of memory-mapped configuration space.

use super::table::{HEADER, Table};
use super::{Error, Fault};
use alloc::vec::Vec;
use spec::acpi::mcfg::{self, Allocation};

/// Bytes of configuration space of one bus.
const BUS_BYTES: u64 = 1 << 20;

/// A window of configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcamWindow {
    /// PCI segment group.
    pub segment: u16,
    /// First bus.
    pub bus_start: u8,
    /// Last bus, inclusive.
    pub bus_end: u8,
    /// Host physical address where bus 0 would be: a multiple of 1 MiB.
    pub base: u64,
}

impl EcamWindow {
    /// Host physical address of the first bus that the window has.
    #[must_use]
    pub const fn start(&self) -> u64 {
        // `parse` has seen that the last bus ends inside the address space.
        self.base + self.bus_start as u64 * BUS_BYTES
    }

    /// Bytes from [`Self::start`], 1 MiB for each bus.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        (self.bus_end as u64 + 1 - self.bus_start as u64) * BUS_BYTES
    }
}

pub(super) fn parse(table: Table<'_>) -> Result<Vec<EcamWindow>, Error> {
    let mut windows: Vec<EcamWindow> = Vec::new();
    let mut offset = HEADER + mcfg::RESERVED;
    if table.bytes.len() < offset {
        let fault = Fault::Length {
            found: table.bytes.len(),
            least: offset,
            most: super::MAX_TABLE_BYTES,
        };
        return Err(table.error(4, fault));
    }
    while offset < table.bytes.len() {
        let entry: Allocation = table.read(offset)?;
        let window = EcamWindow {
            segment: entry.segment.get(),
            bus_start: entry.bus_start,
            bus_end: entry.bus_end,
            base: entry.base.get(),
        };
        check(&window, &windows).map_err(|fault| table.error(offset, fault))?;
        windows.push(window);
        offset += size_of::<Allocation>();
    }
    Ok(windows)
}

fn check(window: &EcamWindow, earlier: &[EcamWindow]) -> Result<(), Fault> {
    if window.bus_end < window.bus_start {
        return Err(Fault::EmptyRange {
            start: window.bus_start.into(),
            end: window.bus_end.into(),
        });
    }
    if !window.base.is_multiple_of(BUS_BYTES) {
        return Err(Fault::Unaligned {
            address: window.base,
            alignment: BUS_BYTES,
        });
    }
    if window
        .base
        .checked_add((u64::from(window.bus_end) + 1) * BUS_BYTES)
        .is_none()
    {
        return Err(Fault::Overflow);
    }
    let overlaps = earlier.iter().any(|other| {
        let buses = other.segment == window.segment
            && other.bus_start <= window.bus_end
            && window.bus_start <= other.bus_end;
        let memory =
            other.start() < window.start() + window.bytes() && window.start() < other.start() + other.bytes();
        buses || memory
    });
    if overlaps { Err(Fault::Overlap) } else { Ok(()) }
}
