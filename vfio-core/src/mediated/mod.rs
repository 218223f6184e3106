//! Mediated devices: software that looks like a device, and reaches its owner's memory through the owner's domain.
//!
//! A mediated device is a set and a cohort by itself: it shares no reset, and no IOMMU sees it, so that it has no
//! requesters and nothing to attach. What an IOMMU is to other devices, [`SoftwareDma`] is to it: it reaches what the domain
//! maps, by the same addresses and with the same access, and is told before memory is unmapped. Its reset is software, so
//! that it may go from owner to owner.

mod copier;
#[cfg(test)]
mod tests;

pub use copier::{Copier, Register};

use alloc::sync::Arc;
use core::fmt;

use crate::device::Device;
use crate::domain::HostMemory;
use crate::fault::Fault;
use crate::id::{Requester, SetId};
use crate::lease::{Domain, Platform, SoftwareDma, SoftwareRefusal, UnmapListener};

/// The number of a mediated device, which whoever made it gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediatedId(pub u32);

impl fmt::Display for MediatedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mediated.{}", self.0)
    }
}

/// A device that is software.
pub trait Mediated<M: HostMemory>: Device {
    /// Its number, which [`Device::id`] is made of.
    fn number(&self) -> MediatedId;

    /// Who is told before memory is unmapped.
    fn listener(&self) -> Arc<dyn UnmapListener>;

    /// Gives it its owner's memory. It was reset, and has none.
    fn open(&mut self, memory: SoftwareDma<M>);

    /// Takes the memory back: it is dropped, and with it all pins.
    fn close(&mut self);
}

/// The set of a mediated device: itself.
#[must_use]
pub const fn set_of(device: MediatedId) -> SetId {
    SetId::Own(crate::DeviceId::Mediated(device))
}

/// What an IOMMU sees of a mediated device: nothing.
pub const REQUESTERS: &[Requester] = &[];

/// Why a mediated device was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediatedOpenError {
    /// The domain does not take it.
    #[error(transparent)]
    Domain(#[from] SoftwareRefusal),
    /// It could not be reset.
    #[error("resetting the device failed: {0}")]
    Reset(Fault),
}

/// Opens a device into a domain: it is reset, and given the domain's memory.
///
/// # Errors
/// [`MediatedOpenError`]; it has no memory then.
pub fn open<P: Platform, M: HostMemory>(
    device: &mut dyn Mediated<M>,
    domain: &Domain<'_, P>,
    memory: M,
) -> Result<(), MediatedOpenError> {
    device.reset().map_err(MediatedOpenError::Reset)?;
    device.open(domain.software(device.number(), memory, device.listener())?);
    Ok(())
}

/// Closes a device: it is given no memory any more, and reset, so that the next owner finds nothing.
///
/// # Errors
/// It could not be reset. It reaches no memory all the same.
pub fn close<M: HostMemory>(device: &mut dyn Mediated<M>) -> Result<(), Fault> {
    device.close();
    device.reset()
}
