//! Names: of devices, sets, owners, domains, and of what an IOMMU sees of a device.

use core::fmt;

use crate::pci::{Bdf, BdfText};

/// A device that can be assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceId {
    /// A PCI function that is neither a bridge nor a port.
    Pci(Bdf),
}

impl From<Bdf> for DeviceId {
    fn from(bdf: Bdf) -> Self {
        Self::Pci(bdf)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(bdf) => bdf.fmt(f),
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

/// Who a transaction says it is from: the requester id that the IOMMU sees.
///
/// Not always a function that exists: a PCIe-to-PCI bridge speaks for all behind it as device 0, function 0 of its
/// secondary bus (PCI Express to PCI/PCI-X Bridge Specification 1.0, section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requester {
    /// PCI segment group.
    pub segment: u16,
    /// Bus in bits 15:8, device in 7:3, function in 2:0.
    pub id: u16,
}

impl From<Bdf> for Requester {
    fn from(bdf: Bdf) -> Self {
        Self {
            segment: bdf.segment(),
            id: bdf.requester_id(),
        }
    }
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Bdf::from_requester_id(self.segment, self.id).fmt(f)
    }
}
