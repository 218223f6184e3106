//! IA32_APIC_BASE, and the registers of a local APIC in x2APIC mode: model-specific ones (Intel SDM volume 3, section 12.12).

use super::message::x2apic_logical;
use super::{Delivery, Destination, Effect, LocalApic, Message, Mode};
use spec::lapic::{BASE, Command, FIRST_VECTOR, register};
use spec::msr::{APIC_BASE_BSP, APIC_BASE_ENABLE, APIC_BASE_X2APIC};

/// The register is not there, cannot be accessed that way, or does not take the value: #GP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the local APIC has no such register, or it does not take this value")]
pub struct Refused;

/// Why IA32_APIC_BASE does not take a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    /// A change of mode that no processor makes: #GP.
    #[error("the local APIC does not go from {from:?} to this mode")]
    Transition {
        /// Its mode.
        from: Mode,
    },
    /// Another address, or another bootstrap processor: not offered.
    #[error("the local APIC stays where it is")]
    Fixed,
}

/// Bits of the low half of ICR that mean something: all but delivery status, remote read status and those above the shorthand.
const COMMAND_BITS: u32 = 0x000c_cfff;
/// The same of the registers that take less than 32 bits.
const fn writable(offset: u16) -> u32 {
    match offset {
        register::TPR => 0xff,
        // In this mode an end and a reset of the errors are zeros.
        register::EOI | register::ESR => 0,
        // Without suppression of broadcasts of ends, which the version does not offer.
        register::SPURIOUS => 0x3ff,
        register::LVT_TIMER => 0x3_10ff,
        register::LVT_THERMAL | register::LVT_PERFORMANCE => 0x1_17ff,
        register::LVT_LINT0 | register::LVT_LINT1 => 0x1_f7ff,
        register::LVT_ERROR => 0x1_10ff,
        register::TIMER_DIVIDE => 0xb,
        _ => u32::MAX,
    }
}

impl LocalApic {
    /// What IA32_APIC_BASE reads. vCPU 0 is the bootstrap processor.
    #[must_use]
    pub const fn base(&self) -> u64 {
        let boot = if self.id == 0 { APIC_BASE_BSP } else { 0 };
        let mode = match self.mode {
            Mode::Disabled => 0,
            Mode::XApic => APIC_BASE_ENABLE,
            Mode::X2Apic => APIC_BASE_ENABLE | APIC_BASE_X2APIC,
        };
        BASE | boot | mode
    }

    /// Writes IA32_APIC_BASE. From disabled it goes to xAPIC mode, and from x2APIC mode only to disabled; disabling forgets all state
    /// (Intel SDM volume 3, section 12.12.5.1).
    ///
    /// # Errors
    /// [`BaseError`]; nothing is changed.
    pub fn set_base(&mut self, value: u64) -> Result<Effect, BaseError> {
        let modes = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
        if value & !modes != self.base() & !modes {
            return Err(BaseError::Fixed);
        }
        let refused = BaseError::Transition { from: self.mode };
        let wanted = match value & modes {
            0 => Mode::Disabled,
            APIC_BASE_ENABLE => Mode::XApic,
            APIC_BASE_X2APIC => return Err(refused),
            _ => Mode::X2Apic,
        };
        match (self.mode, wanted) {
            (Mode::Disabled, Mode::X2Apic) | (Mode::X2Apic, Mode::XApic) => return Err(refused),
            (from, Mode::Disabled) if from != Mode::Disabled => {
                self.init();
                self.mode = Mode::Disabled;
            }
            _ => self.mode = wanted,
        }
        Ok(Effect::Readdressed)
    }

    /// Reads the register with number `msr - 0x800`, in x2APIC mode.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn read_msr(&self, number: u8, now: u64) -> Result<u64, Refused> {
        let offset = u16::from(number) * 16;
        Ok(match offset {
            register::ID => self.id.into(),
            register::LDR => x2apic_logical(self.id).into(),
            register::ICR_LOW => u64::from(self.command_high) << 32 | u64::from(self.command_low),
            _ => self.common(offset, now).ok_or(Refused)?.into(),
        })
    }

    /// Writes the register with number `msr - 0x800`, in x2APIC mode.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed.
    pub fn write_msr(&mut self, number: u8, value: u64, now: u64) -> Result<Effect, Refused> {
        let offset = u16::from(number) * 16;
        if offset == register::ICR_LOW {
            let (low, to) = (value as u32, (value >> 32) as u32);
            if low & !COMMAND_BITS != 0 {
                return Err(Refused);
            }
            self.command_high = to;
            return Ok(self.command(Command::from_bits(low), to));
        }
        let value = u32::try_from(value).map_err(|_| Refused)?;
        if offset == register::SELF_IPI {
            let vector = u8::try_from(value).map_err(|_| Refused)?;
            return Ok(self.self_ipi(vector));
        }
        if value & !writable(offset) != 0 {
            return Err(Refused);
        }
        self.set_common(offset, value, now).ok_or(Refused)
    }

    fn self_ipi(&mut self, vector: u8) -> Effect {
        if vector < FIRST_VECTOR {
            self.errors.insert(spec::lapic::ErrorStatus::SENT_ILLEGAL_VECTOR);
            return Effect::None;
        }
        Effect::Send(Message {
            destination: Destination::Sender,
            delivery: Delivery::Fixed(vector),
        })
    }
}
