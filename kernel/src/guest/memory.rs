//! A guest's memory as the hypervisor reads and writes it: bounds-checked copies, nothing borrowed.
//!
//! The guest's processors and devices change it at any time, so no reference to it ever exists.
#![expect(
    unsafe_code,
    reason = "copies to and from memory that guests write at the same time"
)]

use super::layout::{
    BAR_WINDOW, HIGH_RAM, LOW_RAM_END, MIN_RAM, MemoryRegion, ROM, ROM_SIZE, memory_regions,
};
use crate::addr::{GuestPhys, HostPhys};
use core::ptr::NonNull;

/// Why a copy was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// Part of the range is not memory of the guest.
    #[error("{bytes:#x} bytes at guest physical address {gpa} are not all memory of the guest")]
    Outside {
        /// Start.
        gpa: GuestPhys,
        /// Length.
        bytes: usize,
    },
    /// The size is not one a guest can have.
    #[error("guest memory of {size:#x} bytes: at least 2 MiB, at most 3 GiB, in whole pages")]
    Size {
        /// Bytes.
        size: u64,
    },
}

/// The memory of one guest: a range of the host's.
#[derive(Debug)]
pub struct GuestMemory {
    base: NonNull<u8>,
    hpa: HostPhys,
    size: u64,
}

// SAFETY: the range is memory, not tied to a processor, and accesses are volatile copies that may race with the
// guest's own by design.
unsafe impl Send for GuestMemory {}
// SAFETY: as for `Send`; nothing is borrowed from the range.
unsafe impl Sync for GuestMemory {}

impl GuestMemory {
    /// The guest whose memory is `size` bytes at `base`, which is `hpa` in the host.
    ///
    /// # Errors
    /// [`MemoryError::Size`].
    ///
    /// # Safety
    /// `base` must be valid for reads and writes of `size` bytes as long as the value lives, and the hypervisor must
    /// neither hold references into the range nor keep anything of its own there.
    pub unsafe fn new(base: NonNull<u8>, hpa: HostPhys, size: u64) -> Result<Self, MemoryError> {
        if !(MIN_RAM..=BAR_WINDOW).contains(&size) || !size.is_multiple_of(4096) {
            return Err(MemoryError::Size { size });
        }
        Ok(Self { base, hpa, size })
    }

    /// Bytes, the hole included.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What to map, for processors and for devices.
    #[must_use]
    pub fn regions(&self) -> [MemoryRegion; 3] {
        memory_regions(self.hpa, self.size)
    }

    /// The byte at `gpa` where all `bytes` from it are in one region of memory; `rom` says whether the read-only
    /// region counts.
    fn locate(&self, gpa: GuestPhys, bytes: usize, rom: bool) -> Result<*mut u8, MemoryError> {
        let outside = MemoryError::Outside { gpa, bytes };
        let end = gpa.0.checked_add(bytes as u64).ok_or(outside)?;
        let within = |start: u64, limit: u64| start <= gpa.0 && end <= limit;
        if within(0, LOW_RAM_END) || within(HIGH_RAM, self.size) || rom && within(ROM, ROM + ROM_SIZE) {
            Ok(self.base.as_ptr().wrapping_add(gpa.0 as usize))
        } else {
            Err(outside)
        }
    }

    /// Copies from RAM or the read-only region.
    ///
    /// # Errors
    /// [`MemoryError::Outside`]; `out` is untouched.
    pub fn read(&self, gpa: GuestPhys, out: &mut [u8]) -> Result<(), MemoryError> {
        let from = self.locate(gpa, out.len(), true)?;
        for (at, byte) in out.iter_mut().enumerate() {
            // SAFETY: `locate` found all of the range inside the memory that `new` was promised.
            *byte = unsafe { from.wrapping_add(at).read_volatile() };
        }
        Ok(())
    }

    /// Copies into RAM.
    ///
    /// # Errors
    /// [`MemoryError::Outside`]; nothing was written.
    pub fn write(&self, gpa: GuestPhys, bytes: &[u8]) -> Result<(), MemoryError> {
        self.copy_in(self.locate(gpa, bytes.len(), false)?, bytes);
        Ok(())
    }

    /// Whether all of a range is RAM.
    ///
    /// # Errors
    /// [`MemoryError::Outside`].
    pub fn check(&self, gpa: GuestPhys, bytes: usize) -> Result<(), MemoryError> {
        self.locate(gpa, bytes, false).map(|_| ())
    }

    /// Fills RAM with zeros.
    ///
    /// # Errors
    /// [`MemoryError::Outside`]; nothing was written.
    pub fn zero(&self, gpa: GuestPhys, bytes: usize) -> Result<(), MemoryError> {
        let to = self.locate(gpa, bytes, false)?;
        // SAFETY: `locate` found all of the range inside the memory that `new` was promised.
        unsafe { to.write_bytes(0, bytes) };
        Ok(())
    }

    /// Zeroes everything, hole and read-only region included: nothing of a former owner is left. Before the guest
    /// starts, and after it ended.
    pub fn wipe(&self) {
        // SAFETY: the whole range is what `new` was promised.
        unsafe { self.base.as_ptr().write_bytes(0, self.size as usize) };
    }

    /// Writes the read-only region. For the hypervisor, before the guest starts.
    ///
    /// # Errors
    /// [`MemoryError::Outside`] if the image is larger than the region.
    pub fn load_rom(&self, image: &[u8]) -> Result<(), MemoryError> {
        self.copy_in(self.locate(GuestPhys(ROM), image.len(), true)?, image);
        Ok(())
    }

    fn copy_in(&self, to: *mut u8, bytes: &[u8]) {
        // SAFETY: both callers pass what `locate` found for this length; `bytes` is the hypervisor's and so outside
        // the guest's memory.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
}

#[cfg(test)]
pub(super) mod fake {
    //! Guest memory on the host's heap.

    use super::*;

    /// Memory of `size` bytes, leaked: a test's process is short.
    pub(crate) fn memory(size: u64) -> GuestMemory {
        let bytes = Box::leak(vec![0u8; size as usize].into_boxed_slice());
        // SAFETY: the box is leaked, so valid for ever, and nobody else knows it.
        unsafe {
            GuestMemory::new(
                NonNull::new(bytes.as_mut_ptr()).unwrap(),
                HostPhys(0x4000_0000),
                size,
            )
            .unwrap()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::memory;
    use super::*;

    #[test]
    fn copies_stay_inside_memory() {
        let memory = memory(4 << 20);
        memory.write(GuestPhys((4 << 20) - 4), &[1, 2, 3, 4]).unwrap();
        let mut out = [0; 4];
        memory.read(GuestPhys((4 << 20) - 4), &mut out).unwrap();
        assert_eq!(out, [1, 2, 3, 4]);
        for bad in [
            (4 << 20) - 3,
            LOW_RAM_END - 2,
            0xb_0000,
            ROM,
            HIGH_RAM - 2,
            u64::MAX - 1,
        ] {
            assert!(memory.write(GuestPhys(bad), &[0; 4]).is_err(), "{bad:#x}");
        }
        assert!(memory.read(GuestPhys(ROM - 1), &mut out).is_err());
        assert!(memory.read(GuestPhys(ROM + ROM_SIZE - 4), &mut out).is_ok());
    }

    #[test]
    fn the_read_only_region_is_written_by_the_hypervisor_alone() {
        let memory = memory(2 << 20);
        memory.load_rom(b"tables").unwrap();
        let mut out = [0; 6];
        memory.read(GuestPhys(ROM), &mut out).unwrap();
        assert_eq!(&out, b"tables");
        assert!(memory.load_rom(&vec![0; ROM_SIZE as usize + 1]).is_err());
        memory.wipe();
        memory.read(GuestPhys(ROM), &mut out).unwrap();
        assert_eq!(out, [0; 6]);
    }

    #[test]
    fn regions_leave_the_hole_out() {
        let regions = memory(8 << 20).regions();
        assert!(
            regions
                .windows(2)
                .all(|pair| pair[0].gpa.0 + pair[0].size <= pair[1].gpa.0)
        );
        assert!(regions.iter().all(|r| r.hpa.0 - r.gpa.0 == 0x4000_0000));
        let writable: u64 = regions.iter().filter(|r| r.rights.write).map(|r| r.size).sum();
        assert_eq!(writable, (8 << 20) - 0x6_0000);
    }
}
