//! What a container's interrupt says.

use crate::clock::Clock;
use crate::fsl_mc::portal::{PortalError, PortalRegisters, Session};
use crate::fsl_mc::spec::dprc::Events;
use crate::fsl_mc::spec::irq::{ClearIrqStatus, GetIrqStatus};

/// The interrupt that a container's events raise.
const INDEX: u8 = 0;

/// Reads the events of the container that is open, and clears those that were read: what happens after that raises the
/// interrupt again, so a scan that follows misses nothing.
///
/// # Errors
/// [`PortalError`]. Nothing may have been cleared.
pub fn take_events<R: PortalRegisters, C: Clock>(
    session: &mut Session<'_, R, C>,
) -> Result<Events, PortalError> {
    let request = GetIrqStatus {
        status: 0,
        index: INDEX,
    };
    let status = session.send(&request)?.status;
    if status != 0 {
        session.send(&ClearIrqStatus { status, index: INDEX })?;
    }
    Ok(Events::from_bits_retain(status))
}

/// Whether objects may have come, gone or changed. Events that are not known count as that.
#[must_use]
pub const fn needs_scan(events: Events) -> bool {
    !events.is_empty()
}
