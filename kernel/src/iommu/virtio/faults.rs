//! The event queue: blocked accesses, taken in bounded portions.

use super::{Channel, Error, Misbehaviour, VirtioIommu};
use crate::acpi::EndpointId;
use crate::addr::Iova;
use crate::iommu::{FaultAccess, FaultReason, Taken};
use spec::virtio_iommu::{self as wire, FaultFlags};
use zerocopy::FromBytes;

/// The most events taken in one call: a device that faults for ever must not keep the processor.
const PORTION: u64 = 512;

/// A fault under the device's own name for who caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointFault {
    /// Who tried.
    pub endpoint: EndpointId,
    /// Where, if the device says so.
    pub address: Option<Iova>,
    /// What was tried.
    pub access: FaultAccess,
    /// Why it was blocked.
    pub reason: FaultReason,
}

impl<C: Channel> VirtioIommu<C> {
    /// Takes the faults that the device has reported, a bounded portion, and gives every buffer back to it.
    ///
    /// The device drops faults when it has no buffer left, so their count is a lower bound.
    ///
    /// # Errors
    ///
    /// If the device is out of service, or goes there now.
    pub fn take_faults(&mut self, pass: &mut impl FnMut(EndpointFault)) -> Result<Taken, Error> {
        self.check_service()?;
        let mut taken = Taken::default();
        while taken.seen < PORTION {
            let event = match self.channel.next_fault() {
                Ok(None) => return Ok(taken),
                Ok(Some(event)) => event,
                Err(cause) => return Err(self.break_down(Misbehaviour::Events(cause))),
            };
            taken.seen += 1;
            match decode(&event) {
                None => self.malformed_faults = self.malformed_faults.saturating_add(1),
                Some(fault) => pass(fault),
            }
        }
        taken.more = true;
        Ok(taken)
    }

    /// Events that made no sense.
    #[must_use]
    pub const fn malformed_faults(&self) -> u64 {
        self.malformed_faults
    }
}

/// Decodes an event; `None` for one that no device may send (5.13.6.9: only the defined reasons).
fn decode(event: &[u8]) -> Option<EndpointFault> {
    let (fault, _) = wire::Fault::read_from_prefix(event).ok()?;
    let reason = match fault.reason {
        wire::FAULT_UNKNOWN => FaultReason::Unknown,
        wire::FAULT_DOMAIN => FaultReason::NoDomain,
        wire::FAULT_MAPPING => FaultReason::NoMapping,
        _ => return None,
    };
    let flags = FaultFlags::from_bits_retain(fault.flags.get());
    let access = match (
        flags.contains(FaultFlags::READ),
        flags.contains(FaultFlags::WRITE),
    ) {
        (true, false) => FaultAccess::Read,
        (false, true) => FaultAccess::Write,
        _ => FaultAccess::Unknown,
    };
    Some(EndpointFault {
        endpoint: EndpointId(fault.endpoint.get()),
        address: flags
            .contains(FaultFlags::ADDRESS)
            .then(|| Iova(fault.address.get())),
        access,
        reason,
    })
}
