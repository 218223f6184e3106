//! A portal that several devices send their commands through, one after the other.

use core::ops::{Deref, DerefMut};

use super::{Portal, PortalError, PortalRegisters};
use crate::clock::{Clock, MILLISECOND};
use crate::sync::{Claim, Claimed};

/// Between two looks whether the portal is free.
const POLL: u64 = MILLISECOND / 10;

/// A portal that several devices use. Whoever has it may wait for the complex with it, so that the others do not spin on
/// a lock but look again, for as long as one command may take.
pub struct SharedPortal<R, C> {
    portal: Claim<Portal<R, C>>,
    clock: C,
    limit: u64,
}

/// The portal, until this is dropped.
pub struct PortalGuard<'p, R, C>(Claimed<'p, Portal<R, C>>);

impl<R: PortalRegisters, C: Clock + Clone> SharedPortal<R, C> {
    /// `portal`, to be shared.
    #[must_use]
    pub fn new(portal: Portal<R, C>) -> Self {
        Self {
            clock: portal.clock.clone(),
            limit: portal.limit,
            portal: Claim::new(portal),
        }
    }

    /// The portal, for one user at a time.
    ///
    /// # Errors
    /// [`PortalError::InUse`]: somebody else has had it for as long as a command may take.
    pub fn acquire(&self) -> Result<PortalGuard<'_, R, C>, PortalError> {
        let start = self.clock.now();
        for _ in 0..=self.limit / POLL {
            if let Some(guard) = self.portal.take() {
                return Ok(PortalGuard(guard));
            }
            if self.clock.now().saturating_sub(start) >= self.limit {
                break;
            }
            self.clock.wait(POLL);
        }
        Err(PortalError::InUse)
    }
}

impl<R, C> Deref for PortalGuard<'_, R, C> {
    type Target = Portal<R, C>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<R, C> DerefMut for PortalGuard<'_, R, C> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
