//! Memory of a domain for software: what mediated devices do in place of DMA.
//!
//! Copying holds the domain's lock for a page at a time, so that memory is not unmapped, and used for something else,
//! while it is copied; that bounds how long an unmap on another CPU spins.

use alloc::vec::Vec;

use super::{Domain, Shared, SoftwareRefusal};
use crate::addr::{HostPhys, Iova};
use crate::domain::{Access, DmaError, HostMemory, IovaRange, PinError, PinnedPiece, SMALLEST, check_pin};
use crate::lease::Platform;
use crate::mediated::MediatedId;
use crate::sync::Arc;

/// What a mediated device is told of unmaps.
pub trait UnmapListener: Send + Sync {
    /// `range` is about to be unmapped: everything that the device has pinned there must be unpinned, by `release` or by
    /// [`SoftwareDma::unpin`], when this returns or soon after. No lock is held. It may read and write memory, but must
    /// not map or unmap: that waits for the unmap that waits for this, and is refused as busy in the end.
    ///
    /// A device that still has pages pinned is told again, ten times at most; then the unmap is refused.
    fn unmapping(&self, range: IovaRange, release: &Release<'_>);
}

/// Lets a mediated device go of pages while they are being unmapped.
pub struct Release<'a> {
    shared: &'a Shared,
    device: MediatedId,
    range: IovaRange,
}

impl Release<'_> {
    /// Unpins all that the device has pinned in the range, however often it has.
    pub fn all(&self) {
        while self.shared.state.lock().pins.release(self.device, self.range) {}
    }

    /// Unpins whole pages once.
    ///
    /// # Errors
    /// The device has not pinned one of them; nothing has changed.
    pub fn unpin(&self, start: Iova, size: u64) -> Result<(), PinError> {
        self.shared.unpin(self.device, start, size)
    }
}

/// A listener, which is called without the domain's lock.
#[derive(Clone)]
pub(super) struct Listener(alloc::sync::Arc<dyn UnmapListener>);

impl Listener {
    pub(super) fn unmapping(&self, shared: &Shared, device: MediatedId, range: IovaRange) {
        let release = Release {
            shared,
            device,
            range,
        };
        self.0.unmapping(range, &release);
    }
}

impl Shared {
    fn unpin(&self, device: MediatedId, start: Iova, size: u64) -> Result<(), PinError> {
        let range = check_pin(start, size)?;
        self.state.lock().pins.unpin(device, range)
    }
}

impl<P: Platform> Domain<'_, P> {
    /// Lets software reach the domain's memory as a device would: by its I/O virtual addresses, with the access that is
    /// mapped. `memory` must be able to reach all that is mapped; `listener` is told of unmaps. The domain cannot be closed
    /// before the handle is dropped.
    ///
    /// # Errors
    /// The device has a handle already.
    pub fn software<M: HostMemory>(
        &self,
        device: MediatedId,
        memory: M,
        listener: alloc::sync::Arc<dyn UnmapListener>,
    ) -> Result<SoftwareDma<M>, SoftwareRefusal> {
        let mut state = self.0.shared.state.lock();
        if state.listeners.contains_key(&device) {
            return Err(SoftwareRefusal::There(device));
        }
        state.listeners.insert(device, Listener(listener));
        drop(state);
        Ok(SoftwareDma {
            shared: Arc::clone(&self.0.shared),
            device,
            memory,
        })
    }
}

/// A domain's memory, for one mediated device. Dropping it unpins all that the device has pinned.
pub struct SoftwareDma<M> {
    shared: Arc<Shared>,
    device: MediatedId,
    memory: M,
}

impl<M> core::fmt::Debug for SoftwareDma<M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SoftwareDma")
            .field("device", &self.device)
            .finish()
    }
}

impl<M: HostMemory> SoftwareDma<M> {
    /// Whose it is.
    pub const fn device(&self) -> MediatedId {
        self.device
    }

    /// Copies memory at `from` to `data`, which may cross from one mapping to the next.
    ///
    /// # Errors
    /// [`DmaError`] says at which address; what lies before it was copied.
    pub fn read(&self, from: Iova, data: &mut [u8]) -> Result<(), DmaError> {
        let mut rest = data;
        self.each_piece(from, rest.len(), Access::READ, |memory, host, len| {
            let (piece, behind) = core::mem::take(&mut rest).split_at_mut_checked(len)?;
            rest = behind;
            Some(memory.read(host, piece))
        })
    }

    /// Copies `data` to memory at `to`, which may cross from one mapping to the next.
    ///
    /// # Errors
    /// [`DmaError`] says at which address; what lies before it was written.
    pub fn write(&self, to: Iova, data: &[u8]) -> Result<(), DmaError> {
        let mut rest = data;
        self.each_piece(to, rest.len(), Access::WRITE, |memory, host, len| {
            let (piece, behind) = rest.split_at_checked(len)?;
            rest = behind;
            Some(memory.write(host, piece))
        })
    }

    /// Copies page by page; `copy` is called with the lock held.
    fn each_piece(
        &self,
        start: Iova,
        len: usize,
        access: Access,
        mut copy: impl FnMut(&M, HostPhys, usize) -> Option<Result<(), crate::Fault>>,
    ) -> Result<(), DmaError> {
        let mut left = len as u64;
        if left == 0 {
            return Ok(());
        }
        let range = IovaRange::new(start, left)?;
        let mut at = range.first();
        while left > 0 {
            let in_page = SMALLEST - at.0 % SMALLEST;
            let state = self.shared.state.lock();
            let (host, len) = state.mappings.piece(at, left.min(in_page), access)?;
            let copied = copy(&self.memory, host, len as usize);
            drop(state);
            copied
                .unwrap_or(Err(crate::Fault::BadAddress))
                .map_err(|fault| DmaError::Host { at: host, fault })?;
            left -= len;
            // Behind the last byte there need be no address, but then nothing is left either.
            at = at.checked_add(len).unwrap_or(at);
        }
        Ok(())
    }

    /// Pins whole pages, so that the device may keep their host addresses until it unpins them; as often as it likes. They
    /// must be mapped with all of `access`.
    ///
    /// # Errors
    /// [`PinError`]; nothing was pinned.
    pub fn pin(&self, start: Iova, size: u64, access: Access) -> Result<Vec<PinnedPiece>, PinError> {
        let range = check_pin(start, size)?;
        let mut state = self.shared.state.lock();
        if let Some(unmapping) = state.unmapping.filter(|other| other.meets(range)) {
            return Err(PinError::Unmapping(unmapping));
        }
        let mut pieces: Vec<PinnedPiece> = Vec::new();
        let (mut at, mut left) = (range.first(), size);
        while left > 0 {
            let (host, size) = state.mappings.piece(at, left, access)?;
            match pieces.last_mut() {
                Some(before) if before.host.checked_add(before.size) == Some(host) => before.size += size,
                _ => pieces.push(PinnedPiece { host, size }),
            }
            left -= size;
            at = at.checked_add(size).unwrap_or(at);
        }
        state.pins.pin(self.device, range)?;
        Ok(pieces)
    }

    /// Unpins whole pages once.
    ///
    /// # Errors
    /// The device has not pinned one of them; nothing has changed.
    pub fn unpin(&self, start: Iova, size: u64) -> Result<(), PinError> {
        self.shared.unpin(self.device, start, size)
    }

    /// Host memory, to reach pages that are pinned by the address that [`pin`](Self::pin) gave.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// How many pages are pinned in the domain, counted for each device.
    pub fn pinned_pages(&self) -> usize {
        self.shared.state.lock().pins.len()
    }
}

impl<M> Drop for SoftwareDma<M> {
    fn drop(&mut self) {
        while self.shared.state.lock().pins.release(self.device, IovaRange::ALL) {}
        let mut state = self.shared.state.lock();
        state.pins.forget(self.device);
        // The listener may hold anything: it goes when the lock is released.
        let listener = state.listeners.remove(&self.device);
        drop(state);
        drop(listener);
    }
}
