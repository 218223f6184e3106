//! Regions of a PCI function: BARs, ROM and configuration space, and which parts can be mapped for an owner.

use super::config::{Bar, Function, MsiX, TableLocation};
use super::vconfig::VirtualConfig;
use crate::addr::HostPhys;
use crate::device::{Mappable, MemoryType, RegionFlags, RegionInfo};
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::ops::Range;

/// Indices of a PCI function's regions; 0 to 5 are its BARs.
pub mod index {
    /// The last BAR.
    pub const BAR5: u32 = 5;
    /// The expansion ROM.
    pub const ROM: u32 = 6;
    /// Configuration space.
    pub const CONFIG: u32 = 7;
    /// The legacy ranges of a VGA controller, which nobody is given here.
    pub const VGA: u32 = 8;
    /// How many there are.
    pub const COUNT: u32 = 9;
}

/// Describes region `index` of `function`, whose guest sees `config`; `None` beyond the last one. `page` is the size of the
/// host's smallest page.
#[must_use]
pub fn describe(function: &Function, config: &VirtualConfig, index: u32, page: u64) -> Option<RegionInfo> {
    let bar = || {
        config
            .bars()
            .iter()
            .map(|bar| bar.host)
            .find(|bar| u32::from(bar.index) == index)
    };
    let region = match index {
        ..=index::BAR5 => bar().map(|bar| {
            let parts = mappable(&bar, function.msix.as_ref(), page);
            let mut flags = RegionFlags::READ | RegionFlags::WRITE;
            flags.set(RegionFlags::MAP, !parts.is_empty());
            RegionInfo {
                size: bar.size,
                flags,
                mappable: parts
                    .into_iter()
                    .map(|part| Mappable {
                        offset: part.start,
                        size: part.end - part.start,
                        address: HostPhys(bar.address + part.start),
                        memory_type: MemoryType::Device,
                    })
                    .collect(),
            }
        }),
        index::ROM => bar().map(|bar| RegionInfo {
            size: bar.size,
            flags: RegionFlags::READ,
            mappable: Vec::new(),
        }),
        index::CONFIG => Some(RegionInfo {
            size: config.size().into(),
            flags: RegionFlags::READ | RegionFlags::WRITE,
            mappable: Vec::new(),
        }),
        index::VGA => None,
        _ => return None,
    };
    Some(region.unwrap_or(RegionInfo::ABSENT))
}

/// The parts of `bar` that can be mapped, as offsets: whole pages of memory that hold nothing of anybody else's, without the pages
/// of the MSI-X table and of the pending bits. I/O BARs and those that firmware left nowhere have none, nor has a BAR smaller than a
/// page, which may share its page with another, nor the ROM, which the hardware decodes for each read only.
#[must_use]
pub fn mappable(bar: &Bar, msix: Option<&MsiX>, page: u64) -> ArrayVec<Range<u64>, 3> {
    let mut parts = ArrayVec::new();
    let pages = page.is_power_of_two() && bar.size.is_multiple_of(page) && bar.address.is_multiple_of(page);
    let inside = bar.address.checked_add(bar.size).is_some();
    let rom = u32::from(bar.index) > index::BAR5;
    if !pages || !inside || !bar.is_memory() || bar.address == 0 || bar.size == 0 || rom {
        return parts;
    }
    let mut start = 0;
    for hole in holes(bar, msix, page) {
        if start < hole.start {
            parts.push(start..hole.start);
        }
        start = start.max(hole.end);
    }
    if start < bar.size {
        parts.push(start..bar.size);
    }
    parts
}

/// The parts of `bar` that cannot be mapped, in order: what is left of it beside [`mappable`].
#[must_use]
pub fn trapped(bar: &Bar, msix: Option<&MsiX>, page: u64) -> ArrayVec<Range<u64>, 4> {
    let mut parts = ArrayVec::new();
    let mut start = 0;
    for mapped in mappable(bar, msix, page) {
        if start < mapped.start {
            parts.push(start..mapped.start);
        }
        start = mapped.end;
    }
    if start < bar.size {
        parts.push(start..bar.size);
    }
    parts
}

/// Pages of the table and of the pending bits, in order.
fn holes(bar: &Bar, msix: Option<&MsiX>, page: u64) -> [Range<u64>; 2] {
    let hole = |location: TableLocation| {
        if location.bar != bar.index || location.length == 0 {
            return 0..0;
        }
        let start = u64::from(location.offset);
        let end = start + u64::from(location.length);
        let down = |at: u64| at & !(page - 1);
        down(start).min(bar.size)..end.checked_next_multiple_of(page).unwrap_or(end).min(bar.size)
    };
    let mut holes = msix.map_or([0..0, 0..0], |msix| [hole(msix.table), hole(msix.pending)]);
    holes.sort_by_key(|hole| hole.start);
    holes
}

#[cfg(test)]
#[path = "region_tests.rs"]
mod tests;
