//! The event queue: blocked accesses, taken in bounded portions and passed on at a bounded rate.

use super::{Channel, Error, Misbehaviour, VirtioIommu};
use crate::acpi::EndpointId;
use crate::addr::Iova;
use crate::iommu::{FaultAccess, FaultReason, FaultRecord, Verdict};
use spec::virtio_iommu::{self as wire, FaultFlags};
use zerocopy::FromBytes;

/// The most events taken in one call: a device that faults for ever must not keep the processor.
const PORTION: u32 = 512;

/// What one call has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultSummary {
    /// Events taken.
    pub seen: u32,
    /// Those passed on.
    pub reported: u32,
    /// There may be more; call again, after other work.
    pub more: bool,
}

impl<C: Channel> VirtioIommu<C> {
    /// Takes the faults that the device has reported and passes on what is new, at a limited rate. All are counted,
    /// and every buffer goes back to the device. `now` is monotonic, in nanoseconds.
    ///
    /// The device drops faults when it has no buffer left, so the count is a lower bound.
    ///
    /// # Errors
    ///
    /// If the device is out of service, or goes there now.
    pub fn poll_faults(
        &mut self,
        now: u64,
        report: &mut impl FnMut(FaultRecord),
    ) -> Result<FaultSummary, Error> {
        self.check_service()?;
        let mut summary = FaultSummary::default();
        while summary.seen < PORTION {
            let event = match self.channel.next_fault() {
                Ok(None) => return Ok(summary),
                Ok(Some(event)) => event,
                Err(cause) => return Err(self.break_down(Misbehaviour::Events(cause))),
            };
            summary.seen += 1;
            match decode(&event) {
                None => self.malformed_faults = self.malformed_faults.saturating_add(1),
                Some(fault) => {
                    if self.storm.judge(&fault, now) == Verdict::Report {
                        summary.reported += 1;
                        report(fault);
                    }
                }
            }
        }
        summary.more = true;
        Ok(summary)
    }

    /// All faults of `endpoint` so far, passed on or not.
    #[must_use]
    pub fn faults_of(&self, endpoint: EndpointId) -> u64 {
        self.storm.of(endpoint)
    }

    /// All faults so far, passed on or not.
    #[must_use]
    pub const fn faults(&self) -> u64 {
        self.storm.total()
    }

    /// Events that made no sense.
    #[must_use]
    pub const fn malformed_faults(&self) -> u64 {
        self.malformed_faults
    }
}

/// Decodes an event; `None` for one that no device may send (5.13.6.9: only the defined reasons).
fn decode(event: &[u8]) -> Option<FaultRecord> {
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
    Some(FaultRecord {
        endpoint: EndpointId(fault.endpoint.get()),
        address: flags
            .contains(FaultFlags::ADDRESS)
            .then(|| Iova(fault.address.get())),
        access,
        reason,
    })
}
