//! Configuration space through memory: 4 KiB for each function (PCI Express Base Specification 6.0, section 7.2.2).

#![expect(
    unsafe_code,
    reason = "configuration space is reached by volatile accesses to device memory"
)]

use super::{ConfigAccess, SegmentWindow, Width};
use crate::acpi::EcamWindow;
use alloc::vec::Vec;
use core::ptr;
use vfio_core::pci::Bdf;

/// The windows of the machine, all mapped.
#[derive(Debug)]
pub struct Ecam {
    windows: Vec<EcamWindow>,
}

/// Why windows cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EcamError {
    /// There is none.
    #[error("ACPI names no window of PCI configuration space (MCFG is missing or empty)")]
    None,
    /// A window that is not in the address space, or whose buses run backwards.
    #[error("the window of segment {segment:#x} from bus {bus:#x} cannot exist")]
    Impossible {
        /// PCI segment group.
        segment: u16,
        /// First bus.
        bus: u8,
    },
}

impl Ecam {
    /// The buses that it reaches.
    #[must_use]
    pub fn segment_windows(&self) -> Vec<SegmentWindow> {
        let segment_window = |window: &EcamWindow| SegmentWindow {
            segment: window.segment,
            bus_start: window.bus_start,
            bus_end: window.bus_end,
        };
        self.windows.iter().map(segment_window).collect()
    }

    /// Takes the windows that MCFG names.
    ///
    /// # Errors
    ///
    /// If there is no window, or one that cannot exist.
    ///
    /// # Safety
    ///
    /// Every window's memory ([`EcamWindow::start`], [`EcamWindow::bytes`]) is mapped at its own physical address,
    /// uncached and writable, is PCI configuration space and nothing else, and stays so as long as this value lives.
    pub unsafe fn new(windows: &[EcamWindow]) -> Result<Self, EcamError> {
        if windows.is_empty() {
            return Err(EcamError::None);
        }
        for window in windows {
            let end = window.base.checked_add((u64::from(window.bus_end) + 1) << 20);
            if end.is_none() || window.bus_end < window.bus_start {
                return Err(EcamError::Impossible {
                    segment: window.segment,
                    bus: window.bus_start,
                });
            }
        }
        Ok(Self {
            windows: windows.to_vec(),
        })
    }

    /// The address of a register, if a window has the bus and the access is inside the function's 4 KiB.
    fn address(&self, bdf: Bdf, offset: u16, width: Width) -> Option<usize> {
        if !offset.is_multiple_of(width.bytes()) || offset > 0x1000 - width.bytes() {
            return None;
        }
        let window = self.windows.iter().find(|window| {
            window.segment == bdf.segment() && (window.bus_start..=window.bus_end).contains(&bdf.bus())
        })?;
        usize::try_from(window.base + (u64::from(bdf.requester_id()) << 12) + u64::from(offset)).ok()
    }
}

impl ConfigAccess for Ecam {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        let ones = u32::MAX >> (32 - 8 * width.bytes());
        let Some(address) = self.address(function, offset, width) else {
            return ones;
        };
        // SAFETY: `address` is inside a window and aligned to `width`; the caller of `new` promised that windows are
        // mapped configuration space. Reading has no effect on memory that Rust knows of.
        unsafe {
            match width {
                Width::Byte => ptr::with_exposed_provenance::<u8>(address).read_volatile().into(),
                Width::Word => ptr::with_exposed_provenance::<u16>(address)
                    .read_volatile()
                    .into(),
                Width::Dword => ptr::with_exposed_provenance::<u32>(address).read_volatile(),
            }
        }
    }

    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        let Some(address) = self.address(function, offset, width) else {
            return;
        };
        // SAFETY: as for `read`. What a function does because of the write (bus mastering above all) is the business
        // of the discovery and reset code that holds this value, and cannot pass the IOMMU.
        unsafe {
            match width {
                Width::Byte => ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(value as u8),
                Width::Word => ptr::with_exposed_provenance_mut::<u16>(address).write_volatile(value as u16),
                Width::Dword => ptr::with_exposed_provenance_mut::<u32>(address).write_volatile(value),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_where_the_specification_says_and_nowhere_else() {
        // One bus of configuration space, bus 5, at a 1 MiB boundary minus the five buses before it.
        let memory = vec![0u32; 2 << 18];
        let start = memory.as_ptr().expose_provenance().next_multiple_of(1 << 20);
        let window = EcamWindow {
            segment: 0,
            bus_start: 5,
            bus_end: 5,
            base: (start - (5 << 20)) as u64,
        };
        // SAFETY: the window is inside `memory`, which nobody else touches until the end of the test.
        let ecam = unsafe { Ecam::new(&[window]) }.unwrap();
        let here = Bdf::new(0, 5, 3, 1);
        ecam.write(here, 0xffc, Width::Dword, 0x1234_5678);
        assert_eq!(ecam.read(here, 0xffc, Width::Dword), 0x1234_5678);
        assert_eq!(ecam.read(here, 0xffe, Width::Word), 0x1234);
        assert_eq!(ecam.read(here, 0xffd, Width::Byte), 0x56);
        assert_eq!(ecam.read(Bdf::new(0, 5, 3, 2), 0xffc, Width::Dword), 0);
        for elsewhere in [Bdf::new(0, 4, 3, 1), Bdf::new(0, 6, 0, 0), Bdf::new(1, 5, 3, 1)] {
            ecam.write(elsewhere, 0xffc, Width::Dword, 0);
            assert_eq!(ecam.read(elsewhere, 0xffc, Width::Dword), u32::MAX);
        }
        assert_eq!(ecam.read(here, 0x1000, Width::Dword), u32::MAX);
        assert_eq!(ecam.read(here, 0xffe, Width::Dword), u32::MAX);
        assert_eq!(ecam.read(here, 0x1000, Width::Byte), 0xff);
        drop(memory);
    }
}
