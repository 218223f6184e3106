//! The MSI-X table as a guest programs it, and its pending bits (PCI Express Base Specification 6.0, section 7.7.2).

use super::{Message, Signalled, VectorAction, change};
use crate::device::AccessError;
use crate::pci::spec::msix::{ENTRY, ENTRY_MASKED};
use alloc::vec;
use alloc::vec::Vec;

/// An entry after a reset: masked.
const RESET_ENTRY: [u32; 4] = [0, 0, 0, ENTRY_MASKED];
/// Vectors of a table at most.
const MOST: u16 = 2048;

/// The table of one function: entries, their pending bits, and the two bits of the capability that concern all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MsixTable {
    /// Address low, address high, data, vector control.
    entries: Vec<[u32; 4]>,
    /// A bit each.
    pending: Vec<u64>,
    enabled: bool,
    masked: bool,
}

impl MsixTable {
    /// A table of `vectors` entries (2048 at most), all masked, as after a reset.
    #[must_use]
    pub fn new(vectors: u16) -> Self {
        let vectors = usize::from(vectors.min(MOST));
        Self {
            entries: vec![RESET_ENTRY; vectors],
            pending: vec![0; vectors.div_ceil(64)],
            enabled: false,
            masked: false,
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn vectors(&self) -> u16 {
        self.entries.len() as u16
    }

    /// Reads `bytes` at `offset` of the table.
    ///
    /// # Errors
    /// [`AccessError`]: only aligned accesses of 4 and 8 bytes inside the table are defined.
    pub fn read(&self, offset: u32, bytes: u8) -> Result<u64, AccessError> {
        let (index, at) = self.place(offset, bytes)?;
        let words = self.entries.get(index).copied().unwrap_or_default();
        let word = |at: usize| u64::from(words.get(at).copied().unwrap_or(0));
        Ok(if bytes == 8 {
            word(at) | word(at + 1) << 32
        } else {
            word(at)
        })
    }

    /// Writes `bytes` at `offset` of the table.
    ///
    /// # Errors
    /// As for [`read`](Self::read); nothing was written.
    pub fn write(
        &mut self,
        offset: u32,
        bytes: u8,
        value: u64,
        act: &mut dyn FnMut(VectorAction),
    ) -> Result<(), AccessError> {
        let (index, at) = self.place(offset, bytes)?;
        let before = self.message(index);
        if let Some(words) = self.entries.get_mut(index) {
            let parts = [value as u32, (value >> 32) as u32];
            let places = words.iter_mut().enumerate().skip(at);
            for ((at, word), part) in places.zip(parts).take(usize::from(bytes / 4)) {
                *word = if at == 3 { part & ENTRY_MASKED } else { part };
            }
        }
        self.changed(index, before, act);
        Ok(())
    }

    /// Pending bits: reads `bytes` (4 or 8) at an aligned `offset` of the array. What the hardware has pending is not in it.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn read_pending(&self, offset: u32, bytes: u8) -> Result<u64, AccessError> {
        let size = self.pending.len() as u64 * 8;
        aligned(offset, bytes, size)?;
        let word = self.pending.get(offset as usize / 8).copied().unwrap_or(0);
        let word = word >> (8 * (offset % 8));
        Ok(if bytes == 8 { word } else { word & 0xffff_ffff })
    }

    /// The enable and function mask bits of the capability are now so.
    pub fn control(&mut self, enabled: bool, masked: bool, act: &mut dyn FnMut(VectorAction)) {
        let before = (self.enabled, self.masked);
        for index in 0..self.entries.len() {
            (self.enabled, self.masked) = before;
            let message = self.message(index);
            (self.enabled, self.masked) = (enabled, masked);
            self.changed(index, message, act);
        }
        (self.enabled, self.masked) = (enabled, masked);
        if !enabled {
            self.pending.fill(0);
        }
    }

    /// The function signals `vector`.
    pub fn signal(&mut self, vector: u16) -> Signalled {
        if !self.enabled || vector >= self.vectors() {
            return Signalled::Lost;
        }
        match self.message(vector.into()) {
            Some(message) => Signalled::Send(message),
            None => {
                if let Some(word) = self.pending.get_mut(usize::from(vector / 64)) {
                    *word |= 1 << (vector % 64);
                }
                Signalled::Pending
            }
        }
    }

    /// What `vector` sends; `None` while it is masked, or off.
    #[must_use]
    pub fn connected(&self, vector: u16) -> Option<Message> {
        self.message(vector.into())
    }

    /// As after a reset. Vectors that send something are disconnected.
    pub fn reset(&mut self, act: &mut dyn FnMut(VectorAction)) {
        self.control(false, false, act);
        self.entries.fill(RESET_ENTRY);
        self.pending.fill(0);
    }

    fn message(&self, index: usize) -> Option<Message> {
        let [low, high, data, control] = *self.entries.get(index)?;
        (self.enabled && !self.masked && control & ENTRY_MASKED == 0).then_some(Message {
            address: u64::from(high) << 32 | u64::from(low),
            data,
        })
    }

    fn changed(&mut self, index: usize, before: Option<Message>, act: &mut dyn FnMut(VectorAction)) {
        let after = self.message(index);
        let bit = 1u64 << (index % 64);
        let Some(word) = self.pending.get_mut(index / 64) else {
            return;
        };
        if change(index as u16, before, after, *word & bit != 0, act) {
            *word &= !bit;
        }
    }

    fn place(&self, offset: u32, bytes: u8) -> Result<(usize, usize), AccessError> {
        aligned(offset, bytes, self.entries.len() as u64 * u64::from(ENTRY))?;
        Ok(((offset / ENTRY) as usize, (offset % ENTRY / 4) as usize))
    }
}

fn aligned(offset: u32, bytes: u8, size: u64) -> Result<(), AccessError> {
    let offset = u64::from(offset);
    if !matches!(bytes, 4 | 8) || !offset.is_multiple_of(bytes.into()) {
        let len = bytes.into();
        return Err(AccessError::Shape { offset, len });
    }
    if offset + u64::from(bytes) > size {
        return Err(AccessError::Outside { offset, size });
    }
    Ok(())
}
