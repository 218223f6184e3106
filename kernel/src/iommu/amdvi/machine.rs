//! The machine's units: registers at their physical addresses, tables in the heap.
#![expect(
    unsafe_code,
    reason = "reads and writes the registers of a unit, and memory that it shares"
)]

use super::{AmdVi, AmdViUnit, Capability, Firmware, Hardware, InitError};
use crate::acpi::Ivrs;
use crate::addr::HostPhys;
use crate::cpu::clock;
use crate::discovery::Machine;
use crate::iommu::AnyUnit;
use crate::memory::frames::HeapFrames;
use crate::memory::paging::{self, PagingError};
use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::boxed::Box;
use alloc::vec::Vec;
use spec::amdvi::registers as register;
use vfio_core::pci::Topology;

/// A unit of the machine.
#[derive(Debug)]
pub struct MachineUnit {
    base: u64,
}

impl MachineUnit {
    /// Maps the registers at `base`.
    ///
    /// # Errors
    /// They lie where nothing can be mapped.
    ///
    /// # Safety
    /// Registers of an AMD-Vi unit must be there, and nobody else may use them.
    unsafe fn new(base: u64) -> Result<Self, PagingError> {
        paging::map_device(HostPhys(base), register::BYTES)?;
        Ok(Self { base })
    }
}

fn layout(bytes: u64) -> Option<Layout> {
    Layout::from_size_align(usize::try_from(bytes).ok()?, 4096).ok()
}

impl Hardware for MachineUnit {
    type Frames = HeapFrames;

    fn frames(&self) -> HeapFrames {
        HeapFrames
    }

    fn read(&mut self, register: u16) -> u64 {
        let at = self.base + u64::from(register);
        // SAFETY: a register of the unit, mapped uncached; `new`'s caller promises that there is one.
        unsafe { (at as *const u64).read_volatile() }
    }

    fn write(&mut self, register: u16, value: u64) {
        let at = self.base + u64::from(register);
        // SAFETY: as for `read`. Stores to memory that came before are visible before a store to uncached memory is.
        unsafe { (at as *mut u64).write_volatile(value) };
    }

    fn allocate(&mut self, bytes: u64) -> Option<HostPhys> {
        let layout = layout(bytes).filter(|layout| layout.size() > 0)?;
        // SAFETY: the layout has a size.
        let memory = unsafe { alloc_zeroed(layout) };
        (!memory.is_null()).then_some(HostPhys(memory as u64))
    }

    fn free(&mut self, at: HostPhys, bytes: u64) {
        if let Some(layout) = layout(bytes) {
            // SAFETY: the trait's users return only what `allocate` gave for as many bytes, once.
            unsafe { dealloc(at.0 as *mut u8, layout) };
        }
    }

    fn load(&self, at: HostPhys) -> u64 {
        // SAFETY: aligned, and in memory that `allocate` gave, which is mapped one to one.
        unsafe { (at.0 as *const u64).read_volatile() }
    }

    fn store(&mut self, at: HostPhys, value: u64) {
        // SAFETY: as for `load`; one aligned store.
        unsafe { (at.0 as *mut u64).write_volatile(value) };
    }

    fn store_half(&mut self, at: HostPhys, value: u32) {
        // SAFETY: as for `load`; one aligned store.
        unsafe { (at.0 as *mut u32).write_volatile(value) };
    }

    fn wait(&self, nanoseconds: u64) {
        clock::delay(nanoseconds.div_ceil(1000));
    }
}

/// All units that IVRS names, each of which denies everything when this returns.
///
/// # Errors
/// [`InitError`], for the first that cannot be used.
pub fn units(
    machine: &Machine,
    ivrs: &Ivrs,
    topology: &Topology,
    units: &mut Vec<AnyUnit>,
) -> Result<(), InitError> {
    let features = raw_cpuid::CpuId::new().get_feature_info();
    let emulated = features.is_some_and(|features| features.has_hypervisor());
    for unit in &ivrs.units {
        let firmware = Firmware::new(ivrs, unit);
        let segment = firmware.function().segment();
        let buses = machine
            .functions
            .iter()
            .filter(|function| function.bdf.segment() == segment);
        let buses = buses.map(|function| {
            function.buses.map_or(function.bdf.bus(), |buses| {
                buses.subordinate.max(function.bdf.bus())
            })
        });
        let last_bus = buses.max().unwrap_or(0);
        let capability = Capability::read(&machine.ecam, &firmware)?;
        // SAFETY: firmware's table says that the unit's registers are there, and its capability does not contradict; nothing else in
        // the hypervisor touches them.
        let hardware = unsafe { MachineUnit::new(firmware.base()) };
        let hardware = hardware.map_err(|_| InitError::NoAnswer(firmware.function()))?;
        let unit = AmdVi::init(hardware, firmware, capability, last_bus)?;
        let unit = AmdViUnit::new(unit, &machine.functions, topology, emulated);
        units.push(Box::new(unit));
    }
    Ok(())
}
