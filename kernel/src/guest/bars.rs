//! Base address registers as a guest sees them: fully virtual, with sizing, at addresses that are chosen at start.
//!
//! A BAR stays where it was put: any value but the one that asks for the size reads back as the assigned address.
//! I/O BARs and the ROM are hidden.

use super::layout::{BAR_WINDOW, BAR_WINDOW_END};
use crate::addr::{GuestPhys, HostPhys};
use crate::pci::{BarKind, Function};
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use spec::page_table::PAGE;
use vfio_core::pci::spec::bar;

/// A memory BAR of an assigned function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualBar {
    /// Register, 0 to 5.
    pub index: u8,
    /// Two registers, 64 bits.
    pub wide: bool,
    /// Reads have no side effects.
    pub prefetchable: bool,
    /// Bytes, a power of two.
    pub size: u64,
    /// Where it is in the host.
    pub hpa: HostPhys,
    /// Where the guest finds it: at a multiple of the size and of a page.
    pub gpa: GuestPhys,
}

/// The BARs do not fit into the guest's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the devices' BARs need more than the 512 MiB at 0xc0000000; assign fewer devices")]
pub struct BarWindowFull;

/// The six registers of one function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BarRegisters {
    bars: ArrayVec<VirtualBar, 6>,
    /// Registers, a bit each, whose size was asked for.
    sizing: u8,
}

impl BarRegisters {
    /// The BARs, by index.
    #[must_use]
    pub fn bars(&self) -> &[VirtualBar] {
        &self.bars
    }

    /// Reads register 0 to 5.
    #[must_use]
    pub fn read(&self, register: u8) -> u32 {
        let Some((bar, high)) = self.find(register) else {
            return 0;
        };
        let sizing = self.sizing & 1 << register != 0;
        let value = if sizing { !(bar.size - 1) } else { bar.gpa.0 };
        if high {
            return (value >> 32) as u32;
        }
        let kind = if bar.wide { bar::TYPE_64 } else { bar::TYPE_32 } << bar::TYPE_SHIFT;
        let prefetchable = if bar.prefetchable { bar::PREFETCHABLE } else { 0 };
        value as u32 & bar::MEMORY_MASK | kind | prefetchable
    }

    /// Writes register 0 to 5: all ones in the address bits asks for the size, anything else ends that.
    pub fn write(&mut self, register: u8, value: u32) {
        let Some((_, high)) = self.find(register) else {
            return;
        };
        let address = if high { u32::MAX } else { bar::MEMORY_MASK };
        let bit = 1 << register;
        if value & address == address {
            self.sizing |= bit;
        } else {
            self.sizing &= !bit;
        }
    }

    /// The BAR behind a register, and whether it is the register's upper half.
    fn find(&self, register: u8) -> Option<(&VirtualBar, bool)> {
        self.bars
            .iter()
            .find_map(|bar| match register.checked_sub(bar.index) {
                Some(0) => Some((bar, false)),
                Some(1) if bar.wide => Some((bar, true)),
                _ => None,
            })
    }
}

/// Gives every memory BAR of `functions` an address in the guest's window, the largest first, so that no space is
/// lost to alignment. BARs that firmware left without an address are hidden.
///
/// # Errors
/// [`BarWindowFull`].
pub fn assign(functions: &[&Function]) -> Result<Vec<BarRegisters>, BarWindowFull> {
    let mut wanted: Vec<(usize, VirtualBar)> = Vec::new();
    for (at, function) in functions.iter().enumerate() {
        for host in function
            .bars
            .iter()
            .filter(|bar| bar.address != 0 && bar.size != 0)
        {
            let BarKind::Memory { wide, prefetchable } = host.kind else {
                continue;
            };
            let bar = VirtualBar {
                index: host.index,
                wide,
                prefetchable,
                size: host.size,
                hpa: HostPhys(host.address),
                gpa: GuestPhys(0),
            };
            wanted.push((at, bar));
        }
    }
    wanted.sort_by_key(|(at, bar)| (core::cmp::Reverse(bar.size), *at, bar.index));
    let mut registers = Vec::from_iter(functions.iter().map(|_| BarRegisters::default()));
    let mut next = BAR_WINDOW;
    for (at, mut bar) in wanted {
        let align = bar.size.max(PAGE);
        let start = next.checked_next_multiple_of(align).ok_or(BarWindowFull)?;
        next = start.checked_add(align).ok_or(BarWindowFull)?;
        if next > BAR_WINDOW_END {
            return Err(BarWindowFull);
        }
        bar.gpa = GuestPhys(start);
        if let Some(registers) = registers.get_mut(at) {
            // Discovery reports at most six, with different indices.
            let _ = registers.bars.try_push(bar);
        }
    }
    for registers in &mut registers {
        registers.bars.sort_by_key(|bar| bar.index);
    }
    Ok(registers)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{bar32, bar64, function};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_guest_sizes_and_reads_back() {
        let nvme = function(|f| f.bars = vec![bar64(0, 0x8_0000_0000, 0x4000), bar32(2, 0xfe00_0000, 0x100)]);
        let mut registers = assign(&[&nvme]).unwrap().remove(0);
        assert_eq!(registers.read(0), 0xc000_0004);
        registers.write(0, u32::MAX);
        registers.write(1, u32::MAX);
        assert_eq!((registers.read(0), registers.read(1)), (0xffff_c004, u32::MAX));
        registers.write(0, 0xc000_0000);
        registers.write(1, 0);
        assert_eq!((registers.read(0), registers.read(1)), (0xc000_0004, 0));
        registers.write(0, 0x1234_0000);
        assert_eq!(registers.read(0), 0xc000_0004);
        registers.write(2, 0xffff_fff0);
        assert_eq!(registers.read(2), 0xffff_ff00);
        for absent in [3, 4, 5, 6, 255] {
            registers.write(absent, u32::MAX);
            assert_eq!(registers.read(absent), 0);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let large = function(|f| f.bars = vec![bar64(0, 1 << 40, 1 << 29)]);
        assert!(assign(&[&large]).is_ok());
        assert_eq!(assign(&[&large, &large]), Err(BarWindowFull));
        let huge = function(|f| f.bars = vec![bar64(0, 1 << 63, 1 << 63)]);
        assert_eq!(assign(&[&huge]), Err(BarWindowFull));
    }

    proptest! {
        #[test]
        fn bars_are_aligned_apart_and_inside(sizes in prop::collection::vec(prop::collection::vec(4u32..25, 0..6), 1..8)) {
            let functions: Vec<_> = sizes.iter().map(|sizes| function(|f| {
                f.bars = sizes.iter().zip(0..).map(|(size, index)| bar32(index, 0x1000, 1 << size)).collect();
            })).collect();
            let all = assign(&functions.iter().collect::<Vec<_>>());
            prop_assume!(all.is_ok());
            let all = all.unwrap();
            let mut bars: Vec<_> = all.iter().flat_map(BarRegisters::bars).collect();
            prop_assert_eq!(bars.len(), sizes.iter().map(Vec::len).sum::<usize>());
            bars.sort_by_key(|bar| bar.gpa);
            for bar in &bars {
                prop_assert_eq!(bar.gpa.0 % bar.size.max(4096), 0);
                prop_assert!(bar.gpa.0 >= BAR_WINDOW && bar.gpa.0 + bar.size <= BAR_WINDOW_END);
            }
            prop_assert!(bars.windows(2).all(|p| p[0].gpa.0 + p[0].size.max(4096) <= p[1].gpa.0));
        }
    }
}
