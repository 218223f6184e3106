//! What every device shows, of whatever kind: its regions, its interrupts, and whether it can be reset.
//!
//! The kinds are in [`pci`](crate::pci), [`fsl_mc`](crate::fsl_mc), [`platform`](crate::platform) and
//! [`mediated`](crate::mediated). A hypervisor gives a guest what a [`Device`] describes: it maps the parts of regions that can be
//! mapped, passes accesses to the rest on to [`Device::read`] and [`Device::write`], and routes what the device's interrupts
//! signal into an [`IrqSink`].

mod irq;
mod region;

pub use irq::{IrqAction, IrqError, IrqFlags, IrqInfo, IrqRange, IrqRequest, IrqSink};
pub use region::{AccessError, Mappable, MemoryType, RegionFlags, RegionInfo};

use crate::fault::Fault;
use crate::id::DeviceId;

/// A device, open for one owner. Nothing that the owner asks may harm anybody else: every argument is untrusted.
pub trait Device {
    /// Its name.
    fn id(&self) -> DeviceId;

    /// Its region with this index; `None` beyond the last one. A region that the device does not have, but that has an index
    /// all the same, has size 0.
    fn region(&self, index: u32) -> Option<RegionInfo>;

    /// Its interrupts with this index; `None` beyond the last one.
    fn irq(&self, index: u32) -> Option<IrqInfo>;

    /// Whether [`reset`](Self::reset) can work.
    fn can_reset(&self) -> bool;

    /// Reads `data.len()` bytes at `offset` of a region.
    ///
    /// # Errors
    /// [`AccessError`]; `data` may have been written in part.
    fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), AccessError>;

    /// Writes `data` at `offset` of a region.
    ///
    /// # Errors
    /// [`AccessError`]; the device may have seen a part.
    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), AccessError>;

    /// Sets up, masks, unmasks or raises interrupts.
    ///
    /// # Errors
    /// [`IrqError`]; nothing has changed then.
    fn set_irqs(&mut self, request: &IrqRequest<'_>) -> Result<(), IrqError>;

    /// Resets the device alone, as its owner asks for it.
    ///
    /// # Errors
    /// It has no reset of its own ([`Fault::Unknown`]), or the reset did not work.
    fn reset(&mut self) -> Result<(), Fault>;
}
