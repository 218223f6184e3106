//! Where a guest finds the memory BARs of its functions before it has moved any: addresses as firmware would have chosen them.
//!
//! I/O BARs are hidden: no ports are passed through. An expansion ROM can be read once the guest turns it on.

use super::layout::{BAR_WINDOW, BAR_WINDOW_END, HIGH_BAR_WINDOW, HIGH_BAR_WINDOW_END};
use crate::pci::{Bar, BarKind, Function};
use alloc::vec::Vec;
use spec::page_table::PAGE;
use vfio_core::pci::vconfig::{VirtualBar, Windows};

/// The BARs do not fit into the guest's windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the devices' BARs need more than the 512 MiB at 0xc0000000 and, those of 64 bits, the 64 GiB at 0x1000000000; assign fewer devices"
)]
pub struct BarWindowFull;

/// What is left of a window.
struct Left {
    next: u64,
    end: u64,
}

impl Left {
    /// A place for `size` bytes, a multiple of their size and of a page; they need whole pages.
    fn take(&mut self, size: u64) -> Option<u64> {
        let align = size.max(PAGE);
        let start = self.next.checked_next_multiple_of(align)?;
        let next = start.checked_add(align).filter(|next| *next <= self.end)?;
        self.next = next;
        Some(start)
    }
}

const fn is_wide(bar: &Bar) -> bool {
    matches!(bar.kind, BarKind::Memory { wide: true, .. })
}

/// Where the guest may put BARs of memory: its host bridge's windows.
#[must_use]
pub fn windows() -> Windows {
    Windows {
        memory: BAR_WINDOW..BAR_WINDOW_END,
        high: HIGH_BAR_WINDOW..HIGH_BAR_WINDOW_END,
        io: 0..0,
    }
}

/// Gives every memory BAR and every ROM of `functions` an address in the guest's windows: a multiple of its size and of a page. Those of 32 bits come first,
/// and the largest first, so that no space is lost to alignment; those of 64 bits go above 4 GiB where there is no room below. BARs
/// that firmware left without an address are hidden. Returns the BARs of each function, by index.
///
/// # Errors
/// [`BarWindowFull`].
pub fn assign(functions: &[&Function]) -> Result<Vec<Vec<VirtualBar>>, BarWindowFull> {
    let mut wanted: Vec<(usize, VirtualBar)> = Vec::new();
    for (at, function) in functions.iter().enumerate() {
        let usable = function.bars.iter();
        let usable = usable.filter(|bar| bar.is_memory() && bar.address != 0 && bar.size != 0);
        wanted.extend(usable.chain(&function.rom).map(|host| {
            (
                at,
                VirtualBar {
                    host: *host,
                    address: 0,
                },
            )
        }));
    }
    wanted.sort_by_key(|(at, bar)| {
        let largest_first = core::cmp::Reverse(bar.host.size);
        (is_wide(&bar.host), largest_first, *at, bar.host.index)
    });
    let mut assigned = Vec::from_iter(functions.iter().map(|_| Vec::new()));
    let mut low = Left {
        next: BAR_WINDOW,
        end: BAR_WINDOW_END,
    };
    let mut high = Left {
        next: HIGH_BAR_WINDOW,
        end: HIGH_BAR_WINDOW_END,
    };
    for (at, mut bar) in wanted {
        let size = bar.host.size;
        let above = || high.take(size).filter(|_| is_wide(&bar.host));
        bar.address = low.take(size).or_else(above).ok_or(BarWindowFull)?;
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
        assert_eq!(places, [(0, 0xc000_4000), (2, 0xc000_0000)]);
    }

    #[test]
    fn what_does_not_fit_is_refused() -> Result<(), BarWindowFull> {
        let large = function(|f| f.bars = vec![bar32(0, 1 << 31, 1 << 29)]);
        assert!(assign(&[&large]).is_ok());
        assert_eq!(assign(&[&large, &large]), Err(BarWindowFull));
        let huge = function(|f| f.bars = vec![bar64(0, 1 << 63, 1 << 63)]);
        assert_eq!(assign(&[&huge]), Err(BarWindowFull));
        let most = function(|f| f.bars = vec![bar64(0, 1 << 40, 1 << 36)]);
        assert_eq!(assign(&[&most])?[0][0].address, HIGH_BAR_WINDOW);
        assert_eq!(assign(&[&most, &most]), Err(BarWindowFull));
        Ok(())
    }

    #[test]
    fn wide_bars_go_above_4_gib_where_there_is_no_room_below() {
        let gpu = function(|f| f.bars = vec![bar64(0, 1 << 40, 1 << 30), bar64(2, 1 << 41, 1 << 28)]);
        let small = function(|f| f.bars = vec![bar32(0, 0xfe00_0000, 0x1000)]);
        let places = |bars: &[VirtualBar]| bars.iter().map(|bar| bar.address).collect::<Vec<_>>();
        let assigned = assign(&[&gpu, &small]).unwrap();
        assert_eq!(places(&assigned[0]), [0x10_0000_0000, 0xd000_0000]);
        assert_eq!(places(&assigned[1]), [0xc000_0000]);
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
