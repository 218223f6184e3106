//! A model of the local APIC in xAPIC mode: what a guest needs for MSI-X, EOI, its timer and its own IPIs.
//!
//! Pure: time comes in as time-stamp counter ticks, interrupts for other vCPUs go out as [`Ipi`]s. LINT0, LINT1,
//! the thermal and the performance entries can be written and never fire. The logical destination is fixed:
//! bit `id` in the flat model, which is what systems program.

use super::apic_timer::Timer;
use spec::lapic::{
    Command, ErrorStatus, FIRST_VECTOR, LVT_MASKED, SPURIOUS_ENABLE, VERSION_VALUE, delivery, register,
    shorthand,
};

/// Highest number of vCPUs of one guest; also the width of [`Ipi::targets`].
pub const MAX_CPUS: u8 = 64;

/// An interrupt for other vCPUs of the same guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipi {
    /// APIC ids, a bit each; never the sender, never one that the guest does not have.
    pub targets: u64,
    /// What to do there.
    pub kind: IpiKind,
}

/// What an interrupt of another vCPU does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpiKind {
    /// [`LocalApic::accept`] this vector there.
    Fixed(u8),
    /// Raise NMI.
    Nmi,
    /// Reset and wait for start-up.
    Init,
    /// Start in real mode at this page number, if waiting for it.
    StartUp(u8),
}

/// 256 bits, one a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Vectors([u32; 8]);

impl Vectors {
    fn set(&mut self, vector: u8, on: bool) {
        let bit = 1 << (vector % 32);
        let word = &mut self.0[usize::from(vector / 32)];
        *word = if on { *word | bit } else { *word & !bit };
    }

    fn highest(&self) -> Option<u8> {
        let (at, word) = self.0.iter().enumerate().rev().find(|(_, word)| **word != 0)?;
        Some(at as u8 * 32 + (31 - word.leading_zeros()) as u8)
    }
}

/// The local APIC of one vCPU.
#[derive(Clone, Debug)]
pub struct LocalApic {
    id: u8,
    cpus: u8,
    task_priority: u8,
    spurious: u32,
    requested: Vectors,
    in_service: Vectors,
    errors: ErrorStatus,
    errors_seen: ErrorStatus,
    command_high: u32,
    command_low: u32,
    /// Thermal, performance, LINT0, LINT1, error.
    local: [u32; 5],
    timer: Timer,
}

impl LocalApic {
    /// The APIC `id` of a guest with `cpus` vCPUs (1 to [`MAX_CPUS`]), as after reset.
    #[must_use]
    pub fn new(id: u8, cpus: u8) -> Self {
        Self {
            id,
            cpus: cpus.clamp(1, MAX_CPUS),
            task_priority: 0,
            spurious: 0xff,
            requested: Vectors::default(),
            in_service: Vectors::default(),
            errors: ErrorStatus::empty(),
            errors_seen: ErrorStatus::empty(),
            command_high: 0,
            command_low: 0,
            local: [LVT_MASKED; 5],
            timer: Timer::default(),
        }
    }

    /// Its id, which is the vCPU's number.
    #[must_use]
    pub const fn id(&self) -> u8 {
        self.id
    }

    /// Back to the state after reset, as INIT does.
    pub fn reset(&mut self) {
        *self = Self::new(self.id, self.cpus);
    }

    const fn enabled(&self) -> bool {
        self.spurious & SPURIOUS_ENABLE != 0
    }

    /// Takes an edge-triggered interrupt. `false` where it is lost, as in hardware: the APIC is disabled by
    /// software, or the vector is one of the reserved.
    pub fn accept(&mut self, vector: u8) -> bool {
        if vector < FIRST_VECTOR {
            self.errors.insert(ErrorStatus::RECEIVED_ILLEGAL_VECTOR);
            return false;
        }
        if self.enabled() {
            self.requested.set(vector, true);
        }
        self.enabled()
    }

    /// Lets the timer fire if it is due at `now`.
    pub fn advance(&mut self, now: u64) {
        if let Some(vector) = self.timer.expire(now) {
            self.accept(vector);
        }
    }

    /// When [`advance`](Self::advance) next has something to do, in ticks; `None` while no timer runs unmasked.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.timer.deadline().filter(|_| self.enabled())
    }

    /// The processor priority: interrupts of a higher class than its bits 7:4 are delivered.
    #[must_use]
    pub fn processor_priority(&self) -> u8 {
        let serving = self.in_service.highest().unwrap_or(0) & 0xf0;
        if self.task_priority & 0xf0 >= serving {
            self.task_priority
        } else {
            serving
        }
    }

    /// The vector to deliver next, if one has the priority. It stays pending until
    /// [`acknowledge`](Self::acknowledge).
    #[must_use]
    pub fn next_interrupt(&self) -> Option<u8> {
        let vector = self.requested.highest().filter(|_| self.enabled())?;
        (vector & 0xf0 > self.processor_priority() & 0xf0).then_some(vector)
    }

    /// The vCPU takes `vector`: from requested to in service.
    pub fn acknowledge(&mut self, vector: u8) {
        self.requested.set(vector, false);
        self.in_service.set(vector, true);
    }

    /// Any interrupt is requested, whether or not its priority lets it through.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.requested.highest().is_some()
    }

    /// Reads the 32-bit register at `offset`. One that does not exist reads 0 and is noted in ESR.
    pub fn read(&mut self, offset: u16, now: u64) -> u32 {
        let bank = |vectors: &Vectors| vectors.0[usize::from(offset / 16 % 8)];
        match offset {
            register::ID => u32::from(self.id) << 24,
            register::VERSION => VERSION_VALUE,
            register::TPR => self.task_priority.into(),
            register::APR | register::PPR => self.processor_priority().into(),
            register::LDR => (1u32.checked_shl(24 + u32::from(self.id))).unwrap_or(0),
            register::DFR => u32::MAX,
            register::SPURIOUS => self.spurious,
            register::ISR..register::TMR if offset.is_multiple_of(16) => bank(&self.in_service),
            // Everything is edge-triggered.
            register::TMR..register::IRR if offset.is_multiple_of(16) => 0,
            register::IRR..register::ESR if offset.is_multiple_of(16) => bank(&self.requested),
            register::ESR => self.errors_seen.bits(),
            register::ICR_LOW => self.command_low,
            register::ICR_HIGH => self.command_high,
            register::LVT_TIMER => self.timer.lvt().into_bits(),
            register::LVT_THERMAL..=register::LVT_ERROR if offset.is_multiple_of(16) => {
                self.local[local_index(offset)]
            }
            register::TIMER_INITIAL => self.timer.initial(),
            register::TIMER_CURRENT => self.timer.current(now),
            register::TIMER_DIVIDE => self.timer.divide(),
            register::EOI => 0,
            _ => {
                self.errors.insert(ErrorStatus::ILLEGAL_REGISTER);
                0
            }
        }
    }

    /// Writes the 32-bit register at `offset`, and returns what it sends to other vCPUs. A write to a register
    /// that does not exist or is read-only changes nothing; the former is noted in ESR.
    pub fn write(&mut self, offset: u16, value: u32, now: u64) -> Option<Ipi> {
        match offset {
            register::TPR => self.task_priority = value as u8,
            register::EOI => self.end_of_interrupt(),
            register::SPURIOUS => {
                self.spurious = value & 0x1ff;
                if !self.enabled() {
                    self.local = self.local.map(|entry| entry | LVT_MASKED);
                    self.timer.mask();
                }
            }
            register::ESR => {
                self.errors_seen = self.errors;
                self.errors = ErrorStatus::empty();
            }
            register::ICR_LOW => return self.command(value),
            register::ICR_HIGH => self.command_high = value & 0xff00_0000,
            register::LVT_TIMER => self.timer.set_lvt(value, !self.enabled()),
            register::LVT_THERMAL..=register::LVT_ERROR if offset.is_multiple_of(16) => {
                let masked = if self.enabled() { 0 } else { LVT_MASKED };
                self.local[local_index(offset)] = value & 0x1_a7ff | masked;
            }
            register::TIMER_INITIAL => self.timer.start(value, now),
            register::TIMER_DIVIDE => self.timer.set_divide(value, now),
            register::ID | register::VERSION | register::APR | register::PPR => {}
            register::LDR | register::DFR | register::TIMER_CURRENT => {}
            register::ISR..register::ESR if offset.is_multiple_of(16) => {}
            _ => self.errors.insert(ErrorStatus::ILLEGAL_REGISTER),
        }
        None
    }

    fn end_of_interrupt(&mut self) {
        if let Some(vector) = self.in_service.highest() {
            self.in_service.set(vector, false);
        }
    }

    fn command(&mut self, value: u32) -> Option<Ipi> {
        let command = Command::from_bits(value);
        self.command_low = command.with_pending(false).into_bits();
        let kind = match command.delivery() {
            delivery::FIXED | delivery::LOWEST if command.vector() < FIRST_VECTOR => {
                self.errors.insert(ErrorStatus::SENT_ILLEGAL_VECTOR);
                return None;
            }
            delivery::FIXED | delivery::LOWEST => IpiKind::Fixed(command.vector()),
            delivery::NMI => IpiKind::Nmi,
            // The de-assertion of INIT only sets arbitration ids.
            delivery::INIT if command.level() && !command.assert() => return None,
            delivery::INIT => IpiKind::Init,
            delivery::START_UP => IpiKind::StartUp(command.vector()),
            _ => return None,
        };
        let mut targets = self.targets(command);
        if command.delivery() == delivery::LOWEST {
            // Any one of them may serve as the lowest.
            targets &= targets.wrapping_neg();
        }
        let this = 1u64 << self.id;
        if targets & this != 0
            && let IpiKind::Fixed(vector) = kind
        {
            self.accept(vector);
        }
        targets &= !this;
        (targets != 0).then_some(Ipi { targets, kind })
    }

    fn targets(&self, command: Command) -> u64 {
        let all = u64::MAX >> (64 - u32::from(self.cpus));
        let this = 1u64 << self.id;
        let destination = self.command_high >> 24;
        match command.shorthand() {
            shorthand::SELF => this,
            shorthand::ALL => all,
            shorthand::OTHERS => all & !this,
            _ if destination == 0xff => all,
            _ if command.logical() => u64::from(destination) & all,
            _ => 1u64.checked_shl(destination).unwrap_or(0) & all,
        }
    }
}

const fn local_index(offset: u16) -> usize {
    ((offset - register::LVT_THERMAL) / 16) as usize
}

#[cfg(test)]
#[path = "apic_tests.rs"]
mod tests;
