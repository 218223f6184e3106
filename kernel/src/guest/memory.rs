//! A guest's memory as the hypervisor reads and writes it: bounds-checked copies, nothing borrowed.
//!
//! The guest's processors and devices change it at any time, so no reference to it ever exists.
//!
//! What lay in the memory before is nobody's business, so each piece is wiped before it is used for the first time: by the
//! hypervisor's own copies here, by whoever maps it for the guest through [`GuestMemory::wipe_piece`]. A piece that
//! nobody touches is never wiped. Devices cannot wait: before they reach the memory, all of it is wiped. Pieces are 2 MiB,
//! and 128 KiB in the first 2 MiB, where no large page can be, because of the hole.
#![expect(
    unsafe_code,
    reason = "copies to and from memory that guests write at the same time"
)]

use super::layout::{
    BAR_WINDOW, HIGH_RAM, LOW_RAM_END, MIN_RAM, MemoryRegion, ROM, ROM_SIZE, memory_regions,
};
use crate::addr::{GuestPhys, HostPhys};
use crate::memory::regions::LARGE;
use crate::memory::zero::zero;
use alloc::boxed::Box;
use core::iter;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Mutex;

/// Pieces in the first 2 MiB: the hole and the read-only region begin and end with one.
const LOW_PIECES: u64 = 16;

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
    /// Which pieces have been wiped since the guest got the memory.
    wiped: Box<[AtomicBool]>,
    /// Held by whoever wipes, so that nobody writes to a piece that another is still wiping.
    wiping: Mutex<()>,
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
        let wiped = (0..LOW_PIECES - 1 + size.div_ceil(LARGE)).map(|_| AtomicBool::new(false));
        Ok(Self {
            base,
            hpa,
            size,
            wiped: wiped.collect(),
            wiping: Mutex::new(()),
        })
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

    /// The end of `bytes` from `gpa` where all of them are in one region of memory; `rom` says whether the read-only
    /// region counts.
    fn end(&self, gpa: GuestPhys, bytes: usize, rom: bool) -> Result<u64, MemoryError> {
        let outside = MemoryError::Outside { gpa, bytes };
        let end = gpa.0.checked_add(bytes as u64).ok_or(outside)?;
        let within = |start: u64, limit: u64| start <= gpa.0 && end <= limit;
        if within(0, LOW_RAM_END) || within(HIGH_RAM, self.size) || rom && within(ROM, ROM + ROM_SIZE) {
            Ok(end)
        } else {
            Err(outside)
        }
    }

    /// The byte at `gpa` where all `bytes` from it are in one region of memory, wiped if they have not been yet.
    fn locate(&self, gpa: GuestPhys, bytes: usize, rom: bool) -> Result<*mut u8, MemoryError> {
        let end = self.end(gpa, bytes, rom)?;
        let mut at = gpa.0;
        while at < end {
            at = self.wipe_piece(GuestPhys(at)).map_or(end, |piece| piece.end);
        }
        Ok(self.base.as_ptr().wrapping_add(gpa.0 as usize))
    }

    /// Wipes the piece around `gpa`, unless that has been done, and says which it is. Outside the guest's memory there
    /// is none.
    pub fn wipe_piece(&self, gpa: GuestPhys) -> Option<Range<u64>> {
        let (number, piece) = self.piece(gpa)?;
        let wiped = self.wiped.get(number)?;
        if !wiped.load(Ordering::Acquire) {
            let held = self.wiping.lock();
            if !wiped.load(Ordering::Acquire) {
                self.zero_piece(&piece);
                wiped.store(true, Ordering::Release);
            }
            drop(held);
        }
        Some(piece)
    }

    /// The pieces that have been wiped, in order: only these can hold anything of the guest's.
    pub fn wiped(&self) -> impl Iterator<Item = Range<u64>> {
        let wiped = self.wiped.iter();
        self.pieces()
            .zip(wiped)
            .filter_map(|(piece, wiped)| wiped.load(Ordering::Acquire).then_some(piece))
    }

    /// Wipes all that has not been wiped yet: before devices can reach the memory.
    pub fn wipe_all(&self) {
        for piece in self.pieces() {
            self.wipe_piece(GuestPhys(piece.start));
        }
    }

    /// All pieces, in order.
    fn pieces(&self) -> impl Iterator<Item = Range<u64>> {
        let next = |piece: &Range<u64>| Some(self.piece(GuestPhys(piece.end))?.1);
        iter::successors(self.piece(GuestPhys(0)).map(|(_, piece)| piece), next)
    }

    /// The piece around `gpa`, and its number.
    fn piece(&self, gpa: GuestPhys) -> Option<(usize, Range<u64>)> {
        if gpa.0 >= self.size {
            return None;
        }
        let (bytes, before) = if gpa.0 < LARGE {
            (LARGE / LOW_PIECES, 0)
        } else {
            (LARGE, LOW_PIECES - 1)
        };
        let number = gpa.0 / bytes;
        let start = number * bytes;
        Some(((before + number) as usize, start..self.size.min(start + bytes)))
    }

    fn zero_piece(&self, piece: &Range<u64>) {
        let bytes = piece.end - piece.start;
        // SAFETY: `piece` gave the range, which so is inside the memory that `new` was promised.
        unsafe {
            zero(
                self.base.as_ptr().wrapping_add(piece.start as usize),
                bytes as usize,
            )
        };
    }

    /// The guest's name for a host address in its range, if it is in there; whether memory is there, copies say.
    pub(super) fn guest_address(&self, at: HostPhys) -> Option<GuestPhys> {
        let offset = at.0.checked_sub(self.hpa.0)?;
        (offset < self.size).then_some(GuestPhys(offset))
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
        self.end(gpa, bytes, false).map(|_| ())
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

    /// Zeroes all that the guest can have written, read-only region included, after it ended: the next owner, and whoever
    /// looks at the memory otherwise, finds nothing of it.
    pub fn erase(&self) {
        for piece in self.wiped() {
            self.zero_piece(&piece);
        }
    }

    /// Writes `bytes` to `at` in the read-only region. For the hypervisor, before the guest starts.
    ///
    /// # Errors
    /// [`MemoryError::Outside`] if they are not in the region.
    pub fn load_rom(&self, at: GuestPhys, bytes: &[u8]) -> Result<(), MemoryError> {
        self.copy_in(self.locate(at, bytes.len(), true)?, bytes);
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

    /// Memory of `size` bytes in which something lies, leaked: a test's process is short.
    pub(crate) fn memory(size: u64) -> GuestMemory {
        let bytes = Box::leak(vec![0xa5u8; size as usize].into_boxed_slice());
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
        memory.load_rom(GuestPhys(ROM), b"tables").unwrap();
        let mut out = [0; 6];
        memory.read(GuestPhys(ROM), &mut out).unwrap();
        assert_eq!(&out, b"tables");
        assert!(
            memory
                .load_rom(GuestPhys(ROM), &vec![0; ROM_SIZE as usize + 1])
                .is_err()
        );
        memory.erase();
        memory.read(GuestPhys(ROM), &mut out).unwrap();
        assert_eq!(out, [0; 6]);
    }

    #[test]
    fn a_piece_is_wiped_before_it_is_used_and_only_then() {
        let memory = memory(7 << 20);
        let bytes = |at: usize| {
            // SAFETY: inside the leaked memory, which nobody else uses meanwhile.
            unsafe { memory.base.as_ptr().add(at).read_volatile() }
        };
        assert_eq!(memory.wiped().count(), 0);
        memory.write(GuestPhys((4 << 20) - 2), &[1, 2, 3, 4]).unwrap();
        let pieces: Vec<_> = memory.wiped().collect();
        assert_eq!(pieces, [2 << 20..4 << 20, 4 << 20..6 << 20]);
        assert_eq!(
            (bytes(2 << 20), bytes((4 << 20) - 1), bytes((6 << 20) - 1)),
            (0, 2, 0)
        );
        assert_eq!((bytes((2 << 20) - 1), bytes(6 << 20)), (0xa5, 0xa5));
        let mut out = [7; 8];
        memory.read(GuestPhys((7 << 20) - 8), &mut out).unwrap();
        memory.read(GuestPhys(ROM), &mut out).unwrap();
        assert_eq!(out, [0; 8]);
        assert_eq!(
            (bytes(ROM as usize - 1), bytes((ROM + ROM_SIZE) as usize)),
            (0xa5, 0xa5)
        );
        memory.wipe_all();
        assert_eq!((bytes(0), bytes((4 << 20) - 1)), (0, 2), "what was written stays");
        let whole = memory
            .wiped()
            .try_fold(0, |at, piece| (piece.start == at).then_some(piece.end));
        assert_eq!(whole, Some(7 << 20));
        assert_eq!(memory.wipe_piece(GuestPhys(7 << 20)), None);
        assert_eq!(memory.wipe_piece(GuestPhys(u64::MAX)), None);
    }

    #[test]
    fn what_a_guest_had_is_erased() {
        let memory = memory(4 << 20);
        memory.write(GuestPhys(0x1000), b"secret").unwrap();
        memory.erase();
        let bytes = |at: usize| {
            // SAFETY: inside the leaked memory, which nobody else uses meanwhile.
            unsafe { memory.base.as_ptr().add(at).read_volatile() }
        };
        assert_eq!((bytes(0x1000), bytes(2 << 20)), (0, 0xa5));
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
