//! What the hypervisor supplies: everything that touches a device or an IOMMU.
//!
//! Methods take `&self`: no lock of this crate is held while one runs, so that it may wait, and members of
//! different cohorts may be worked on at the same time. An `Err` means that nothing was changed, unless a method
//! says otherwise; a method that cannot keep that promise must put things back before it returns.

use crate::cohort::ResetAction;
use crate::domain::Mapping;
use crate::fault::Fault;
use crate::id::{DeviceId, DomainId, Owner, Requester};

/// I/O address spaces, and which one each requester is in.
///
/// # Safety
///
/// Memory safety of the hypervisor and of all guests rests on this. An implementation guarantees:
///
/// - After [`quarantine`](Self::quarantine) is `Ok`, no transaction with this requester id reaches memory, and
///   none that was let through before is still on its way to memory, until the next `attach` is called.
/// - From a call of [`attach`](Self::attach) until the next `quarantine` is `Ok`, whether `attach` fails or not,
///   transactions with this requester id reach no memory but the regions mapped in that domain, with the
///   access they are mapped with.
/// - [`map`](Self::map) makes reachable exactly the region, in that domain only, or nothing if it fails.
/// - A [`DomainId`] names no other domain until [`destroy_domain`](Self::destroy_domain) is `Ok`.
#[expect(
    unsafe_code,
    reason = "implementations promise isolation, which memory safety rests on"
)]
pub unsafe trait DmaDomains {
    /// A new domain that maps nothing.
    ///
    /// # Errors
    /// There is none left, or the IOMMU does not answer.
    fn create_domain(&self, owner: Owner) -> Result<DomainId, Fault>;

    /// Destroys a domain with all its mappings; no requester is attached to it.
    ///
    /// # Errors
    /// The IOMMU does not answer. The domain's number is lost then.
    fn destroy_domain(&self, domain: DomainId) -> Result<(), Fault>;

    /// Maps one region with the largest pages that there are. Called before the first `attach`: an IOMMU that
    /// forgets a domain without requesters (virtio-iommu) has its driver keep the list.
    ///
    /// # Errors
    /// The IOMMU cannot map the region, or does not answer.
    fn map(&self, domain: DomainId, region: Mapping) -> Result<(), Fault>;

    /// Moves a requester from quarantine to a domain.
    ///
    /// # Errors
    /// The IOMMU refuses or does not answer. The requester is put into quarantine next.
    fn attach(&self, domain: DomainId, requester: Requester) -> Result<(), Fault>;

    /// Moves a requester to the deny-all domain, invalidates what the IOMMU remembers, and waits until that is done.
    /// A requester that is there already may stay as it is.
    ///
    /// # Errors
    /// The IOMMU refuses or does not answer. The requester's cohort goes out of service.
    fn quarantine(&self, requester: Requester) -> Result<(), Fault>;
}

/// Making a device quiet.
pub trait Quiesce {
    /// Turns bus mastering off and masks all interrupts. Has no effect on a device that is quiet.
    ///
    /// # Errors
    /// The device does not respond.
    fn quiesce(&self, device: DeviceId) -> Result<(), Fault>;
}

/// Resetting devices.
pub trait Reset {
    /// Resets what `action` says and nothing else, waits as long as the bus demands, and restores what the reset
    /// wiped and the hypervisor needs (BARs, and whatever keeps the device quiet).
    ///
    /// # Errors
    /// The reset did not happen or did not end.
    fn reset(&self, action: &ResetAction) -> Result<(), Fault>;

    /// Whether the device answers as itself: its configuration space reads as it did.
    ///
    /// # Errors
    /// It does not.
    fn check_alive(&self, device: DeviceId) -> Result<(), Fault>;
}

/// Interrupts from devices.
pub trait Interrupts {
    /// Whether the platform keeps a device from raising interrupts that are not its own (interrupt remapping).
    fn interrupts_isolated(&self) -> bool;

    /// Makes the device's interrupts ready to be routed to `owner`.
    ///
    /// # Errors
    /// There are no vectors left, or the device refuses.
    fn enable_interrupts(&self, device: DeviceId, owner: Owner) -> Result<(), Fault>;

    /// Takes them away; none arrives for `owner` afterwards.
    ///
    /// # Errors
    /// They cannot be taken away.
    fn release_interrupts(&self, device: DeviceId) -> Result<(), Fault>;
}

/// What is done on a device's first open and last close, never at the same time for two members of a set.
pub trait DeviceOps {
    /// First open: prepares the device for `owner` (virtual configuration space, BARs). It is attached already.
    ///
    /// # Errors
    /// The device cannot be prepared.
    fn open_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault>;

    /// Last close: takes back all that [`open_device`](Self::open_device) gave. The device is attached still.
    ///
    /// # Errors
    /// Something could not be taken back. The device counts as closed, and its set goes out of service.
    fn close_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault>;

    /// After a reset that the owner asked for while the device is open: puts back what [`open_device`](Self::open_device)
    /// and [`enable_interrupts`](Interrupts::enable_interrupts) had set up and the reset took away. Without an
    /// implementation nothing is put back.
    ///
    /// # Errors
    /// It cannot be put back. The device stays open, and needs a reset.
    fn restore_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        let _ = (device, owner);
        Ok(())
    }
}

/// All that opening and closing a cohort needs.
pub trait Platform: DmaDomains + Quiesce + Reset + Interrupts + DeviceOps {}

impl<P: DmaDomains + Quiesce + Reset + Interrupts + DeviceOps> Platform for P {}
