//! The registers of a local APIC in xAPIC mode: 32 bits at multiples of 16 in a page.

use super::{Effect, LocalApic, Mode};
use spec::lapic::{Command, DFR_MODEL, ErrorStatus, LVT_MASKED, VERSION_VALUE, register};

/// Writable bits of the local entries that never fire.
const LOCAL_BITS: u32 = 0x1_a7ff;

impl LocalApic {
    /// Reads the 32-bit register at `offset`. One that does not exist reads 0 and is noted in ESR.
    pub fn read(&mut self, offset: u16, now: u64) -> u32 {
        match offset {
            register::ID => u32::from(self.id) << 24,
            register::APR => self.processor_priority().into(),
            register::LDR => u32::from(self.logical) << 24,
            register::DFR if self.cluster => !DFR_MODEL,
            register::DFR => u32::MAX,
            register::ICR_LOW => self.command_low,
            register::ICR_HIGH => self.command_high,
            register::EOI => 0,
            _ => self.common(offset, now).unwrap_or_else(|| {
                self.errors.insert(ErrorStatus::ILLEGAL_REGISTER);
                0
            }),
        }
    }

    /// Reads a register that is the same in both modes; `None` where none is at `offset`.
    pub(super) fn common(&self, offset: u16, now: u64) -> Option<u32> {
        let whole = offset.is_multiple_of(16);
        Some(match offset {
            register::VERSION => VERSION_VALUE,
            register::TPR => self.task_priority.into(),
            register::PPR => self.processor_priority().into(),
            register::SPURIOUS => self.spurious,
            register::ISR..register::TMR if whole => self.in_service.bank(offset),
            register::TMR..register::IRR if whole => self.level.bank(offset),
            register::IRR..register::ESR if whole => self.requested.bank(offset),
            register::ESR => self.errors_seen.bits(),
            register::LVT_TIMER => self.timer.lvt().into_bits(),
            register::LVT_THERMAL..=register::LVT_ERROR if whole => {
                return self.local.get(local_index(offset)).copied();
            }
            register::TIMER_INITIAL => self.timer.initial(),
            register::TIMER_CURRENT => self.timer.current(now),
            register::TIMER_DIVIDE => self.timer.divide(),
            _ => return None,
        })
    }

    /// Writes the 32-bit register at `offset`. A write to a register that does not exist or is read-only changes nothing; the former
    /// is noted in ESR.
    pub fn write(&mut self, offset: u16, value: u32, now: u64) -> Effect {
        match offset {
            register::LDR => {
                self.logical = (value >> 24) as u8;
                return Effect::Readdressed;
            }
            register::DFR => {
                self.cluster = value & DFR_MODEL == 0;
                return Effect::Readdressed;
            }
            register::ICR_LOW => {
                return self.command(Command::from_bits(value), self.command_high >> 24);
            }
            register::ICR_HIGH => self.command_high = value & 0xff00_0000,
            register::ID | register::VERSION | register::APR | register::PPR | register::TIMER_CURRENT => {}
            register::ISR..register::ESR if offset.is_multiple_of(16) => {}
            _ => {
                return self.set_common(offset, value, now).unwrap_or_else(|| {
                    self.errors.insert(ErrorStatus::ILLEGAL_REGISTER);
                    Effect::None
                });
            }
        }
        Effect::None
    }

    /// Writes a register that is the same in both modes; `None` where none that can be written is at `offset`.
    pub(super) fn set_common(&mut self, offset: u16, value: u32, now: u64) -> Option<Effect> {
        match offset {
            register::TPR => self.task_priority = value as u8,
            register::EOI => return Some(self.end_of_interrupt()),
            register::SPURIOUS => return Some(self.set_spurious(value)),
            register::ESR => {
                self.errors_seen = self.errors;
                self.errors = ErrorStatus::empty();
            }
            register::LVT_TIMER => self.timer.set_lvt(value, !self.enabled()),
            register::LVT_THERMAL..=register::LVT_ERROR if offset.is_multiple_of(16) => {
                let masked = if self.enabled() { 0 } else { LVT_MASKED };
                *self.local.get_mut(local_index(offset))? = value & LOCAL_BITS | masked;
            }
            register::TIMER_INITIAL => self.timer.start(value, now),
            register::TIMER_DIVIDE => self.timer.set_divide(value, now),
            _ => return None,
        }
        Some(Effect::None)
    }

    /// Whether the registers are in memory.
    #[must_use]
    pub const fn in_memory(&self) -> bool {
        matches!(self.mode, Mode::XApic)
    }
}

const fn local_index(offset: u16) -> usize {
    ((offset - register::LVT_THERMAL) / 16) as usize
}
