//! A model of the local APIC in xAPIC and x2APIC mode: what a guest needs for interrupts of devices, its timer, and messages between
//! its vCPUs.
//!
//! Pure: time comes in as time-stamp counter ticks, messages for other vCPUs go out as [`Effect`]s. One [`LocalApic`] belongs to one
//! vCPU, which alone works on it; what others have for it comes through the [`ApicBus`]. LINT0, LINT1, the thermal and the
//! performance entries can be written and never fire.

mod bus;
mod message;
mod registers;
mod sleepers;
mod timer;
mod vectors;
mod x2apic;

pub use bus::{ApicBus, Events};
pub use message::{Address, Delivery, Destination, Message, Mode};
pub use x2apic::{BaseError, Refused};

use spec::lapic::{Command, ErrorStatus, FIRST_VECTOR, LVT_MASKED, SPURIOUS_ENABLE};
use spec::lapic::{X2APIC_BROADCAST, XAPIC_BROADCAST, delivery, shorthand};
use timer::Timer;
use vectors::Vectors;

/// Highest number of vCPUs of one guest.
pub const MAX_CPUS: u8 = 32;

/// What a write to a register has the rest of the guest do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Nothing.
    None,
    /// [`ApicBus::send`] this.
    Send(Message),
    /// The level-triggered interrupt with this vector is over: I/O APICs are told.
    EndOfLevel(u8),
    /// It is addressed otherwise from now on: [`ApicBus::publish`].
    Readdressed,
}

/// The local APIC of one vCPU.
#[derive(Clone, Debug)]
pub struct LocalApic {
    id: u8,
    mode: Mode,
    task_priority: u8,
    spurious: u32,
    /// LDR of xAPIC mode, bits 31:24.
    logical: u8,
    /// DFR: the cluster model.
    cluster: bool,
    requested: Vectors,
    in_service: Vectors,
    /// Which of them are level-triggered.
    level: Vectors,
    errors: ErrorStatus,
    errors_seen: ErrorStatus,
    command_high: u32,
    command_low: u32,
    /// Thermal, performance, LINT0, LINT1, error.
    local: [u32; 5],
    timer: Timer,
}

impl LocalApic {
    /// The APIC `id`, below [`MAX_CPUS`], as after power-up: in xAPIC mode, disabled by software.
    #[must_use]
    pub fn new(id: u8) -> Self {
        Self {
            id,
            mode: Mode::XApic,
            task_priority: 0,
            spurious: 0xff,
            logical: 0,
            cluster: false,
            requested: Vectors::default(),
            in_service: Vectors::default(),
            level: Vectors::default(),
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

    /// Its mode.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Back to the state after reset, as INIT does, which leaves id and mode (Intel SDM volume 3, figure 12-27).
    pub fn init(&mut self) {
        let mode = self.mode;
        *self = Self::new(self.id);
        self.mode = mode;
    }

    /// How others address it.
    #[must_use]
    pub const fn address(&self) -> Address {
        Address {
            mode: self.mode,
            enabled: self.enabled(),
            cluster: self.cluster,
            logical: self.logical,
        }
    }

    const fn enabled(&self) -> bool {
        self.spurious & SPURIOUS_ENABLE != 0 && !matches!(self.mode, Mode::Disabled)
    }

    /// Takes an interrupt, `level`-triggered or not. `false` where it is lost, as in hardware: the APIC is disabled, or the vector is
    /// one of the reserved.
    pub fn accept(&mut self, vector: u8, level: bool) -> bool {
        if vector < FIRST_VECTOR {
            self.errors.insert(ErrorStatus::RECEIVED_ILLEGAL_VECTOR);
            return false;
        }
        if self.enabled() {
            self.requested.set(vector, true);
            self.level.set(vector, level);
        }
        self.enabled()
    }

    /// Lets the timer fire if it is due at `now`.
    pub fn advance(&mut self, now: u64) {
        if let Some(vector) = self.timer.expire(now) {
            self.accept(vector, false);
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

    fn end_of_interrupt(&mut self) -> Effect {
        let Some(vector) = self.in_service.highest() else {
            return Effect::None;
        };
        self.in_service.set(vector, false);
        if self.level.has(vector) {
            Effect::EndOfLevel(vector)
        } else {
            Effect::None
        }
    }

    fn set_spurious(&mut self, value: u32) -> Effect {
        self.spurious = value & 0x1ff;
        if !self.enabled() {
            self.local = self.local.map(|entry| entry | LVT_MASKED);
            self.timer.mask();
        }
        Effect::Readdressed
    }

    /// Carries out a command of ICR for the APICs that `to` names, in the format of the mode.
    fn command(&mut self, command: Command, to: u32) -> Effect {
        self.command_low = command.with_pending(false).into_bits();
        let vector = command.vector();
        let delivery = match command.delivery() {
            delivery::FIXED | delivery::LOWEST if vector < FIRST_VECTOR => {
                self.errors.insert(ErrorStatus::SENT_ILLEGAL_VECTOR);
                return Effect::None;
            }
            delivery::FIXED => Delivery::Fixed(vector),
            delivery::LOWEST => Delivery::Lowest(vector),
            delivery::NMI => Delivery::Nmi,
            // The de-assertion of INIT only sets arbitration ids.
            delivery::INIT if command.level() && !command.assert() => return Effect::None,
            delivery::INIT => Delivery::Init,
            delivery::START_UP => Delivery::StartUp(vector),
            _ => return Effect::None,
        };
        let fixed = matches!(delivery, Delivery::Fixed(_));
        let broadcast = match self.mode {
            Mode::X2Apic => to == X2APIC_BROADCAST,
            _ => to == XAPIC_BROADCAST.into(),
        };
        let destination = match command.shorthand() {
            // Only vectors go to the sender by a shorthand (Intel SDM volume 3, table 12-3).
            shorthand::SELF | shorthand::ALL if !fixed => return Effect::None,
            shorthand::SELF => Destination::Sender,
            shorthand::ALL => Destination::All,
            shorthand::OTHERS => Destination::Others,
            _ if broadcast => Destination::All,
            _ if command.logical() => Destination::Logical(to),
            _ => Destination::Physical(to),
        };
        Effect::Send(Message {
            destination,
            delivery,
        })
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
