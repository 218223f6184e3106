//! Regions of a device: registers and memory that its owner may read, write or map.

use alloc::vec::Vec;

use bitflags::bitflags;

use crate::addr::HostPhys;

bitflags! {
    /// What an owner may do with a region.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct RegionFlags: u8 {
        /// Read it.
        const READ = 1;
        /// Write it.
        const WRITE = 1 << 1;
        /// Map some of it: see [`RegionInfo::mappable`].
        const MAP = 1 << 2;
    }
}

/// How a processor may treat memory of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryType {
    /// Registers: neither cached nor reordered.
    Device,
    /// Memory without side effects that is not cached; writes may be combined.
    WriteCombining,
    /// Cached memory, coherent with the device.
    Cached,
}

/// A part of a region that can be mapped for the owner: whole pages that hold nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mappable {
    /// Bytes from the region's start.
    pub offset: u64,
    /// Bytes, at least 1.
    pub size: u64,
    /// Where it is in the host.
    pub address: HostPhys,
    /// How to map it.
    pub memory_type: MemoryType,
}

/// A region of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionInfo {
    /// Bytes; 0 where the device has no such region.
    pub size: u64,
    /// What may be done with it.
    pub flags: RegionFlags,
    /// The parts that can be mapped, in order, without overlaps. Accesses to all else must trap.
    pub mappable: Vec<Mappable>,
}

impl RegionInfo {
    /// A region that the device does not have.
    pub const ABSENT: Self = Self {
        size: 0,
        flags: RegionFlags::empty(),
        mappable: Vec::new(),
    };

    /// Whether `len` bytes at `offset` are inside.
    ///
    /// # Errors
    /// [`AccessError::Outside`].
    pub fn check(&self, offset: u64, len: usize) -> Result<(), AccessError> {
        let end = u64::try_from(len).ok().and_then(|len| offset.checked_add(len));
        match end {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(AccessError::Outside {
                offset,
                size: self.size,
            }),
        }
    }
}

/// Why an access to a region was not made, or not wholly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// There is no region with this index.
    #[error("the device has no region {0}")]
    NoRegion(u32),
    /// The access leaves the region.
    #[error("an access at {offset:#x} leaves the region of {size:#x} bytes")]
    Outside {
        /// Where it starts.
        offset: u64,
        /// Bytes of the region.
        size: u64,
    },
    /// The region cannot be read, or cannot be written.
    #[error("the region does not allow this access")]
    Denied,
    /// The device takes no access of this width at this place.
    #[error("the device takes no access of {len} bytes at {offset:#x}")]
    Shape {
        /// Where it starts.
        offset: u64,
        /// Bytes.
        len: usize,
    },
    /// The device's registers do not answer now: decoding is off, it is in a low-power state, or it is being reset.
    #[error("the device's registers do not answer now")]
    Off,
    /// The device did not do what was asked.
    #[error(transparent)]
    Fault(#[from] crate::Fault),
}
