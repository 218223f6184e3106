//! What firmware says of a platform device, and what is wrong with that.

use alloc::vec::Vec;

use super::PlatformId;
use crate::addr::HostPhys;
use crate::id::Requester;

/// What a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegionKind {
    /// Registers or memory.
    Memory,
    /// I/O ports: shown with their size, and accessible to nobody.
    Ports,
}

/// A region of a platform device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlatformRegion {
    /// What it is.
    pub kind: RegionKind,
    /// Where it is in the host; for ports, the first one.
    pub address: HostPhys,
    /// Bytes.
    pub size: u64,
    /// It can be written.
    pub writable: bool,
}

/// How an interrupt line says that something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// By its level, until the cause is gone.
    Level,
    /// By a change.
    Edge,
}

/// How a device is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResetKind {
    /// Nothing resets it, and it need not be.
    None,
    /// Something resets it; an open goes on if that fails.
    Optional,
    /// It must be reset before it is used.
    Required,
}

/// A platform device, as firmware describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub id: PlatformId,
    /// Its regions.
    pub regions: Vec<PlatformRegion>,
    /// Its interrupt lines.
    pub irqs: Vec<Trigger>,
    /// How it is reset.
    pub reset: ResetKind,
    /// Who the IOMMU takes it for; none if it masters no bus.
    pub requesters: Vec<Requester>,
}

/// What is wrong with a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DescriptionError {
    /// A region without bytes, or past the end of the address space.
    #[error("{device}: region {index} of {size:#x} bytes at {address} makes no sense")]
    Region {
        /// The device.
        device: PlatformId,
        /// Which region.
        index: usize,
        /// Where it starts.
        address: HostPhys,
        /// Bytes.
        size: u64,
    },
    /// Two regions of one kind overlap.
    #[error("{device}: regions {first} and {second} overlap")]
    Overlap {
        /// The device.
        device: PlatformId,
        /// The one.
        first: usize,
        /// The other.
        second: usize,
    },
}

impl Description {
    /// Checks it.
    ///
    /// # Errors
    /// [`DescriptionError`]: nobody can have the device.
    pub fn check(&self) -> Result<(), DescriptionError> {
        for (index, region) in self.regions.iter().enumerate() {
            let PlatformRegion {
                kind, address, size, ..
            } = *region;
            let past = match kind {
                RegionKind::Memory => address.checked_add(size).is_none(),
                RegionKind::Ports => address.0.checked_add(size).is_none_or(|end| end > 0x1_0000),
            };
            if size == 0 || past {
                return Err(DescriptionError::Region {
                    device: self.id,
                    index,
                    address,
                    size,
                });
            }
            let before = self.regions.iter().take(index);
            let over = before.clone().position(|other| {
                other.kind == kind
                    && other.address.0 < address.0.saturating_add(size)
                    && address.0 < other.address.0.saturating_add(other.size)
            });
            if let Some(first) = over {
                return Err(DescriptionError::Overlap {
                    device: self.id,
                    first,
                    second: index,
                });
            }
        }
        Ok(())
    }
}
