//! One open of one device, to be closed by hand.

use super::{CloseError, Counts, DeviceSet, Patience};
use crate::fault::Fault;
use crate::id::{DeviceId, Owner};
use crate::lease::DeviceOps;
use crate::sync::{Arc, assert_unlocked};

/// One open of one device: whoever has it may close the device once. It cannot be copied, so that a device is
/// never closed more often than it was opened. A [`Handle`](super::Handle) is one that closes itself.
///
/// ```compile_fail,E0382
/// # use vfio_core::{lease::DeviceOps, set::OpenToken};
/// fn closes_twice(token: OpenToken, ops: &impl DeviceOps) {
///     drop(token.close(ops));
///     drop(token.close(ops));
/// }
/// ```
#[derive(Debug)]
#[must_use = "the device stays open until the token is closed"]
pub struct OpenToken {
    pub(super) set: Arc<DeviceSet>,
    pub(super) device: DeviceId,
    pub(super) owner: Owner,
}

impl OpenToken {
    /// The device that is open.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// Who it is open for.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        self.owner
    }

    /// The set that the device is a member of.
    #[must_use]
    pub fn set(&self) -> &DeviceSet {
        &self.set
    }

    /// Opens of the device and of the whole set at this moment, this one included.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.set.counts(self.device)
    }

    /// Takes one open back; the device's last close runs [`DeviceOps::close_device`], while its own count and,
    /// if no other member is open, the set's count are still 1.
    ///
    /// # Errors
    /// [`CloseError`] says whether the device is still open.
    pub fn close(self, ops: &impl DeviceOps) -> Result<(), CloseError> {
        self.close_patiently(ops, Patience::NONE)
    }

    /// As [`close`](Self::close), and waits while the set is busy, as `patience` says.
    ///
    /// # Errors
    /// [`CloseError`] says whether the device is still open.
    pub fn close_patiently(self, ops: &impl DeviceOps, mut patience: Patience<'_>) -> Result<(), CloseError> {
        loop {
            let begun = self.set.state().begin_close(self.device);
            match begun {
                Ok(false) => return Ok(()),
                Ok(true) => break,
                Err(phase) => {
                    if !patience.wait() {
                        return Err(CloseError::Busy(phase, self));
                    }
                }
            }
        }
        assert_unlocked();
        let result = ops.close_device(self.device, self.owner);
        self.set.state().closed(self.device, result);
        result.map_err(CloseError::Failed)
    }

    /// Gives the open up without a close, which puts the set out of service.
    pub(super) fn abandon(self) {
        self.set.state().break_down(self.device, Fault::Busy);
    }
}
