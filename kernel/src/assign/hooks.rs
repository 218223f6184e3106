//! What the resets of this machine know of particular devices.

use crate::pci::{Function, MmioAccess};
use spin::Mutex;
use vfio_core::Fault;
use vfio_core::clock::Clock;
use vfio_core::pci::quirk::Quirks;
use vfio_core::pci::reset::{ResetHooks, ResetQuirks, disable_nvme};

/// `vfio-core`'s list, and device registers to disable a controller through.
#[derive(Debug)]
pub(super) struct Hooks<'a, K, M> {
    pub(super) clock: &'a K,
    pub(super) mmio: &'a Mutex<M>,
}

/// Locked for one access at a time: whoever waits for a register to change holds nobody else up.
struct EachAccess<'a, M>(&'a Mutex<M>);

impl<M: MmioAccess> MmioAccess for EachAccess<'_, M> {
    fn read32(&mut self, address: u64) -> u32 {
        self.0.lock().read32(address)
    }

    fn write32(&mut self, address: u64, value: u32) {
        self.0.lock().write32(address, value);
    }
}

impl<K: Clock, M: MmioAccess> ResetHooks for Hooks<'_, K, M> {
    fn quirks(&self, function: &Function) -> ResetQuirks {
        Quirks::of(function).resets()
    }

    fn slowness(&self, function: &Function) -> u64 {
        Quirks::of(function).after_flr
    }

    fn disable(&self, function: &Function) -> Result<(), Fault> {
        disable_nvme(&mut EachAccess(self.mmio), self.clock, function)
    }

    fn intx_is_broken(&self, function: &Function) -> bool {
        Quirks::of(function).intx_is_broken()
    }
}
