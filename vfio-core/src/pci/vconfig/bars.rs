//! Base address registers as a guest sees them: fully virtual, with sizing, and moved only within windows.
//!
//! The guest's address of a BAR has nothing to do with the host's, which never changes. Sizing needs no state: the bits below
//! the size do not stick (PCI Express Base Specification 6.0, section 7.5.1.2.1).

use crate::pci::config::{Bar, BarKind};
pub(super) use crate::pci::config::{ROM, ROM_ENABLE};
use crate::pci::spec::{bar, header};
use core::ops::Range;

/// Bytes of a graphics card's ROM that the firmware has copied to memory.
pub const SHADOW_ROM_SIZE: u64 = 0x2_0000;

/// A BAR with where its guest finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualBar {
    /// The hardware's, or for a virtual function a part of the physical function's SR-IOV resource. `index` [`ROM`] for the
    /// ROM, which is 32 bits of memory.
    pub host: Bar,
    /// The guest's address at first: a multiple of the size.
    pub address: u64,
}

/// Where a guest may put BARs: bus addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// Memory.
    pub memory: Range<u64>,
    /// More memory, above 4 GiB.
    pub high: Range<u64>,
    /// Ports.
    pub io: Range<u64>,
}

/// What a guest may do with its BARs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BarPolicy {
    /// Ask for sizes. Any other value reads back as the address that was assigned.
    #[default]
    Fixed,
    /// Put them anywhere in the windows. That two overlap is for whoever maps them to see.
    Movable(Windows),
}

impl BarPolicy {
    /// Whether a BAR may answer there.
    pub(super) fn allows(&self, bar: &Bar, address: u64) -> bool {
        let Self::Movable(windows) = self else {
            return true;
        };
        let Some(end) = address.checked_add(bar.size) else {
            return false;
        };
        let inside = |window: &Range<u64>| window.start <= address && end <= window.end;
        match bar.kind {
            BarKind::Io => inside(&windows.io),
            BarKind::Memory { .. } => inside(&windows.memory) || inside(&windows.high),
        }
    }
}

/// The register of a BAR's lower half.
pub(super) fn register(index: u8) -> u16 {
    match index {
        ROM => header::ROM_ENDPOINT,
        index => header::BAR0 + 4 * u16::from(index),
    }
}

/// Whether a BAR has a second register.
pub(super) fn is_wide(bar: &Bar) -> bool {
    bar.index < 5 && matches!(bar.kind, BarKind::Memory { wide: true, .. })
}

/// Bits of the lower register that the guest may write, and those that say what kind of BAR it is.
pub(super) fn low_bits(bar: &Bar) -> (u32, u32) {
    let size = !(bar.size.wrapping_sub(1)) as u32;
    match bar.kind {
        // The enable bit and the address.
        _ if bar.index == ROM => (size & !0x7ff | ROM_ENABLE, 0),
        BarKind::Io => (size & bar::IO_MASK & 0xffff, bar::IO),
        BarKind::Memory { wide, prefetchable } => {
            let kind = if wide { bar::TYPE_64 } else { bar::TYPE_32 } << bar::TYPE_SHIFT;
            let prefetchable = if prefetchable { bar::PREFETCHABLE } else { 0 };
            (size & bar::MEMORY_MASK, kind | prefetchable)
        }
    }
}

/// Bits of the upper register that the guest may write.
pub(super) fn high_bits(bar: &Bar) -> u32 {
    (!(bar.size.wrapping_sub(1)) >> 32) as u32
}
