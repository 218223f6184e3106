//! An open object: its token is valid in one portal, and is given back when the session ends.

use super::{Portal, PortalError, PortalRegisters};
use crate::clock::Clock;
use crate::fsl_mc::ObjectId;
use crate::fsl_mc::spec::{Command, common};

/// An object that is open in a portal, which it borrows: nothing else can be sent meanwhile.
#[must_use = "a session that is dropped closes its object"]
#[derive(Debug)]
pub struct Session<'p, R: PortalRegisters, C: Clock> {
    portal: &'p mut Portal<R, C>,
    object: ObjectId,
    token: Option<u16>,
}

impl<'p, R: PortalRegisters, C: Clock> Session<'p, R, C> {
    pub(super) const fn new(portal: &'p mut Portal<R, C>, object: ObjectId, token: u16) -> Self {
        Self {
            portal,
            object,
            token: Some(token),
        }
    }

    /// The object.
    #[must_use]
    pub const fn object(&self) -> ObjectId {
        self.object
    }

    /// Sends a command in its first version.
    ///
    /// # Errors
    /// [`PortalError`].
    pub fn send<Q: Command>(&mut self, request: &Q) -> Result<Q::Response, PortalError> {
        self.send_version(1, request)
    }

    /// Sends a command in `version`.
    ///
    /// # Errors
    /// [`PortalError`].
    pub fn send_version<Q: Command>(&mut self, version: u8, request: &Q) -> Result<Q::Response, PortalError> {
        let token = self.token.ok_or(PortalError::OutOfUse)?;
        self.portal.send(version, token, request)
    }

    /// Closes the object.
    ///
    /// # Errors
    /// It stays open: [`Portal::unclosed`] counts it.
    pub fn close(mut self) -> Result<(), PortalError> {
        self.give_back()
    }

    fn give_back(&mut self) -> Result<(), PortalError> {
        let Some(token) = self.token.take() else {
            return Ok(());
        };
        let closed = self.portal.send(1, token, &common::Close);
        if closed.is_err() {
            self.portal.leave_unclosed();
        }
        closed.map(|_| ())
    }
}

impl<R: PortalRegisters, C: Clock> Drop for Session<'_, R, C> {
    fn drop(&mut self) {
        // The portal counts what it could not close.
        let _ = self.give_back();
    }
}
