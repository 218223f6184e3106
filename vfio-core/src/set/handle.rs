//! A handle: one open of a device that closes itself.

use super::{CloseError, Counts, DeviceSet, OpenError, OpenToken, Patience, Registration};
use crate::id::{DeviceId, Owner};
use crate::lease::DeviceOps;

/// One open of a device. The first open of the device ran [`DeviceOps::open_device`], and dropping the last runs
/// [`DeviceOps::close_device`]. It lives no longer than the registration, or the lease, that it is of.
///
/// There is no way to close a device more often than it was opened:
///
/// ```compile_fail,E0382
/// # use vfio_core::{lease::DeviceOps, set::Handle};
/// fn closes_twice<O: DeviceOps>(handle: Handle<'_, O>) {
///     drop(handle.close());
///     drop(handle.close());
/// }
/// ```
///
/// ```compile_fail,E0599
/// # use vfio_core::{lease::DeviceOps, set::Handle};
/// fn copies<O: DeviceOps>(handle: Handle<'_, O>) -> (Handle<'_, O>, Handle<'_, O>) {
///     (handle.clone(), handle)
/// }
/// ```
///
/// nor to give the device back while a handle on it lives:
///
/// ```compile_fail,E0505
/// # use vfio_core::{lease::DeviceOps, set::{Patience, Registration, SetTable}, Owner};
/// fn outlives(table: &SetTable, registration: Registration, ops: &impl DeviceOps) {
///     let handle = registration.hold(Owner::Guest(1), ops, Patience::NONE).unwrap();
///     table.unregister(registration).unwrap();
///     drop(handle);
/// }
/// ```
#[must_use = "dropping the handle closes the device"]
pub struct Handle<'r, O: DeviceOps> {
    registration: &'r Registration,
    ops: &'r O,
    patience: Patience<'r>,
    token: Option<OpenToken>,
}

impl<O: DeviceOps> core::fmt::Debug for Handle<'_, O> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Handle").field("token", &self.token).finish()
    }
}

impl Registration {
    /// Opens the device for `owner` by a handle that closes it. While another member's first open, last close, or a reset
    /// runs, `patience` says whether to be refused or to wait; it says so for the close too.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way.
    pub fn hold<'r, O: DeviceOps>(
        &'r self,
        owner: Owner,
        ops: &'r O,
        patience: Patience<'r>,
    ) -> Result<Handle<'r, O>, OpenError> {
        let token = self.open_patiently(owner, ops, patience)?;
        Ok(Handle {
            registration: self,
            ops,
            patience,
            token: Some(token),
        })
    }
}

impl<'r, O: DeviceOps> Handle<'r, O> {
    /// The device.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.registration.device()
    }

    /// Who it is open for; `None` while it is being closed.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.token.as_ref().map(OpenToken::owner)
    }

    /// The set that the device is a member of.
    #[must_use]
    pub fn set(&self) -> &'r DeviceSet {
        self.registration.set()
    }

    /// Opens of the device and of the whole set at this moment, this one included.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.set().counts(self.device())
    }

    /// Closes it, and says how that went.
    ///
    /// # Errors
    /// The set was busy for longer than its patience ([`CloseError::Busy`]; the token in it is all that is left of the
    /// handle, to close with later), or the last close failed.
    pub fn close(mut self) -> Result<(), CloseError> {
        match self.token.take() {
            Some(token) => token.close_patiently(self.ops, self.patience),
            None => Ok(()),
        }
    }
}

impl<O: DeviceOps> Drop for Handle<'_, O> {
    fn drop(&mut self) {
        let Some(token) = self.token.take() else { return };
        // A failing last close shows in the set's phase. One that found no time to run shows there too: nobody else
        // can close this open any more, and the set must not look as if it could be used.
        if let Err(CloseError::Busy(_, token)) = token.close_patiently(self.ops, self.patience) {
            token.abandon();
        }
    }
}
