//! Virtio over PCI, as far as assignment cares: does the device's DMA pass the IOMMU?
//!
//! A virtio device that does not offer `VIRTIO_F_ACCESS_PLATFORM` uses physical addresses and, in QEMU, reaches memory
//! past every virtual IOMMU (virtio 1.2, section 6). The offer can only be read from its registers.

use super::{Bar, ConfigAccess, Function, Registers};
use crate::pci::spec::virtio::{self as virtio_pci, cap, cfg_type, common};
use crate::pci::spec::{Command, capability};
use alloc::vec::Vec;

/// A structure of a virtio device, inside a memory BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioRegion {
    /// Index of the BAR, 0 to 5.
    pub bar: u8,
    /// Bytes from the BAR's start.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}

/// What a virtio device says of itself in configuration space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Virtio {
    /// Virtio device id (23 is an IOMMU); `None` for a transitional device, which says it elsewhere.
    pub device_id: Option<u16>,
    /// Common configuration.
    pub common: Option<VirtioRegion>,
    /// Notifications.
    pub notify: Option<VirtioRegion>,
    /// Bytes between the notification addresses of two queues.
    pub notify_multiplier: u32,
    /// Interrupt status.
    pub isr: Option<VirtioRegion>,
    /// Device configuration.
    pub device: Option<VirtioRegion>,
    /// A structure is said to be where no memory BAR is. Such a capability is ignored here; a library that reads the
    /// list again must not be let loose on it.
    pub misplaced: bool,
}

impl Virtio {
    /// Whether the modern interface is all there. Without it the device is legacy, and bypasses every IOMMU.
    #[must_use]
    pub const fn is_modern(&self) -> bool {
        self.common.is_some() && self.notify.is_some() && self.isr.is_some()
    }
}

/// Reads and writes device memory by host physical address.
pub trait MmioAccess {
    /// Reads 32 bits; `address` is a multiple of 4.
    fn read32(&mut self, address: u64) -> u32;
    /// Writes 32 bits; `address` is a multiple of 4.
    fn write32(&mut self, address: u64, value: u32);
}

/// Why it cannot be known whether a device passes the IOMMU. It is then taken as one that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VirtioError {
    /// The function is no virtio device.
    #[error("the function is no virtio device")]
    NotVirtio,
    /// The modern interface is missing.
    #[error("the virtio device has no modern interface (QEMU: disable-legacy=on)")]
    Legacy,
    /// Firmware gave the BAR no address.
    #[error("BAR {0} of the virtio device has no address")]
    NoAddress(u8),
}

/// Decodes the vendor capabilities of a virtio device; `None` if it is none.
pub(super) fn decode<C: ConfigAccess>(
    registers: &Registers<'_, C>,
    id: (u16, u16),
    capabilities: &[super::Capability],
    bars: &[Bar],
) -> Option<Virtio> {
    let (vendor, device) = id;
    if vendor != virtio_pci::VENDOR
        || !(virtio_pci::TRANSITIONAL_FIRST..=virtio_pci::MODERN_LAST).contains(&device)
    {
        return None;
    }
    let device_id = device.checked_sub(virtio_pci::MODERN_FIRST);
    let mut virtio = Virtio {
        device_id,
        ..Virtio::default()
    };
    let vendor_specific: Vec<u16> = capabilities
        .iter()
        .filter(|capability| capability.id == capability::VENDOR)
        .map(|capability| capability.offset)
        .collect();
    for at in vendor_specific {
        let length = u16::from(registers.u8(at + cap::LENGTH));
        let least = match registers.u8(at + cap::TYPE) {
            cfg_type::NOTIFY => cap::NOTIFY_MULTIPLIER + 4,
            _ => cap::SIZE,
        };
        if length < least || at + length > 0x100 {
            continue;
        }
        let slot = match registers.u8(at + cap::TYPE) {
            cfg_type::COMMON => &mut virtio.common,
            cfg_type::NOTIFY => &mut virtio.notify,
            cfg_type::ISR => &mut virtio.isr,
            cfg_type::DEVICE => &mut virtio.device,
            _ => continue,
        };
        let region = VirtioRegion {
            bar: registers.u8(at + cap::BAR),
            offset: registers.u32(at + cap::OFFSET),
            length: registers.u32(at + cap::STRUCTURE_LENGTH),
        };
        let inside = bars
            .iter()
            .any(|bar| bar.index == region.bar && bar.is_memory() && bar.holds(region.offset, region.length));
        if inside && slot.is_none() {
            *slot = Some(region);
            if registers.u8(at + cap::TYPE) == cfg_type::NOTIFY {
                virtio.notify_multiplier = registers.u32(at + cap::NOTIFY_MULTIPLIER);
            }
        } else if !inside {
            virtio.misplaced = true;
        }
    }
    let too_short = |region: &VirtioRegion| region.length < common::SIZE || !region.offset.is_multiple_of(4);
    if virtio.common.as_ref().is_some_and(too_short) {
        virtio.common = None;
        virtio.misplaced = true;
    }
    Some(virtio)
}

/// Whether the virtio device `function` offers `VIRTIO_F_ACCESS_PLATFORM`, so that its accesses pass the IOMMU.
///
/// Turns on memory decoding while it reads, and puts the command register back as it was.
///
/// # Errors
///
/// If the function is no virtio device, or one whose registers cannot be read.
pub fn virtio_access_platform(
    config: &impl ConfigAccess,
    function: &Function,
    mmio: &mut impl MmioAccess,
) -> Result<bool, VirtioError> {
    let virtio = function.virtio.as_ref().ok_or(VirtioError::NotVirtio)?;
    let region = virtio
        .common
        .filter(|_| virtio.is_modern())
        .ok_or(VirtioError::Legacy)?;
    let bar = function.bar(region.bar).filter(|bar| bar.address != 0);
    let base = bar.ok_or(VirtioError::NoAddress(region.bar))?.address + u64::from(region.offset);
    let registers = Registers::new(config, function.bdf);
    let command = registers.command();
    registers.set_command(command | Command::MEMORY);
    mmio.write32(
        base + u64::from(common::DEVICE_FEATURE_SELECT),
        virtio_pci::F_ACCESS_PLATFORM / 32,
    );
    let features = mmio.read32(base + u64::from(common::DEVICE_FEATURE));
    registers.set_command(command);
    // All ones is what a device that does not answer reads as: it offers nothing.
    Ok(features != u32::MAX && features & 1 << (virtio_pci::F_ACCESS_PLATFORM % 32) != 0)
}
