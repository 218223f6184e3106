//! Accesses that nested paging stopped: registers that are emulated, or nothing.

use super::{Devices, Platform};
use crate::guest::{GuestFault, mmio, paging};
use crate::virt::{NestedFault, VcpuState};
use spec::{ioapic, lapic};

/// Guest physical addresses of the local APIC's registers.
const APIC: core::ops::Range<u64> = lapic::BASE..lapic::BASE + lapic::SIZE;
/// Those of the I/O APIC's.
const IOAPIC: core::ops::Range<u64> = ioapic::BASE..ioapic::BASE + ioapic::SIZE;

/// What an access reaches that nested paging stopped.
#[derive(Clone, Copy, Debug)]
enum Place {
    Apic(u16),
    IoApic(u64),
    Device,
    Nothing,
}

impl Platform {
    pub(super) fn access(
        &mut self,
        fault: NestedFault,
        vcpu: &mut impl VcpuState,
        devices: &mut impl Devices,
        now: u64,
    ) -> Result<(), GuestFault> {
        let (gpa, rip) = (fault.gpa, vcpu.rip());
        let nothing = GuestFault::Unmapped {
            gpa,
            write: fault.write,
            fetch: fault.fetch,
            rip,
        };
        if fault.fetch || fault.table_walk {
            return Err(nothing);
        }
        if fault.present {
            return Err(GuestFault::ReadOnly { gpa, rip });
        }
        let place = match gpa.0 {
            at if APIC.contains(&at) && self.apic.in_memory() => Place::Apic((at - APIC.start) as u16),
            at if IOAPIC.contains(&at) => Place::IoApic(at - IOAPIC.start),
            _ if devices.has(gpa) => Place::Device,
            // Where nothing is, no instruction needs decoding.
            _ if !self.lenient() => return Err(nothing),
            _ => Place::Nothing,
        };
        let bytes = paging::fetch(&self.board.memory, vcpu)?;
        let instruction =
            mmio::decode(&bytes, vcpu, gpa).map_err(|_| GuestFault::Instruction { rip, gpa })?;
        instruction.execute(vcpu, gpa, |access| {
            let refused = GuestFault::DeviceAccess {
                gpa,
                bytes: access.bytes,
                rip,
            };
            match (place, access.write) {
                // Nothing is on the bus: ones come back.
                (Place::Nothing, _) => Ok(u64::MAX),
                (Place::Apic(_) | Place::IoApic(_), _) if access.bytes != 4 || !gpa.0.is_multiple_of(4) => {
                    Err(refused)
                }
                (Place::Apic(offset), None) => Ok(self.apic.read(offset, now).into()),
                (Place::Apic(offset), Some(value)) => {
                    let effect = self.apic.write(offset, value as u32, now);
                    self.apply(effect);
                    Ok(0)
                }
                (Place::IoApic(offset), None) => Ok(self.board.ioapic.lock().read(offset).into()),
                (Place::IoApic(ioapic::register::END), Some(value)) => {
                    self.board.end_of_level(value as u8);
                    Ok(0)
                }
                (Place::IoApic(offset), Some(value)) => {
                    let bus = &self.board.bus;
                    let mut send = |message, level| bus.send(None, message, level);
                    self.board.ioapic.lock().write(offset, value as u32, &mut send);
                    Ok(0)
                }
                (Place::Device, None) => devices.read(gpa, access.bytes).ok_or(refused),
                (Place::Device, Some(value)) => devices
                    .write(gpa, access.bytes, value)
                    .then_some(0)
                    .ok_or(refused),
            }
        })
    }
}
