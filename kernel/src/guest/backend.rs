//! What a guest's assigned functions ask of the machine: the one trait between the models here and the hardware.

use super::layout::MemoryRegion;
use super::msix::Route;
use crate::addr::HostPhys;
use crate::pci::ConfigAccess;
use vfio_core::Fault;
use vfio_core::pci::Bdf;
use vfio_core::pci::device::PowerState;
use vfio_core::pci::irq::IrqKind;

/// An interrupt could not be routed: no host vector is left, or the function is not the guest's any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no way left to route the interrupt")]
pub struct NoRoute;

/// How a function sends interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messages {
    /// MSI.
    Msi,
    /// MSI-X.
    MsiX,
}

/// An interrupt of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// How it is sent.
    pub kind: Messages,
    /// Which one, from 0.
    pub vector: u16,
}

/// The machine, as far as one guest's devices reach it. Only functions that the guest owns, and addresses inside
/// their memory BARs, are ever named.
///
/// Resets and power states wait as long as the bus demands, on the guest's own CPU and under no lock: the guest stands still meanwhile,
/// and nobody else does.
pub trait DeviceBackend {
    /// Configuration space of the host.
    fn config(&self) -> &(dyn ConfigAccess + 'static);

    /// Lets time pass.
    fn wait(&self, nanoseconds: u64);

    /// Reads `bytes` (1, 2, 4 or 8) of a register at `at`, aligned.
    fn mmio_read(&mut self, at: HostPhys, bytes: u8) -> u64;

    /// Writes the low `bytes` (1, 2, 4 or 8) of `value` to a register at `at`, aligned.
    fn mmio_write(&mut self, at: HostPhys, bytes: u8, value: u64);

    /// Turns a kind of interrupt of `function` on or off as a whole; the others are off meanwhile. What is not routed is masked.
    ///
    /// # Errors
    /// It cannot be turned on. Turning off does not fail.
    fn enable(&mut self, function: Bdf, kind: IrqKind, on: bool) -> Result<(), Fault>;

    /// Delivers `source` of `function` as `route` says, and unmasks it. Replaces a former route.
    ///
    /// # Errors
    /// [`NoRoute`]; it stays masked.
    fn route(&mut self, function: Bdf, source: Source, route: Route) -> Result<(), NoRoute>;

    /// Masks `source` of `function`, whether it was routed or not.
    fn unroute(&mut self, function: Bdf, source: Source);

    /// Maps pages of a BAR, which are not mapped. Where that cannot be done accesses go on to trap, and all else is as if they did not.
    fn map(&mut self, region: MemoryRegion);

    /// Takes pages of a BAR back that [`map`](Self::map) was called for: no processor of the guest reaches them when this returns.
    fn unmap(&mut self, region: MemoryRegion);

    /// Resets `function` alone. It is quiet afterwards, has its configuration but for bus mastering, and its interrupts are ready to be
    /// routed, all masked. Its pages are unmapped and its interrupts masked already.
    ///
    /// # Errors
    /// It was not reset, or does not answer.
    fn reset(&mut self, function: Bdf) -> Result<(), Fault>;

    /// Takes `function` to `state`. Says whether it was reset on the way, and then is as after [`reset`](Self::reset). Its pages are
    /// unmapped and its interrupts masked already.
    ///
    /// # Errors
    /// It does not go there.
    fn set_power_state(&mut self, function: Bdf, state: PowerState) -> Result<bool, Fault>;

    /// The power state that `function` is in.
    ///
    /// # Errors
    /// It does not answer.
    fn power_state(&mut self, function: Bdf) -> Result<PowerState, Fault>;
}
