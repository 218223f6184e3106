//! Bringing a unit up, from whatever state firmware left it in, so that it denies everything.
//!
//! Bus mastering is off in every device while this runs. A unit that translates with tables of the mode that is used here goes on
//! translating until it has taken the new, empty ones; any other is stopped first.

use super::hardware::{Memory, Registers, Walked};
use super::interrupts::{FRAMES, InterruptTable, SIZE};
use super::queue::{Queue, all_contexts, interrupts};
use super::scope::Coverage;
use super::{Act, InitError, InitErrorKind, Misbehaviour, Vtd};
use crate::iommu::Message;
use crate::memory::tables::{Format, FrameSource};
use alloc::collections::BTreeMap;
use spec::vtd::fault::BYTES;
use spec::vtd::register::{self, Capability, Extended, FaultControl, FaultStatus, Global, ProtectedMemory};
use vfio_core::clock::Clock;

/// What is known of a unit before it is asked.
#[derive(Clone, Debug)]
pub struct Description {
    /// Host physical address of its registers.
    pub base: u64,
    /// Bytes of registers.
    pub bytes: u64,
    /// Bits of a host physical address that DMA can use.
    pub address_bits: u16,
    /// Whom it translates for.
    pub coverage: Coverage,
    /// The platform remaps interrupts where the unit can.
    pub remap_interrupts: bool,
    /// Local APICs are in x2APIC mode.
    pub x2apic: bool,
    /// The message that says that there are faults; without one they are only looked for.
    pub fault_event: Option<Message>,
}

/// Levels of tables for a width that SAGAW has: 48 bits where there is the choice, since few machines have more to map.
const fn levels(widths: u8) -> Option<u8> {
    if widths & 1 << 2 != 0 {
        Some(4)
    } else if widths & 1 << 1 != 0 {
        Some(3)
    } else if widths & 1 << 3 != 0 {
        Some(5)
    } else {
        None
    }
}

/// Level of the largest page that SLLPS has.
const fn largest(large_pages: u8) -> u8 {
    match large_pages & 0b11 {
        0b11 => 3,
        0b01 => 2,
        _ => 1,
    }
}

impl<R: Registers, M: Memory, K: Clock> Vtd<R, M, K> {
    /// Brings the unit up. It translates, for nobody, when this returns: every access faults.
    ///
    /// # Errors
    /// It lacks something, or does not obey.
    pub fn init(mut registers: R, memory: M, clock: K, about: Description) -> Result<Self, InitError> {
        let base = about.base;
        let wrong = |kind| InitError { base, kind };
        if registers.read32(register::VERSION) == u32::MAX {
            return Err(wrong(Misbehaviour::Gone.into()));
        }
        let capability = Capability::from_bits(registers.read64(register::CAPABILITY));
        let extended = Extended::from_bits(registers.read64(register::EXTENDED));
        if !extended.queued_invalidation() {
            return Err(wrong(InitErrorKind::Missing("queued invalidation")));
        }
        let levels = levels(capability.widths()).ok_or(wrong(InitErrorKind::Widths(capability.widths())))?;
        let records = u64::from(capability.fault_offset()) * u64::from(BYTES)
            + (u64::from(capability.fault_records()) + 1) * u64::from(BYTES);
        if records > about.bytes {
            return Err(wrong(InitErrorKind::Window));
        }
        let mut memory = Walked {
            memory,
            coherent: extended.coherent(),
        };
        let none = wrong(InitErrorKind::NoMemory);
        let queue = Queue::new(&mut memory).ok_or(none)?;
        let root = memory.allocate().ok_or(none)?;
        let remaps = about.remap_interrupts && extended.interrupt_remapping();
        let interrupts = if remaps {
            let table = memory.memory.contiguous(FRAMES).ok_or(none)?;
            let x2apic = about.x2apic && extended.extended_interrupts();
            for frame in 0..FRAMES as u64 {
                memory.written(crate::addr::HostPhys(table.0 + frame * 4096));
            }
            Some(InterruptTable::new(table, x2apic))
        } else {
            None
        };
        let format = Format::vtd(levels, largest(capability.large_pages()));
        let domain_bits = 4 + 2 * u32::from(capability.domains().min(6));
        let mut unit = Self {
            registers,
            memory,
            clock,
            base,
            capability,
            extended,
            coverage: about.coverage,
            format,
            last_host: last_of(about.address_bits.into()),
            queue,
            root,
            contexts: BTreeMap::new(),
            parts: BTreeMap::new(),
            places: BTreeMap::new(),
            last_id: last_of(domain_bits) as u16,
            next_id: 0,
            interrupts,
            broken: None,
            commands: 0,
            overflows: 0,
        };
        unit.bring_up(about.fault_event)
            .map_err(|how| wrong(how.into()))?;
        Ok(unit)
    }

    fn bring_up(&mut self, fault_event: Option<Message>) -> Result<(), Misbehaviour> {
        self.stop_firmware()?;
        self.clear_faults();
        self.start_queue()?;
        self.set_root()?;
        self.start_interrupts()?;
        let on = Global::TRANSLATION;
        self.command(Act::Translation, on, Global::empty(), |status| {
            status.contains(on)
        })?;
        self.unprotect()?;
        self.enable_fault_event(fault_event);
        Ok(())
    }

    /// Stops what firmware left on and cannot stay: tables of another mode, its interrupt remapping, its queue.
    fn stop_firmware(&mut self) -> Result<(), Misbehaviour> {
        let status = self.status();
        let mode = self.registers.read64(register::ROOT_TABLE) & register::ROOT_MODE;
        let mut off = status & (Global::INTERRUPT_REMAPPING | Global::COMPATIBILITY);
        if status.contains(Global::TRANSLATION) && mode != 0 {
            off |= Global::TRANSLATION;
        }
        // One at a time, as the manual has it (11.4.4.1).
        for bit in off {
            self.command(Act::Stop, Global::empty(), bit, |status| !status.contains(bit))?;
        }
        let queue = Global::QUEUED_INVALIDATION;
        if status.contains(queue) {
            // What firmware asked for ends first; where that does not come, there is nothing to wait for.
            self.until(|unit| {
                unit.registers.read64(register::QUEUE_HEAD) == unit.registers.read64(register::QUEUE_TAIL)
            });
            self.command(Act::Stop, Global::empty(), queue, |status| {
                !status.contains(queue)
            })?;
        }
        Ok(())
    }

    /// Forgets what was recorded before.
    fn clear_faults(&mut self) {
        let first = u32::from(self.capability.fault_offset()) * BYTES;
        for record in 0..=u32::from(self.capability.fault_records()) {
            self.registers.write32(first + record * BYTES + 12, 1 << 31);
        }
        let errors = FaultStatus::all() - FaultStatus::PENDING;
        self.registers.write32(register::FAULT_STATUS, errors.bits());
    }

    fn start_queue(&mut self) -> Result<(), Misbehaviour> {
        self.registers.write64(register::QUEUE_TAIL, 0);
        self.registers
            .write64(register::QUEUE_ADDRESS, self.queue.frame.0);
        let on = Global::QUEUED_INVALIDATION;
        self.command(Act::Queue, on, Global::empty(), |status| status.contains(on))
    }

    /// Has the unit take the empty root table, and forget what it knew from another.
    fn set_root(&mut self) -> Result<(), Misbehaviour> {
        if self.capability.write_buffer_flush() {
            let busy = Global::WRITE_BUFFER_FLUSH;
            self.command(Act::WriteBuffers, busy, Global::empty(), |status| {
                !status.contains(busy)
            })?;
        }
        self.registers.write64(register::ROOT_TABLE, self.root.0);
        let set = Global::SET_ROOT_TABLE;
        self.command(Act::RootTable, set, Global::empty(), |status| {
            status.contains(set)
        })?;
        // In this order (11.4.5).
        self.submit(&[all_contexts()])?;
        let translations = self.all_translations();
        self.submit(&[translations])
    }

    /// Has the unit remap interrupts by the empty table; compatibility format stays off.
    fn start_interrupts(&mut self) -> Result<(), Misbehaviour> {
        let Some(table) = &self.interrupts else {
            return Ok(());
        };
        let extended = if table.extended {
            register::INTERRUPT_EXTENDED
        } else {
            0
        };
        self.registers
            .write64(register::INTERRUPT_TABLE, table.base.0 | extended | SIZE);
        let set = Global::SET_INTERRUPT_TABLE;
        self.command(Act::InterruptTable, set, Global::empty(), |status| {
            status.contains(set)
        })?;
        self.submit(&[interrupts(None)])?;
        let on = Global::INTERRUPT_REMAPPING;
        self.command(Act::Interrupts, on, Global::COMPATIBILITY, |status| {
            status.contains(on) && !status.contains(Global::COMPATIBILITY)
        })
    }

    /// Turns firmware's protected memory regions off: they would block what is mapped there.
    fn unprotect(&mut self) -> Result<(), Misbehaviour> {
        if !self.capability.protected_low() && !self.capability.protected_high() {
            return Ok(());
        }
        let read =
            |unit: &mut Self| ProtectedMemory::from_bits_retain(unit.registers.read32(register::PROTECTED));
        let now = read(self);
        if !now.intersects(ProtectedMemory::ENABLE | ProtectedMemory::STATUS) {
            return Ok(());
        }
        let off = now - ProtectedMemory::ENABLE;
        self.registers.write32(register::PROTECTED, off.bits());
        if self.until(|unit| !read(unit).contains(ProtectedMemory::STATUS)) {
            Ok(())
        } else {
            Err(Misbehaviour::Command(Act::ProtectedMemory))
        }
    }

    /// Has faults send a message. Those of the unit itself are not remapped (section 5.1.6).
    fn enable_fault_event(&mut self, message: Option<Message>) {
        let masked = FaultControl::MASKED.bits();
        self.registers.write32(register::FAULT_CONTROL, masked);
        if let Some(message) = message {
            self.registers.write32(register::FAULT_DATA, message.data);
            self.registers.write32(register::FAULT_ADDRESS, message.address);
            self.registers.write32(register::FAULT_UPPER, 0);
            self.registers.write32(register::FAULT_CONTROL, 0);
        }
    }
}

/// The last number of `bits` bits.
const fn last_of(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}
