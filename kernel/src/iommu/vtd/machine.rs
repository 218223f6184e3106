//! The units of this machine: registers and memory at their physical addresses.
#![expect(
    unsafe_code,
    reason = "registers and tables of hardware at their physical addresses"
)]

use super::{Description, InitError, Memory, Registers, Vtd, coverages};
use crate::acpi::Dmar;
use crate::addr::HostPhys;
use crate::cpu::clock::Tsc;
use crate::cpu::lapic;
use crate::iommu::{AnyUnit, Message, Target};
use crate::memory::frames::{self, HeapFrames};
use crate::memory::paging::{self, PagingError};
use crate::pci::Function;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::arch::x86_64::{_mm_clflush, _mm_mfence};

/// Why the units of the machine do not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// One of them.
    #[error(transparent)]
    Init(#[from] InitError),
    /// Its registers cannot be reached.
    #[error("the registers of the VT-d unit at {base:#x} cannot be mapped: {why}")]
    Registers {
        /// Where they are.
        base: u64,
        /// Why not.
        why: PagingError,
    },
}

/// Registers of one unit, at this address.
#[derive(Debug)]
struct Window(u64);

impl Registers for Window {
    fn read32(&mut self, offset: u32) -> u32 {
        // SAFETY: `units` has mapped the window uncached, and the driver keeps inside it.
        unsafe { ((self.0 + u64::from(offset)) as *const u32).read_volatile() }
    }

    fn read64(&mut self, offset: u32) -> u64 {
        // SAFETY: as for `read32`.
        unsafe { ((self.0 + u64::from(offset)) as *const u64).read_volatile() }
    }

    fn write32(&mut self, offset: u32, value: u32) {
        // SAFETY: as for `read32`; what the unit does because of it is the driver's to answer for.
        unsafe { ((self.0 + u64::from(offset)) as *mut u32).write_volatile(value) }
    }

    fn write64(&mut self, offset: u32, value: u64) {
        // SAFETY: as for `write32`.
        unsafe { ((self.0 + u64::from(offset)) as *mut u64).write_volatile(value) }
    }
}

/// Bytes that one `clflush` writes back at least.
const LINE: usize = 64;

impl Memory for HeapFrames {
    fn contiguous(&mut self, count: usize) -> Option<HostPhys> {
        frames::contiguous(count)
    }

    fn write_back(&self, frame: HostPhys, index: usize, words: usize) {
        let (from, bytes) = (frame.0 as usize + index * 8, words * 8);
        for line in (from & !(LINE - 1)..from + bytes).step_by(LINE) {
            // SAFETY: a frame of ours; every x86_64 processor has the instruction.
            unsafe { _mm_clflush(line as *const u8) };
        }
        // SAFETY: every x86_64 processor has the instruction.
        unsafe { _mm_mfence() };
    }
}

/// Brings up every unit that `dmar` names.
///
/// # Errors
/// [`StartError`]; the units before it deny everything.
pub fn units(dmar: &Dmar, functions: &[Function], found: &mut Vec<AnyUnit>) -> Result<(), StartError> {
    for (unit, coverage) in dmar.units.iter().zip(coverages(dmar, functions)) {
        let base = unit.base;
        paging::map_device(HostPhys(base), unit.bytes).map_err(|why| StartError::Registers { base, why })?;
        // Whatever the vector is that makes the boot CPU look, it looks for faults.
        let target = Target {
            apic: lapic::id().into(),
            vector: lapic::KICK_VECTOR,
        };
        let about = Description {
            base,
            bytes: unit.bytes,
            address_bits: dmar.address_bits,
            coverage,
            remap_interrupts: dmar.interrupt_remapping,
            x2apic: false,
            fault_event: Message::compatible(target).ok(),
        };
        let unit = Vtd::init(Window(base), HeapFrames, Tsc, about)?;
        found.push(Box::new(unit));
    }
    Ok(())
}
