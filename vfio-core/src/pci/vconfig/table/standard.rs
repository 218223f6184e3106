//! Capabilities below 0x100, by id.

use super::super::row::Bits::{HardwareWritable, Snapshot, Virtual, VirtualFrom, Zero};
use super::super::row::{Layout, Length, Trap, row};
use crate::pci::spec::{af, capability, express, msix, pm};

const EXPRESS_CAPABLE: u32 = express::DEVICE_CAPABILITIES_FLR;
/// Device control, but for what is virtual and for phantom functions, which no guest may use: requester ids are what the
/// IOMMU goes by.
const EXPRESS_WRITABLE: u32 =
    0xffff & !EXPRESS_FLR & !EXPRESS_SIZES & !(express::DEVICE_CONTROL_PHANTOM as u32);
const EXPRESS_FLR: u32 = express::DEVICE_CONTROL_FLR as u32;
const EXPRESS_SIZES: u32 = (express::DEVICE_CONTROL_PAYLOAD | express::DEVICE_CONTROL_READ_REQUEST) as u32;

const MSIX_CONTROL: u32 = (msix::ENABLE | msix::FUNCTION_MASK) as u32;
const AF_BITS: u32 = (af::CAPABILITIES_FLR | af::CAPABILITIES_TP) as u32;

/// The table. The builder adds what depends on the function: which power states and resets are offered, and MSI, whose layout
/// depends on its control register.
pub(in super::super) const STANDARD: &[Layout] = &[
    Layout {
        id: capability::PM as u16,
        length: Length::Exactly(pm::SIZE),
        rows: &[
            // The device wakes nobody: the clock and the states for PME are zero.
            row(2, 1 << 3 | 0xf800, Zero),
            // The state is the trap's. PME enable, PME status, and the data register's select and scale are zero.
            row(pm::CONTROL, pm::STATE_MASK as u32, Zero),
            row(pm::CONTROL, 0xff00, Zero),
            row(6, 0xff, Snapshot),
            row(7, 0xff, Zero),
        ],
        traps: &[(pm::CONTROL, Trap::Power)],
    },
    Layout::read(capability::AGP as u16, Length::Exactly(12)),
    Layout {
        id: capability::VPD as u16,
        length: Length::Exactly(8),
        rows: &[row(2, 0xffff, Virtual), row(4, u32::MAX, Virtual)],
        traps: &[(0, Trap::VpdAddress)],
    },
    Layout::hidden(capability::SLOT_ID as u16),
    // Its rows are made for each function.
    Layout::read(capability::MSI as u16, Length::Msi),
    Layout::hidden(capability::HOT_SWAP as u16),
    Layout {
        id: capability::PCIX as u16,
        length: Length::PciX,
        // Command, and ECC control and status where it is there.
        rows: &[row(2, 0x7f, HardwareWritable), row(8, u32::MAX, HardwareWritable)],
        traps: &[],
    },
    Layout::read(capability::HYPERTRANSPORT as u16, Length::HyperTransport),
    Layout::read(capability::VENDOR as u16, Length::Vendor),
    Layout::hidden(capability::DEBUG as u16),
    Layout::hidden(capability::RESOURCE_CONTROL as u16),
    Layout::hidden(capability::HOT_PLUG as u16),
    Layout::hidden(capability::BRIDGE_SUBSYSTEM as u16),
    Layout::hidden(capability::AGP_8X as u16),
    Layout::hidden(capability::SECURE_DEVICE as u16),
    Layout {
        id: capability::EXPRESS as u16,
        length: Length::Express,
        rows: &[
            row(express::DEVICE_CAPABILITIES, EXPRESS_CAPABLE, Zero),
            row(express::DEVICE_CONTROL, EXPRESS_FLR, Virtual),
            row(express::DEVICE_CONTROL, EXPRESS_SIZES, VirtualFrom),
            row(express::DEVICE_CONTROL, EXPRESS_WRITABLE, HardwareWritable),
            row(
                express::DEVICE_CONTROL_2,
                0xffff & !(express::DEVICE_CONTROL_2_ARI as u32),
                HardwareWritable,
            ),
        ],
        traps: &[(express::DEVICE_CONTROL, Trap::DeviceControl)],
    },
    Layout {
        id: capability::MSIX as u16,
        length: Length::Exactly(msix::LENGTH),
        rows: &[
            row(2, msix::SIZE_MASK as u32, Snapshot),
            row(2, MSIX_CONTROL, Virtual),
            row(2, 0xffff & !MSIX_CONTROL & !(msix::SIZE_MASK as u32), Zero),
            row(msix::TABLE, u32::MAX, Snapshot),
            row(msix::PBA, u32::MAX, Snapshot),
        ],
        traps: &[(0, Trap::Msix)],
    },
    Layout::read(capability::SATA as u16, Length::Sata),
    Layout {
        id: capability::AF as u16,
        length: Length::Exactly(af::SIZE),
        rows: &[row(af::CAPABILITIES, AF_BITS, Zero), row(af::CONTROL, 0xff, Zero)],
        traps: &[(af::CONTROL & !3, Trap::AdvancedFeatures)],
    },
];
