//! Platform devices: fixed registers and interrupts, found by nothing but a description.
//!
//! Each is a set by itself. Which ones are one isolation group is what their requesters and their description say.

mod description;
mod device;
mod lines;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

pub use description::{Description, DescriptionError, PlatformRegion, RegionKind, ResetKind, Trigger};
pub use device::{OpenError, PlatformDevice};
pub use lines::Lines;

use core::fmt;

use crate::addr::HostPhys;
use crate::fault::Fault;
use crate::pci::config::Width;

/// The number of a platform device in the list that the hypervisor made of its firmware's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlatformId(pub u32);

impl fmt::Display for PlatformId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "platform.{}", self.0)
    }
}

/// What the hypervisor supplies for platform devices.
pub trait PlatformBus {
    /// Reads a register; `address` is a multiple of the width.
    fn read(&self, address: HostPhys, width: Width) -> u32;

    /// Writes a register; `address` is a multiple of the width.
    fn write(&self, address: HostPhys, width: Width, value: u32);

    /// Resets a device by whatever its description names, and waits for it.
    ///
    /// # Errors
    /// It was not reset, or nobody knows.
    fn reset(&self, device: PlatformId) -> Result<(), Fault>;

    /// Lets interrupt line `index` of a device interrupt, unmasked.
    ///
    /// # Errors
    /// There is no vector left, or the line cannot be had. Nothing has changed then.
    fn connect(&self, device: PlatformId, index: u32, trigger: Trigger) -> Result<(), Fault>;

    /// Takes that back; the line does not interrupt afterwards.
    ///
    /// # Errors
    /// It cannot be taken back.
    fn disconnect(&self, device: PlatformId, index: u32) -> Result<(), Fault>;

    /// Masks a line at the interrupt controller. May be called in an interrupt handler: it neither waits nor allocates.
    ///
    /// # Errors
    /// It cannot be masked.
    fn mask(&self, device: PlatformId, index: u32) -> Result<(), Fault>;

    /// Unmasks a line at the interrupt controller.
    ///
    /// # Errors
    /// It cannot be unmasked.
    fn unmask(&self, device: PlatformId, index: u32) -> Result<(), Fault>;
}
