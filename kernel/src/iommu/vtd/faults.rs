//! Fault recording registers: blocked accesses, taken in bounded portions.
//!
//! A unit has few records and drops what does not fit, so that what is counted is a lower bound; that it dropped something is
//! noted.

use super::hardware::{Memory, Registers};
use super::{Error, Misbehaviour, Vtd};
use crate::addr::Iova;
use crate::iommu::{FaultAccess, FaultReason, FaultRecord, Taken};
use spec::vtd::fault::{BYTES, High, reason};
use spec::vtd::register::{FAULT_STATUS, FaultStatus};
use vfio_core::Requester;
use vfio_core::clock::Clock;

/// Where the half with the flag is in a record, and the 32 bits of it that have the flag.
const HIGH: u32 = 8;
const FLAG: u32 = 12;
/// The flag in those.
const IN_USE: u32 = 1 << 31;

impl<R: Registers, M: Memory, K: Clock> Vtd<R, M, K> {
    /// Takes what the unit has recorded: each record once.
    ///
    /// # Errors
    /// The unit is out of service, or goes there now.
    pub fn take_faults(&mut self, pass: &mut dyn FnMut(FaultRecord)) -> Result<Taken, Error> {
        self.check_service()?;
        let bits = self.registers.read32(FAULT_STATUS);
        if bits == u32::MAX {
            return Err(self.break_down(Misbehaviour::Gone));
        }
        let status = FaultStatus::from_bits_retain(bits);
        let mut taken = Taken::default();
        if status.intersects(FaultStatus::PENDING | FaultStatus::OVERFLOW) {
            let first = u32::from(self.capability.fault_offset()) * BYTES;
            for record in 0..=u32::from(self.capability.fault_records()) {
                let at = first + record * BYTES;
                let high = High::from_bits(self.registers.read64(at + HIGH));
                if !high.fault() {
                    continue;
                }
                let low = self.registers.read64(at);
                self.registers.write32(at + FLAG, IN_USE);
                taken.seen += 1;
                pass(decode(self.coverage.segment(), low, high));
            }
        }
        if status.contains(FaultStatus::OVERFLOW) {
            self.registers.write32(FAULT_STATUS, FaultStatus::OVERFLOW.bits());
            self.overflows = self.overflows.saturating_add(1);
        }
        Ok(taken)
    }

    /// How often the unit said that it had dropped faults, since all its records were in use.
    #[must_use]
    pub const fn overflows(&self) -> u64 {
        self.overflows
    }
}

fn decode(segment: u16, low: u64, high: High) -> FaultRecord {
    let interrupt = (reason::FIRST_INTERRUPT..=reason::LAST_INTERRUPT).contains(&high.reason());
    let why = match high.reason() {
        reason::ROOT_NOT_PRESENT | reason::CONTEXT_NOT_PRESENT => FaultReason::NoDomain,
        reason::WRITE | reason::READ | reason::BEYOND_WIDTH => FaultReason::NoMapping,
        _ if interrupt => FaultReason::Interrupt,
        _ => FaultReason::Unknown,
    };
    FaultRecord {
        requester: Some(Requester::Pci {
            segment,
            id: high.source(),
        }),
        address: (!interrupt).then_some(Iova(low & !0xfff)),
        access: match (high.type2(), high.read()) {
            _ if interrupt => FaultAccess::Write,
            (false, false) => FaultAccess::Write,
            (false, true) => FaultAccess::Read,
            (true, _) => FaultAccess::Unknown,
        },
        reason: why,
    }
}
