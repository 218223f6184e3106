//! Which BARs can be trusted to be where they say: nothing else may lie in their pages.
//!
//! A BAR is what a device, or firmware, or a guest before us wrote. One that lies over RAM, over another device's
//! registers or over the platform's would, once mapped for a guest, hand that over too. Protection works in pages,
//! so two BARs in one page count as one over the other.

use super::{Bar, Function};
use crate::memory::regions::{Kind, Region};
use alloc::vec::Vec;
use core::fmt;
use vfio_core::pci::Bdf;
use vfio_core::pci::config::ROM;

const PAGE: u64 = 4096;

/// What a BAR overlaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// RAM.
    Memory,
    /// The platform's own registers (configuration space, APICs).
    Platform,
    /// A BAR of another function.
    Function(Bdf),
}

/// A BAR that shares pages with something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Whose BAR.
    pub function: Bdf,
    /// Which, 0 to 5, or [`ROM`].
    pub bar: u8,
    /// Where it is.
    pub address: u64,
    /// What else is there.
    pub other: Other,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: BAR {} at {:#x} shares pages with ",
            self.function, self.bar, self.address
        )?;
        match self.other {
            Other::Memory => f.write_str("RAM"),
            Other::Platform => f.write_str("the platform's own registers"),
            Other::Function(other) => write!(f, "a BAR of {other}"),
        }
    }
}

/// Finds every memory BAR that shares a page with RAM in `memory`, with a range of `platform` (start, end), or with
/// another function's BAR. Both functions of such a pair are named. BARs without an address are left out.
#[must_use]
pub fn overlaps(functions: &[Function], memory: &[Region], platform: &[(u64, u64)]) -> Vec<Overlap> {
    let bars = functions
        .iter()
        .flat_map(|function| function.bars.iter().map(|bar| (function.bdf, bar)));
    overlapping(bars, memory, platform)
}

/// Takes the address of every expansion ROM that shares a page with something else, as [`overlaps`] has it: it is shown to a guest with its
/// size, and reads as ones. Says whose.
pub fn hide_overlapping_roms(
    functions: &mut [Function],
    memory: &[Region],
    platform: &[(u64, u64)],
) -> Vec<Overlap> {
    let all = functions.iter().flat_map(|function| {
        let regions = function.bars.iter().chain(function.rom.as_ref());
        regions.map(|bar| (function.bdf, bar))
    });
    let mut found = overlapping(all, memory, platform);
    found.retain(|overlap| overlap.bar == ROM);
    for overlap in &found {
        let mut functions = functions.iter_mut();
        let owner = functions.find(|function| function.bdf == overlap.function);
        if let Some(rom) = owner.and_then(|function| function.rom.as_mut()) {
            rom.address = 0;
        }
    }
    found
}

fn overlapping<'a>(
    bars: impl Iterator<Item = (Bdf, &'a Bar)>,
    memory: &[Region],
    platform: &[(u64, u64)],
) -> Vec<Overlap> {
    let placed = bars.filter(|(_, bar)| bar.is_memory() && bar.address != 0 && bar.size != 0);
    let pages = placed.map(|(bdf, bar)| {
        let last = bar.address.saturating_add(bar.size - 1) | (PAGE - 1);
        (bar.address & !(PAGE - 1), last, bdf, bar.index)
    });
    let mut bars: Vec<(u64, u64, Bdf, u8)> = pages.collect();
    bars.sort_unstable();
    let mut found = Vec::new();
    let name = |bar: &(u64, u64, Bdf, u8), other| Overlap {
        function: bar.2,
        bar: bar.3,
        address: bar.0,
        other,
    };
    // The BAR that reaches furthest among those that start earlier is the one that a later BAR can lie over.
    let mut furthest: Option<(u64, u64, Bdf, u8)> = None;
    for bar in &bars {
        if let Some(before) = furthest.filter(|before| before.1 >= bar.0 && before.2 != bar.2) {
            found.push(name(bar, Other::Function(before.2)));
            found.push(name(&before, Other::Function(bar.2)));
        }
        furthest = furthest.filter(|before| before.1 >= bar.1).or(Some(*bar));
        let usable = memory.iter().filter(|region| region.kind == Kind::Usable);
        if usable
            .into_iter()
            .any(|region| region.start <= bar.1 && bar.0 < region.end)
        {
            found.push(name(bar, Other::Memory));
        }
        if platform.iter().any(|&(start, end)| start <= bar.1 && bar.0 < end) {
            found.push(name(bar, Other::Platform));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::BarKind;

    fn function(number: u8, address: u64, size: u64) -> (Bdf, Bar) {
        let kind = BarKind::Memory {
            wide: true,
            prefetchable: false,
        };
        (
            Bdf::new(0, 0, number, 0),
            Bar {
                index: 0,
                kind,
                address,
                size,
            },
        )
    }

    fn overlapping(bars: &[(Bdf, Bar)]) -> Vec<(u8, Other)> {
        let ram = Region {
            start: 0,
            end: 0x4000_0000,
            kind: Kind::Usable,
        };
        let bars = bars.iter().map(|(bdf, bar)| (*bdf, bar));
        let overlaps = super::overlapping(bars, &[ram], &[(0xfee0_0000, 0xfee0_1000)]);
        overlaps
            .into_iter()
            .map(|overlap| (overlap.function.device(), overlap.other))
            .collect()
    }

    #[test]
    fn bars_apart_are_fine() {
        let apart = [
            function(1, 0xfe00_0000, 0x1000),
            function(2, 0xfe00_1000, 0x10_0000),
            function(3, 0, 0x1000),
        ];
        assert_eq!(overlapping(&apart), []);
    }

    #[test]
    fn ram_the_platform_and_others_are_found() {
        assert_eq!(
            overlapping(&[function(1, 0x3fff_f000, 0x2000)]),
            [(1, Other::Memory)]
        );
        assert_eq!(
            overlapping(&[function(1, 0xfec0_0000, 0x80_0000)]),
            [(1, Other::Platform)]
        );
        let over = [
            function(1, 0xfd00_0000, 0x10_0000),
            function(2, 0xfd00_1000, 0x100),
            function(3, 0xfd00_2000, 0x100),
        ];
        let one = Bdf::new(0, 0, 1, 0);
        assert_eq!(
            overlapping(&over),
            [
                (2, Other::Function(one)),
                (1, Other::Function(Bdf::new(0, 0, 2, 0))),
                (3, Other::Function(one)),
                (1, Other::Function(Bdf::new(0, 0, 3, 0))),
            ]
        );
    }

    #[test]
    fn two_in_one_page_are_one_over_the_other() {
        let shared = [function(1, 0xfd00_0000, 0x100), function(2, 0xfd00_0800, 0x100)];
        assert_eq!(overlapping(&shared).len(), 2);
        assert_eq!(
            overlapping(&[function(1, u64::MAX - 0xff, 0x1000)]),
            [],
            "the end of the address space"
        );
    }

    #[test]
    fn a_rom_over_something_loses_its_address_and_nothing_else_does() {
        let place = |number: u8, bar: u64, rom: u64| {
            crate::guest::fixture::function(|f| {
                f.bdf = Bdf::new(0, 0, number, 0);
                f.bars = alloc::vec![function(number, bar, 0x1000).1];
                let host = function(number, rom, 0x1_0000).1;
                f.rom = Some(Bar { index: ROM, ..host });
            })
        };
        let mut functions = [
            place(1, 0xfe00_0000, 0xfd00_0000),
            // Over the first one's registers, over its own, over RAM.
            place(2, 0xfe10_0000, 0xfe00_0000),
            place(3, 0xfe20_0000, 0xfe20_0000),
            place(4, 0xfe30_0000, 0x10_0000),
        ];
        let ram = Region {
            start: 0,
            end: 0x4000_0000,
            kind: Kind::Usable,
        };
        let found = hide_overlapping_roms(&mut functions, &[ram], &[]);
        let of: Vec<u8> = found.iter().map(|overlap| overlap.function.device()).collect();
        assert_eq!(of, [4, 2]);
        let roms: Vec<u64> = functions.iter().map(|f| f.rom.unwrap().address).collect();
        assert_eq!(roms, [0xfd00_0000, 0, 0xfe20_0000, 0]);
        assert_eq!(overlaps(&functions, &[ram], &[]), [], "BARs are fine");
    }
}
