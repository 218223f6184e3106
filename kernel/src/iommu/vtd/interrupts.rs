//! Interrupt remapping: an entry for each interrupt of each device, which nobody but that device can use.
//!
//! The message of an interrupt names its entry and never changes; a new target changes the entry, in one store, so that no
//! interrupt is lost on the way. Messages that name their target themselves (compatibility format) are blocked, as is every
//! entry that is not present. An entry stays while its interrupt is masked in the device, until the device is closed.

use super::hardware::{Memory, Registers};
use super::queue::interrupts;
use super::{Error, Vtd};
use crate::addr::HostPhys;
use crate::iommu::{Message, Source, Target};
use crate::memory::tables::FrameSource;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use spec::lapic::delivery;
use spec::page_table::ENTRIES;
use spec::vtd::interrupt::{High, Low, MessageAddress, VALIDATE_SOURCE, WINDOW_PREFIX};
use vfio_core::clock::Clock;
use vfio_core::pci::Bdf;

/// Frames of the table, in one piece.
pub(super) const FRAMES: usize = 4;
/// Entries of the table.
const SLOTS: u16 = (FRAMES * ENTRIES / 2) as u16;
/// The field of the register that says so: 2^(n+1) entries.
pub(super) const SIZE: u64 = SLOTS.trailing_zeros() as u64 - 1;
/// Vectors below are exceptions'.
const FIRST_VECTOR: u8 = 16;

/// The interrupt remapping table.
#[derive(Debug)]
pub(super) struct InterruptTable {
    pub(super) base: HostPhys,
    /// Destinations have 32 bits (x2APIC).
    pub(super) extended: bool,
    /// Which entry is whose.
    used: BTreeMap<Source, u16>,
    /// Bit n: entry n is in use.
    taken: [u64; SLOTS as usize / 64],
}

impl InterruptTable {
    pub(super) const fn new(base: HostPhys, extended: bool) -> Self {
        Self {
            base,
            extended,
            used: BTreeMap::new(),
            taken: [0; SLOTS as usize / 64],
        }
    }

    /// The page of an entry, and where in it.
    const fn place(&self, index: u16) -> (HostPhys, usize) {
        let word = index as usize * 2;
        let frame = self.base.0 + (word / ENTRIES * 4096) as u64;
        (HostPhys(frame), word % ENTRIES)
    }

    fn free_slot(&self) -> Option<u16> {
        let word = self.taken.iter().position(|word| *word != u64::MAX)?;
        let bit = self.taken.get(word)?.trailing_ones();
        u16::try_from(word * 64 + bit as usize).ok()
    }

    fn set_taken(&mut self, index: u16, taken: bool) {
        if let Some(word) = self.taken.get_mut(usize::from(index / 64)) {
            let bit = 1 << (index % 64);
            *word = if taken { *word | bit } else { *word & !bit };
        }
    }

    fn low(&self, target: Target) -> Result<u64, Error> {
        let destination = if self.extended {
            target.apic
        } else {
            // All ones is everybody.
            let apic = u8::try_from(target.apic).ok().filter(|apic| *apic != u8::MAX);
            u32::from(apic.ok_or(Error::Target)?) << 8
        };
        if target.vector < FIRST_VECTOR || target.apic == u32::MAX {
            return Err(Error::Target);
        }
        let low = Low::new()
            .with_present(true)
            .with_delivery(delivery::FIXED)
            .with_vector(target.vector)
            .with_destination(destination);
        Ok(low.into_bits())
    }
}

/// The message that names entry `index`.
fn message(index: u16) -> Message {
    let address = MessageAddress::new()
        .with_window(WINDOW_PREFIX)
        .with_remappable(true)
        .with_handle(index & 0x7fff)
        .with_handle_high(index >> 15 != 0);
    Message {
        address: address.into_bits(),
        data: 0,
    }
}

impl<R: Registers, M: Memory, K: Clock> Vtd<R, M, K> {
    /// Routes an interrupt, or routes it anew without losing one in between.
    ///
    /// # Errors
    /// The requester is not behind this unit, nothing is left of something, or the unit misbehaves.
    pub fn route(&mut self, source: Source, target: Target) -> Result<Message, Error> {
        self.check_service()?;
        let requester = self.source(source.requester)?;
        let Some(table) = &mut self.interrupts else {
            return Message::compatible(target).map_err(|_| Error::Target);
        };
        let low = table.low(target)?;
        if let Some(&index) = table.used.get(&source) {
            let (frame, word) = table.place(index);
            if self.memory.read(frame, word) != low {
                self.memory.write(frame, word, low);
                self.invalidate(&[interrupts(Some(index))])?;
            }
            return Ok(message(index));
        }
        let index = table.free_slot().ok_or(Error::NoEntries)?;
        let (frame, word) = table.place(index);
        let high = High::new()
            .with_source(requester)
            .with_validation(VALIDATE_SOURCE);
        table.used.insert(source, index);
        table.set_taken(index, true);
        // The half with the present bit last.
        self.memory.write(frame, word + 1, high.into_bits());
        self.memory.write(frame, word, low);
        self.made_present(&[interrupts(Some(index))])?;
        Ok(message(index))
    }

    /// Takes back all that was routed for `function`; none of it arrives afterwards.
    ///
    /// # Errors
    /// The unit misbehaves.
    pub fn release_interrupts(&mut self, function: Bdf) -> Result<(), Error> {
        let Some(table) = &mut self.interrupts else {
            return Ok(());
        };
        let theirs = table
            .used
            .iter()
            .filter(|(source, _)| source.function == function);
        let theirs: Vec<(Source, u16)> = theirs.map(|(source, index)| (*source, *index)).collect();
        if theirs.is_empty() {
            return Ok(());
        }
        for (_, index) in &theirs {
            let (frame, word) = table.place(*index);
            self.memory.write(frame, word, 0);
        }
        // One by one where there is one, else all at once: others are read anew.
        let only = match theirs.as_slice() {
            [(_, index)] => Some(*index),
            _ => None,
        };
        self.invalidate(&[interrupts(only)])?;
        if let Some(table) = &mut self.interrupts {
            for (source, index) in theirs {
                let (frame, word) = table.place(index);
                self.memory.write(frame, word + 1, 0);
                table.used.remove(&source);
                table.set_taken(index, false);
            }
        }
        Ok(())
    }
}
