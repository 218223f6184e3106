//! A platform device that is open for an owner.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{
    Description, DescriptionError, Lines, PlatformBus, PlatformId, PlatformRegion, RegionKind, ResetKind,
    Trigger,
};
use crate::addr::HostPhys;
use crate::device::{
    AccessError, Device, IrqAction, IrqError, IrqFlags, IrqInfo, IrqRequest, IrqSink, Mappable, MemoryType,
    RegionFlags, RegionInfo,
};
use crate::fault::Fault;
use crate::id::DeviceId;
use crate::pci::config::Width;

const PAGE: u64 = 0x1000;

/// Why a device was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its description makes no sense.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// It must be reset, and was not.
    #[error("{device} must be reset before it is used, and its reset failed: {fault}")]
    Reset {
        /// The device.
        device: PlatformId,
        /// Why.
        fault: Fault,
    },
}

/// An open platform device. [`close`](Self::close) it: what is only dropped keeps its interrupts and is not reset.
#[must_use = "an open device must be closed"]
pub struct PlatformDevice<'a, B> {
    description: Description,
    bus: &'a B,
    sink: &'a dyn IrqSink,
    lines: Arc<Lines>,
    not_reset: Option<Fault>,
}

impl<'a, B: PlatformBus> PlatformDevice<'a, B> {
    /// Opens the device: checks its description, and resets it where anything does.
    ///
    /// # Errors
    /// [`OpenError`]. A reset that fails is one only where it is required: see [`not_reset`](Self::not_reset).
    pub fn open(description: Description, bus: &'a B, sink: &'a dyn IrqSink) -> Result<Self, OpenError> {
        description.check()?;
        let device = description.id;
        let not_reset = match description.reset {
            ResetKind::None => None,
            ResetKind::Optional => bus.reset(device).err(),
            ResetKind::Required => {
                bus.reset(device)
                    .map_err(|fault| OpenError::Reset { device, fault })?;
                None
            }
        };
        let lines = Arc::new(Lines::new(device, &description.irqs));
        Ok(Self {
            description,
            bus,
            sink,
            lines,
            not_reset,
        })
    }

    /// Why its reset failed when it was opened, if it did: it is then as its last owner left it.
    #[must_use]
    pub const fn not_reset(&self) -> Option<Fault> {
        self.not_reset
    }

    /// Its interrupt lines, for the handler.
    #[must_use]
    pub fn lines(&self) -> Arc<Lines> {
        Arc::clone(&self.lines)
    }

    /// Closes it: its interrupts go, and it is reset where anything does. Both are tried.
    ///
    /// # Errors
    /// The first that failed. The device is then out of service.
    pub fn close(self) -> Result<(), Fault> {
        let mut result = Ok(());
        for (index, _) in (0..).zip(&self.description.irqs) {
            result = result.and(self.lines.disconnect(index, self.bus));
        }
        match self.description.reset {
            ResetKind::None => result,
            ResetKind::Optional | ResetKind::Required => result.and(self.bus.reset(self.description.id)),
        }
    }

    fn described(&self, index: u32) -> Option<&PlatformRegion> {
        self.description.regions.get(usize::try_from(index).ok()?)
    }

    /// Where an access starts in the host, if it may be made.
    fn checked(&self, region: u32, offset: u64, len: usize, needs: RegionFlags) -> Result<u64, AccessError> {
        let described = self.described(region).ok_or(AccessError::NoRegion(region))?;
        let info = info(described);
        if !info.flags.contains(needs) {
            return Err(AccessError::Denied);
        }
        info.check(offset, len)?;
        // The region is inside the address space, and the access inside the region.
        Ok(described.address.0.saturating_add(offset))
    }
}

fn info(region: &PlatformRegion) -> RegionInfo {
    let mut flags = RegionFlags::empty();
    let mut mappable = Vec::new();
    if region.kind == RegionKind::Memory {
        flags = RegionFlags::READ;
        flags.set(RegionFlags::WRITE, region.writable);
        // Mapping makes writable, so what must not be written traps.
        let whole_pages = region.address.0.is_multiple_of(PAGE) && region.size.is_multiple_of(PAGE);
        if whole_pages && region.writable {
            flags |= RegionFlags::MAP;
            mappable.push(Mappable {
                offset: 0,
                size: region.size,
                address: region.address,
                memory_type: MemoryType::Device,
            });
        }
    }
    RegionInfo {
        size: region.size,
        flags,
        mappable,
    }
}

/// The largest access of at most 4 bytes that is aligned at `address` and does not exceed `left`.
const fn step(address: u64, left: usize) -> Width {
    if left >= 4 && address.is_multiple_of(4) {
        Width::Dword
    } else if left >= 2 && address.is_multiple_of(2) {
        Width::Word
    } else {
        Width::Byte
    }
}

impl<B: PlatformBus> Device for PlatformDevice<'_, B> {
    fn id(&self) -> DeviceId {
        self.description.id.into()
    }

    fn region(&self, index: u32) -> Option<RegionInfo> {
        self.described(index).map(info)
    }

    fn irq(&self, index: u32) -> Option<IrqInfo> {
        let flags = match self.lines.trigger(index)? {
            Trigger::Level => IrqFlags::SIGNAL | IrqFlags::MASKABLE | IrqFlags::AUTOMASKED,
            Trigger::Edge => IrqFlags::SIGNAL,
        };
        Some(IrqInfo { count: 1, flags })
    }

    fn can_reset(&self) -> bool {
        self.description.reset != ResetKind::None
    }

    /// In aligned steps of 4, 2 and 1 bytes.
    fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), AccessError> {
        let mut address = self.checked(region, offset, data.len(), RegionFlags::READ)?;
        let mut left = data;
        while !left.is_empty() {
            let width = step(address, left.len());
            let bytes = self.bus.read(HostPhys(address), width).to_le_bytes();
            let (now, rest) = left
                .split_at_mut_checked(usize::from(width.bytes()))
                .unwrap_or_default();
            now.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            address = address.saturating_add(width.bytes().into());
            left = rest;
        }
        Ok(())
    }

    /// In aligned steps of 4, 2 and 1 bytes.
    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), AccessError> {
        let mut address = self.checked(region, offset, data.len(), RegionFlags::WRITE)?;
        let mut left = data;
        while !left.is_empty() {
            let width = step(address, left.len());
            let (now, rest) = left
                .split_at_checked(usize::from(width.bytes()))
                .unwrap_or_default();
            let mut bytes = [0; 4];
            bytes.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            self.bus
                .write(HostPhys(address), width, u32::from_le_bytes(bytes));
            address = address.saturating_add(width.bytes().into());
            left = rest;
        }
        Ok(())
    }

    fn set_irqs(&mut self, request: &IrqRequest<'_>) -> Result<(), IrqError> {
        request.check(self.irq(request.index))?;
        let (index, lines, bus) = (request.index, &self.lines, self.bus);
        match request.action {
            IrqAction::Signal([true]) => lines.connect(index, bus)?,
            IrqAction::Signal([false]) | IrqAction::Disable => lines.disconnect(index, bus)?,
            IrqAction::Signal(_) => return Err(IrqError::Shape),
            IrqAction::Trigger => lines.arrived_by_request(index, bus, self.sink)?,
            IrqAction::Mask => lines.mask(index, bus)?,
            IrqAction::Unmask => lines.unmask(index, bus)?,
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Fault> {
        match self.description.reset {
            ResetKind::None => Err(Fault::Unknown),
            ResetKind::Optional | ResetKind::Required => self.bus.reset(self.description.id),
        }
    }
}
