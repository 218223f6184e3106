//! Where a guest finds the memory BARs of its functions: addresses that are chosen before it starts, and stay.
//!
//! I/O BARs and the ROM are hidden: no ports are passed through, and the ROM's code would be for the host's firmware.

use super::layout::{BAR_WINDOW, BAR_WINDOW_END};
use crate::pci::Function;
use alloc::vec::Vec;
use spec::page_table::PAGE;
use vfio_core::pci::vconfig::VirtualBar;

/// The BARs do not fit into the guest's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the devices' BARs need more than the 512 MiB at 0xc0000000; assign fewer devices")]
pub struct BarWindowFull;

/// Gives every memory BAR of `functions` an address in the guest's window, the largest first, so that no space is
/// lost to alignment: a multiple of its size and of a page. BARs that firmware left without an address are hidden.
/// Returns the BARs of each function, by index.
///
/// # Errors
/// [`BarWindowFull`].
pub fn assign(functions: &[&Function]) -> Result<Vec<Vec<VirtualBar>>, BarWindowFull> {
    let mut wanted: Vec<(usize, VirtualBar)> = Vec::new();
    for (at, function) in functions.iter().enumerate() {
        let usable = function.bars.iter();
        let usable = usable.filter(|bar| bar.is_memory() && bar.address != 0 && bar.size != 0);
        wanted.extend(usable.map(|host| {
            (
                at,
                VirtualBar {
                    host: *host,
                    address: 0,
                },
            )
        }));
    }
    wanted.sort_by_key(|(at, bar)| (core::cmp::Reverse(bar.host.size), *at, bar.host.index));
    let mut assigned = Vec::from_iter(functions.iter().map(|_| Vec::new()));
    let mut next = BAR_WINDOW;
    for (at, mut bar) in wanted {
        let align = bar.host.size.max(PAGE);
        let start = next.checked_next_multiple_of(align).ok_or(BarWindowFull)?;
        next = start.checked_add(align).ok_or(BarWindowFull)?;
        if next > BAR_WINDOW_END {
            return Err(BarWindowFull);
        }
        bar.address = start;
        if let Some(bars) = assigned.get_mut(at) {
            bars.push(bar);
        }
    }
    for bars in &mut assigned {
        bars.sort_by_key(|bar| bar.host.index);
    }
    Ok(assigned)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{bar32, bar64, function};
    use super::*;
    use crate::pci::BarKind;
    use proptest::prelude::*;

    #[test]
    fn only_memory_that_is_somewhere_is_given_a_place() {
        let mut io = bar32(4, 0xd000, 0x20);
        io.kind = BarKind::Io;
        let nvme = function(|f| {
            f.bars = vec![
                bar32(2, 0xfe00_0000, 0x100),
                bar64(0, 0x8_0000_0000, 0x4000),
                bar32(3, 0, 0x1000),
                io,
            ];
        });
        let places: Vec<_> = assign(&[&nvme])
            .unwrap()
            .remove(0)
            .iter()
            .map(|bar| (bar.host.index, bar.address))
            .collect();
        assert_eq!(places, [(0, 0xc000_0000), (2, 0xc000_4000)]);
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
            let mut bars: Vec<_> = all.iter().flatten().collect();
            prop_assert_eq!(bars.len(), sizes.iter().map(Vec::len).sum::<usize>());
            bars.sort_by_key(|bar| bar.address);
            for bar in &bars {
                prop_assert_eq!(bar.address % bar.host.size.max(4096), 0);
                prop_assert!(bar.address >= BAR_WINDOW && bar.address + bar.host.size <= BAR_WINDOW_END);
            }
            prop_assert!(bars.windows(2).all(|p| p[0].address + p[0].host.size.max(4096) <= p[1].address));
        }
    }
}
