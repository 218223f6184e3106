//! Between the vCPUs of a guest: who can be addressed how, and what was sent to whom and not been taken yet.
//!
//! Each vCPU alone works on its own [`LocalApic`]; what others and devices have for it they leave here, in atomics, without a lock,
//! and it collects that before it enters the guest. Whoever leaves something where nothing lay since the last collection notes that
//! the vCPU must be kicked, and whoever runs a vCPU sends what was noted ([`ApicBus::take_kicks`]) before it does anything that can
//! wait. A kick that arrives while the vCPU is not in the guest stays pending, so none is lost.

use super::message::{Address, Delivery, Destination, Message, Mode, targets};
use super::sleepers::Sleepers;
use super::{LocalApic, MAX_CPUS};
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use alloc::boxed::Box;

/// In [`Seat::events`]: raise NMI.
const NMI: u32 = 1 << 8;
/// Reset and wait for start-up.
const INIT: u32 = 1 << 9;
/// Start at the page in bits 7:0.
const START_UP: u32 = 1 << 10;
const PAGE: u32 = 0xff;

/// What lies for one vCPU.
#[derive(Debug)]
struct Seat {
    /// [`Address`], of which the vCPU is the only writer.
    address: AtomicU32,
    requested: [AtomicU32; 8],
    /// Of the requested vectors, those whose interrupt is level-triggered.
    level: [AtomicU32; 8],
    events: AtomicU32,
    /// Something was left since the vCPU last began to collect.
    left: AtomicBool,
}

impl Seat {
    fn new() -> Self {
        let words = || core::array::from_fn(|_| AtomicU32::new(0));
        Self {
            address: AtomicU32::new(0),
            requested: words(),
            level: words(),
            events: AtomicU32::new(0),
            left: AtomicBool::new(false),
        }
    }

    /// An INIT takes back a start-up before it; a start-up that already waits stays the one that counts.
    fn add_event(&self, delivery: Delivery) {
        let change = |events: u32| match delivery {
            Delivery::Fixed(_) | Delivery::Lowest(_) => events,
            Delivery::Nmi => events | NMI,
            Delivery::Init => events & !(START_UP | PAGE) | INIT,
            Delivery::StartUp(_) if events & START_UP != 0 => events,
            Delivery::StartUp(page) => events & !PAGE | START_UP | u32::from(page),
        };
        let mut seen = self.events.load(Ordering::Relaxed);
        while let Err(now) =
            self.events
                .compare_exchange(seen, change(seen), Ordering::AcqRel, Ordering::Relaxed)
        {
            seen = now;
        }
    }
}

/// What a vCPU was sent that is not for its local APIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Reset, before all else.
    pub init: bool,
    /// Start at this page, where it waits for that.
    pub start_up: Option<u8>,
    /// A non-maskable interrupt.
    pub nmi: bool,
}

/// The seats of a guest's vCPUs.
#[derive(Debug)]
pub struct ApicBus {
    seats: Box<[Seat]>,
    /// vCPUs to be kicked, a bit each.
    kicks: AtomicU64,
    pub(super) sleepers: Sleepers,
}

impl ApicBus {
    /// For `cpus` vCPUs, 1 to [`MAX_CPUS`].
    #[must_use]
    pub fn new(cpus: u8) -> Self {
        let bus = Self {
            seats: (0..cpus.clamp(1, MAX_CPUS)).map(|_| Seat::new()).collect(),
            kicks: AtomicU64::new(0),
            sleepers: Sleepers::new(cpus.clamp(1, MAX_CPUS)),
        };
        for id in 0..bus.cpus() {
            bus.publish(id, LocalApic::new(id).address());
        }
        bus
    }

    /// vCPUs.
    #[must_use]
    pub fn cpus(&self) -> u8 {
        self.seats.len() as u8
    }

    /// Says how the APIC `id` is addressed from now on. For its own vCPU.
    pub fn publish(&self, id: u8, address: Address) {
        if let Some(seat) = self.seats.get(usize::from(id)) {
            seat.address.store(address.into_bits(), Ordering::Release);
        }
    }

    fn address(&self, id: u8) -> Address {
        let seat = self.seats.get(usize::from(id));
        Address::from_bits(seat.map_or(Mode::Disabled as u32, |seat| seat.address.load(Ordering::Acquire)))
    }

    /// Leaves `message` with all whom it names. `sender` is none where a device sends, and is not kicked itself. `level` says
    /// of a vector that it stands for a level-triggered interrupt. Returns how many took it.
    pub fn send(&self, sender: Option<u8>, message: Message, level: bool) -> u32 {
        let named = targets(self.cpus(), sender, message.destination, |id| self.address(id));
        let (named, delivery) = match message.delivery {
            Delivery::Lowest(vector) => {
                let ready = (0..self.cpus())
                    .filter(|id| self.address(*id).enabled)
                    .fold(0u64, |set, id| set | 1 << id);
                // Any one of them may serve as the lowest.
                let among = if named & ready != 0 { named & ready } else { named };
                (among & among.wrapping_neg(), Delivery::Fixed(vector))
            }
            delivery => (named, delivery),
        };
        for (id, seat) in (0u8..).zip(&self.seats) {
            if named >> id & 1 == 0 {
                continue;
            }
            match delivery {
                Delivery::Fixed(vector) | Delivery::Lowest(vector) => {
                    let (word, bit) = (usize::from(vector / 32), 1 << (vector % 32));
                    let marks = &seat.level[word];
                    if level {
                        marks.fetch_or(bit, Ordering::Relaxed);
                    } else {
                        marks.fetch_and(!bit, Ordering::Relaxed);
                    }
                    seat.requested[word].fetch_or(bit, Ordering::Release);
                }
                event => seat.add_event(event),
            }
            // The first since the last collection kicks; those after it are collected with it.
            if !seat.left.swap(true, Ordering::AcqRel) && Some(id) != sender {
                self.kicks.fetch_or(1 << id, Ordering::AcqRel);
            }
        }
        named.count_ones()
    }

    /// An interrupt of a device for the vCPU `id`.
    pub fn interrupt(&self, id: u8, vector: u8) {
        let message = Message {
            destination: Destination::Physical(id.into()),
            delivery: Delivery::Fixed(vector),
        };
        self.send(None, message, false);
    }

    /// Those to be kicked, a bit each; whoever asks does it.
    pub fn take_kicks(&self) -> u64 {
        // Nearly always none, which needs no exclusive access.
        match self.kicks.load(Ordering::Acquire) {
            0 => 0,
            _ => self.kicks.swap(0, Ordering::AcqRel),
        }
    }

    /// Whether something lies for the vCPU `id`.
    pub fn has_left(&self, id: u8) -> bool {
        let seat = self.seats.get(usize::from(id));
        seat.is_some_and(|seat| seat.left.load(Ordering::Acquire))
    }

    /// Whether nothing lies for any vCPU.
    pub fn is_quiet(&self) -> bool {
        !(0..self.cpus()).any(|id| self.has_left(id))
    }

    /// No interrupt wakes the vCPU `id` from now on. Says whether nothing wakes any of them any more: all sleep like that, and
    /// nothing lies for any.
    pub fn sleep(&self, id: u8) -> bool {
        self.sleepers.sleep(id, || self.is_quiet())
    }

    /// The vCPU `id` looks what lies for it, which it must not collect before it says so.
    pub fn wake(&self, id: u8) {
        self.sleepers.wake(id);
    }

    /// Takes what lies for the vCPU `apic` belongs to: vectors into it, the rest as the answer. An INIT takes the vectors with it,
    /// since they were for an APIC that it resets.
    pub fn collect(&self, apic: &mut LocalApic) -> Events {
        let Some(seat) = self.seats.get(usize::from(apic.id())) else {
            return Events::default();
        };
        if !seat.left.load(Ordering::Acquire) || !seat.left.swap(false, Ordering::AcqRel) {
            return Events::default();
        }
        let events = seat.events.swap(0, Ordering::AcqRel);
        let events = Events {
            init: events & INIT != 0,
            start_up: (events & START_UP != 0).then_some(events as u8),
            nmi: events & NMI != 0,
        };
        for (index, (requested, level)) in (0u8..).zip(seat.requested.iter().zip(&seat.level)) {
            let mut vectors = requested.swap(0, Ordering::AcqRel);
            let level = level.load(Ordering::Relaxed);
            while vectors != 0 && !events.init {
                let bit = vectors.trailing_zeros() as u8;
                vectors &= vectors - 1;
                apic.accept(index * 32 + bit, level >> bit & 1 != 0);
            }
        }
        events
    }
}
