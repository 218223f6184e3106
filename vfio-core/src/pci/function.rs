//! A PCI function as discovery found it: the input of [`Topology`](super::Topology).

use super::{Acs, AcsCapability, Bdf};

/// What a function is, by its header type and its PCI Express capability (PCI Express Base Specification 6.0,
/// section 7.5.3.2, Device/Port Type).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortKind {
    /// A PCI Express endpoint, legacy endpoints included.
    Endpoint,
    /// An endpoint that is integrated in the root complex.
    RootComplexEndpoint,
    /// A function without a PCI Express capability that is no bridge.
    ConventionalEndpoint,
    /// A port of the root complex.
    RootPort,
    /// The port of a switch that faces the root.
    UpstreamPort,
    /// A port of a switch that faces devices.
    DownstreamPort,
    /// A bridge from PCI Express to conventional PCI.
    PcieToPciBridge,
    /// A bridge from conventional PCI to PCI Express.
    PciToPcieBridge,
    /// A bridge between conventional buses.
    ConventionalBridge,
    /// The host's own bridge to a root bus; it masters nothing and leads nowhere further.
    HostBridge,
}

impl PortKind {
    /// Whether functions can be found below it.
    #[must_use]
    pub const fn is_bridge(self) -> bool {
        matches!(
            self,
            Self::RootPort
                | Self::UpstreamPort
                | Self::DownstreamPort
                | Self::PcieToPciBridge
                | Self::PciToPcieBridge
                | Self::ConventionalBridge
        )
    }

    /// Whether it is a device, in the sense that it can be given to somebody.
    #[must_use]
    pub const fn is_endpoint(self) -> bool {
        matches!(
            self,
            Self::Endpoint | Self::RootComplexEndpoint | Self::ConventionalEndpoint
        )
    }
}

bitflags::bitflags! {
    /// The ways in which a function can be reset.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct ResetMethods: u8 {
        /// Function level reset of the PCI Express capability (section 6.6.2).
        const FLR = 1 << 0;
        /// Function level reset of the Advanced Features capability.
        const AF_FLR = 1 << 1;
        /// From D0 to D3hot and back, without `No_Soft_Reset` (section 5.3.1.4).
        const PM = 1 << 2;
        /// It takes part in a secondary bus reset of the bridge above.
        const BUS = 1 << 3;
        /// It takes part in a reset of the slot that it is in.
        const SLOT = 1 << 4;
    }
}

/// A reset that touches one function only, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FunctionReset {
    /// [`ResetMethods::FLR`]
    Flr,
    /// [`ResetMethods::AF_FLR`]
    AfFlr,
    /// [`ResetMethods::PM`]
    Pm,
}

impl ResetMethods {
    /// The best reset for the function alone, if there is one.
    #[must_use]
    pub const fn best_for_function(self) -> Option<FunctionReset> {
        if self.contains(Self::FLR) {
            Some(FunctionReset::Flr)
        } else if self.contains(Self::AF_FLR) {
            Some(FunctionReset::AfFlr)
        } else if self.contains(Self::PM) {
            Some(FunctionReset::Pm)
        } else {
            None
        }
    }
}

/// Why a device can be given to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotAssignable {
    /// A virtio device without `VIRTIO_F_ACCESS_PLATFORM` (virtio 1.2, section 6).
    #[error(
        "it bypasses the IOMMU: the virtio device does not offer VIRTIO_F_ACCESS_PLATFORM (QEMU: iommu_platform=on)"
    )]
    BypassesIommu,
    /// No IOMMU translates for it.
    #[error("no IOMMU translates its accesses")]
    NoIommu,
    /// It is on the list of devices that get out ([`Quirk::DENIED`](super::quirk::Quirk::DENIED)).
    #[error("devices of its kind are known to get past what should hold them")]
    Denied,
    /// The hypervisor itself works with it.
    #[error("the hypervisor uses it")]
    UsedByHypervisor,
    /// A physical function whose virtual functions are on without being listed as devices: nothing would keep them from
    /// working for one owner while another has the physical function.
    #[error(
        "its virtual functions are turned on and are not among the devices; turn them off in the firmware"
    )]
    HasVirtualFunctions,
    /// It must be reset before it is used, by its description, and nothing resets it.
    #[error("its description says that it must be reset, and it has no reset method")]
    NoReset,
    /// A header or capability list that makes no sense.
    #[error("its configuration space is malformed")]
    Malformed,
}

/// The buses behind a bridge, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusRange {
    /// The bus right behind the bridge.
    pub secondary: u8,
    /// The last bus behind the bridge.
    pub subordinate: u8,
}

/// A PCI function as discovery found it. Nothing in it is trusted before [`Topology::new`](super::Topology::new).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its address.
    pub bdf: Bdf,
    /// What it is.
    pub kind: PortKind,
    /// The bridge or port right above it; `None` on a root bus.
    pub parent: Option<Bdf>,
    /// The buses behind it; `None` for an endpoint, and for a bridge that nobody configured.
    pub buses: Option<BusRange>,
    /// Its ACS capability, if it has one.
    pub acs: Option<AcsCapability>,
    /// For an SR-IOV virtual function, the physical function that it belongs to.
    pub physical_function: Option<Bdf>,
    /// How it can be reset.
    pub resets: ResetMethods,
    /// Why it can be given to nobody, as far as discovery knows.
    pub not_assignable: Option<NotAssignable>,
}

impl Function {
    /// A function on a root bus with nothing special about it; the fields say the rest.
    #[must_use]
    pub const fn new(bdf: Bdf, kind: PortKind) -> Self {
        Self {
            bdf,
            kind,
            parent: None,
            buses: None,
            acs: None,
            physical_function: None,
            resets: ResetMethods::empty(),
            not_assignable: None,
        }
    }

    /// The ACS bits that would be needed here and are not in force.
    ///
    /// A root port or a function need not implement what it has no use for (a function that never talks to its
    /// peers has no redirection to turn on); a switch's downstream port must implement all of it, and every
    /// port must validate sources (section 6.12.1.1).
    pub(super) fn missing_acs(&self) -> Acs {
        let (all, mandatory) = match self.kind {
            PortKind::DownstreamPort => (Acs::PORT, Acs::PORT),
            PortKind::RootPort => (Acs::PORT, Acs::SOURCE_VALIDATION),
            _ => (Acs::FUNCTION, Acs::empty()),
        };
        match self.acs {
            None => all,
            Some(acs) => (all & acs.able | mandatory) - acs.enabled,
        }
    }
}
