//! Why a device can be given to nobody, on whatever bus it is.

use crate::fsl_mc;
use crate::platform::DescriptionError;

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
    /// Firmware has it use memory that no guest's domain maps (RMRR of VT-d, IVMD of AMD-Vi): it may go on doing so at any time,
    /// whatever its owner thinks, and does not work without.
    #[error(
        "firmware reserves memory for its own use of the device (RMRR or IVMD), which a guest's domain does not map; \
         if the firmware's setup has a switch for that use (USB legacy, remote management), turn it off"
    )]
    ReservedMemory,
    /// IVRS has messages of it pass to processors that are no interrupts of a driver: INIT, NMI, and the like.
    #[error("firmware has its messages to the system (INIT, NMI and the like) pass to the processors")]
    SystemMessages,
    /// IVRS has it speak as another device, for a reason that is not in the topology of PCI.
    #[error(
        "firmware says that the IOMMU sees it as another device, and PCI's topology does not explain why"
    )]
    UnexplainedAlias,
    /// QEMU's amd-iommu looks it up under another device's requester id.
    #[error(
        "an emulated AMD-Vi unit (QEMU's amd-iommu) takes a device behind a bridge for the one of bus 0 with its device number; \
         put it on the root bus, or use another IOMMU"
    )]
    EmulatedAlias,
    /// It is on the list of devices that get out ([`Quirk::DENIED`](crate::pci::quirk::Quirk::DENIED)).
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
    /// Something keeps an fsl-mc object from it.
    #[error(transparent)]
    FslMc(#[from] fsl_mc::NotAssignable),
    /// The description of a platform device makes no sense.
    #[error("its description makes no sense ({0}); correct it in the firmware")]
    Description(#[from] DescriptionError),
}
