//! A PCI function as its configuration space describes it, decoded once and checked.

use super::{Bar, BarFault, SrIov, Virtio};
use crate::pci::spec::{capability, extended};
use crate::pci::{AcsCapability, Bdf, BusRange, NotAssignable, PortKind, ResetMethods};
use alloc::vec::Vec;

/// A PCI function. Offsets are bytes in its configuration space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its address.
    pub bdf: Bdf,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Base class, sub-class, programming interface in bits 23:0.
    pub class: u32,
    /// Revision.
    pub revision: u8,
    /// Subsystem vendor id in bits 15:0 and device id above; zero in a bridge.
    pub subsystem: u32,
    /// INTA to INTD as 1 to 4, 0 for none.
    pub interrupt_pin: u8,
    /// What it is.
    pub kind: PortKind,
    /// The bridge right above it; `None` on a root bus.
    pub parent: Option<Bdf>,
    /// The buses behind it, if it is a bridge with a configuration that makes sense.
    pub buses: Option<BusRange>,
    /// Its base address registers that exist, by index.
    pub bars: Vec<Bar>,
    /// Those that do not decode.
    pub bar_faults: Vec<BarFault>,
    /// Its expansion ROM, if it is an endpoint that has one; at address 0 where firmware has put it nowhere.
    pub rom: Option<Bar>,
    /// Its capabilities in the order of the list.
    pub capabilities: Vec<Capability>,
    /// Its extended capabilities in the order of the list.
    pub extended: Vec<ExtendedCapability>,
    /// PCI Express.
    pub express: Option<Express>,
    /// Where ACS is, and what it says.
    pub acs: Option<(u16, AcsCapability)>,
    /// Power management.
    pub pm: Option<PowerManagement>,
    /// Advanced features, of a conventional function.
    pub af: Option<AdvancedFeatures>,
    /// MSI.
    pub msi: Option<Msi>,
    /// MSI-X, with its tables inside memory BARs.
    pub msix: Option<MsiX>,
    /// Its virtual functions, if it is a physical function.
    pub sriov: Option<SrIov>,
    /// The physical function that it belongs to, if it is a virtual function. Vendor and device id and the BARs are then
    /// not what its own configuration space reads.
    pub physical_function: Option<Bdf>,
    /// What virtio says of itself, if it is a virtio device.
    pub virtio: Option<Virtio>,
    /// How it can be reset, bus resets included where a bridge is above.
    pub resets: ResetMethods,
    /// Why it can be given to nobody, as far as configuration space tells. A modern virtio device must still be asked
    /// with [`virtio_access_platform`](super::virtio_access_platform).
    pub not_assignable: Option<NotAssignable>,
}

impl Function {
    /// The BAR with `index`, 0 to 5.
    #[must_use]
    pub fn bar(&self, index: u8) -> Option<&Bar> {
        self.bars.iter().find(|bar| bar.index == index)
    }

    /// Where the first capability with `id` is.
    #[must_use]
    pub fn capability(&self, id: u8) -> Option<u16> {
        self.capabilities
            .iter()
            .find(|capability| capability.id == id)
            .map(|capability| capability.offset)
    }

    /// Where the first extended capability with `id` is.
    #[must_use]
    pub fn extended(&self, id: u16) -> Option<u16> {
        self.extended
            .iter()
            .find(|capability| capability.id == id)
            .map(|capability| capability.offset)
    }
}

/// An entry of the capability list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Which: the constants of [`spec::capability`](crate::pci::spec::capability).
    pub id: u8,
    /// Where, 0x40 to 0xfc.
    pub offset: u16,
}

impl Capability {
    /// Bytes that a capability with this id has at least; what is not decoded counts as its header.
    #[must_use]
    pub const fn least_bytes(&self) -> u16 {
        match self.id {
            capability::PM => crate::pci::spec::pm::SIZE,
            capability::MSI => 10,
            capability::EXPRESS => 0x14,
            capability::MSIX => crate::pci::spec::msix::LENGTH,
            capability::AF => crate::pci::spec::af::SIZE,
            _ => 2,
        }
    }
}

/// An entry of the extended capability list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedCapability {
    /// Which: the constants of [`spec::extended`](crate::pci::spec::extended).
    pub id: u16,
    /// Its version.
    pub version: u8,
    /// Where, 0x100 to 0xffc.
    pub offset: u16,
}

impl ExtendedCapability {
    /// Bytes that a capability with this id has at least; what is not decoded counts as its header.
    #[must_use]
    pub const fn least_bytes(&self) -> u16 {
        match self.id {
            extended::ACS | extended::ARI | extended::ATS => 8,
            extended::SRIOV => crate::pci::spec::sriov::SIZE,
            _ => 4,
        }
    }
}

/// The PCI Express capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Express {
    /// Where it is.
    pub offset: u16,
    /// Version of the capability: control 2 registers exist from 2 on.
    pub version: u8,
    /// Device/port type as encoded (section 7.5.3.2).
    pub port_type: u8,
    /// A slot hangs on the port.
    pub slot: bool,
    /// The port reports whether its link is active.
    pub reports_link: bool,
}

/// The power management capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerManagement {
    /// Where it is.
    pub offset: u16,
    /// Going to D3hot and back does not reset.
    pub no_soft_reset: bool,
}

/// The advanced features capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvancedFeatures {
    /// Where it is.
    pub offset: u16,
    /// It can reset the function, and says whether transactions are pending.
    pub flr: bool,
}

/// The MSI capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msi {
    /// Where it is.
    pub offset: u16,
    /// Vectors that the function can send, 1 to 32.
    pub vectors: u8,
    /// The address has 64 bits.
    pub address_64: bool,
    /// Vectors can be masked one by one.
    pub maskable: bool,
}

impl Msi {
    /// Bytes of the capability.
    #[must_use]
    pub const fn bytes(&self) -> u16 {
        10 + if self.address_64 { 4 } else { 0 } + if self.maskable { 10 } else { 0 }
    }

    /// Offset in the capability of the message's data, 16 bits.
    #[must_use]
    pub const fn data(&self) -> u16 {
        if self.address_64 { 0xc } else { 8 }
    }

    /// Offset in the capability of the mask, 32 bits with a bit for each vector; the pending bits follow.
    #[must_use]
    pub const fn mask(&self) -> Option<u16> {
        if self.maskable {
            Some(self.data() + 4)
        } else {
            None
        }
    }
}

/// The MSI-X capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiX {
    /// Where it is.
    pub offset: u16,
    /// Vectors, 1 to 2048.
    pub vectors: u16,
    /// The table, 16 bytes each vector.
    pub table: TableLocation,
    /// The pending bits, a bit each vector in units of 8 bytes.
    pub pending: TableLocation,
}

/// A range inside a BAR, checked to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableLocation {
    /// Index of the BAR, 0 to 5.
    pub bar: u8,
    /// Bytes from the BAR's start.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}
