//! Names: of devices, sets, owners, domains, and of what an IOMMU sees of a device.

use core::fmt;

use crate::fsl_mc::ObjectId;
use crate::mediated::MediatedId;
use crate::pci::{Bdf, BdfText};
use crate::platform::PlatformId;

/// A device that can be assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceId {
    /// A PCI function that is neither a bridge nor a port.
    Pci(Bdf),
    /// An object of an fsl-mc Management Complex, containers included.
    FslMc(ObjectId),
    /// A platform device: fixed registers and interrupts.
    Platform(PlatformId),
    /// A mediated device: software that looks like one.
    Mediated(MediatedId),
}

impl DeviceId {
    /// Its PCI address, if it is a PCI function.
    #[must_use]
    pub const fn pci(self) -> Option<Bdf> {
        match self {
            Self::Pci(bdf) => Some(bdf),
            _ => None,
        }
    }
}

impl From<Bdf> for DeviceId {
    fn from(bdf: Bdf) -> Self {
        Self::Pci(bdf)
    }
}

impl From<ObjectId> for DeviceId {
    fn from(id: ObjectId) -> Self {
        Self::FslMc(id)
    }
}

impl From<PlatformId> for DeviceId {
    fn from(id: PlatformId) -> Self {
        Self::Platform(id)
    }
}

impl From<MediatedId> for DeviceId {
    fn from(id: MediatedId) -> Self {
        Self::Mediated(id)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(bdf) => bdf.fmt(f),
            Self::FslMc(object) => object.fmt(f),
            Self::Platform(device) => device.fmt(f),
            Self::Mediated(device) => device.fmt(f),
        }
    }
}

/// What makes devices one set: the scope that opens and resets them together.
///
/// A typed key and not an address of some object: it can neither be re-used by accident nor dereferenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetId {
    /// The device alone: root-bus functions, virtual functions, and whatever registers without a set.
    Own(DeviceId),
    /// A slot below a PCI Express port, which resets it as a whole.
    PciSlot {
        /// PCI segment group.
        segment: u16,
        /// Bus number.
        bus: u8,
        /// Slot (device) number, 0 to 31.
        slot: u8,
    },
    /// A whole bus below a bridge, where no smaller scope can be reset.
    PciBus {
        /// PCI segment group.
        segment: u16,
        /// Bus number.
        bus: u8,
    },
    /// An fsl-mc container with the objects directly inside it.
    Dprc(ObjectId),
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(device) => write!(f, "device {device}"),
            Self::PciSlot { segment, bus, slot } => {
                f.write_str("slot ")?;
                f.write_str(BdfText::new(Bdf::new(*segment, *bus, *slot, 0)).slot())
            }
            Self::PciBus { segment, bus } => {
                f.write_str("bus ")?;
                f.write_str(BdfText::new(Bdf::new(*segment, *bus, 0, 0)).bus())
            }
            Self::Dprc(container) => write!(f, "container {container}"),
        }
    }
}

/// Who holds a cohort: a guest, by the number that the hypervisor gave it, or the hypervisor itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The hypervisor, for its own use.
    Hypervisor,
    /// A guest.
    Guest(u32),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hypervisor => f.write_str("the hypervisor"),
            Self::Guest(number) => write!(f, "guest {number}"),
        }
    }
}

/// A domain as the IOMMU driver numbers it; it means nothing to any other driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u32);

impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "domain {}", self.0)
    }
}

/// Who a transaction says it is from: what the IOMMU sees of a device.
///
/// On PCI not always a function that exists: a PCIe-to-PCI bridge speaks for all behind it as device 0, function 0 of
/// its secondary bus (PCI Express to PCI/PCI-X Bridge Specification 1.0, section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Requester {
    /// A PCI requester id.
    Pci {
        /// PCI segment group.
        segment: u16,
        /// Bus in bits 15:8, device in 7:3, function in 2:0.
        id: u16,
    },
    /// A stream id of a bus that has no requester ids: an fsl-mc container's ICID, a platform device's stream.
    Stream(u32),
}

impl Requester {
    /// It as a PCI address, if it is a requester id.
    #[must_use]
    pub const fn pci(self) -> Option<Bdf> {
        match self {
            Self::Pci { segment, id } => Some(Bdf::from_requester_id(segment, id)),
            Self::Stream(_) => None,
        }
    }
}

impl From<Bdf> for Requester {
    fn from(bdf: Bdf) -> Self {
        Self::Pci {
            segment: bdf.segment(),
            id: bdf.requester_id(),
        }
    }
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci { segment, id } => Bdf::from_requester_id(*segment, *id).fmt(f),
            Self::Stream(id) => write!(f, "stream {id:#x}"),
        }
    }
}
