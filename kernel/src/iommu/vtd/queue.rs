//! Commands by register and by the invalidation queue. Each is waited for, so that the queue is empty in between.

use super::hardware::{Memory, Registers, Walked};
use super::{Act, Error, Misbehaviour, Vtd};
use crate::addr::HostPhys;
use crate::memory::tables::FrameSource;
use core::hint::spin_loop;
use spec::vtd::queue::{Context, Interrupt, Iotlb, IotlbPages, Wait, granularity, kind};
use spec::vtd::register::{
    COMMAND, FAULT_STATUS, FaultStatus, Global, QUEUE_INDEX_SHIFT, QUEUE_TAIL, STATUS,
};
use vfio_core::clock::Clock;

/// How long the hardware may take for anything, in nanoseconds.
const LIMIT: u64 = 1_000_000_000;
/// Looks after which it has taken too long whatever the clock says.
const MAX_LOOKS: u32 = 100_000_000;
/// Descriptors in the queue: one page.
const SLOTS: usize = 256;

/// The invalidation queue.
#[derive(Debug)]
pub(super) struct Queue {
    /// Its page.
    pub(super) frame: HostPhys,
    /// A page whose first word the unit writes when it has come to a wait.
    pub(super) status: HostPhys,
    /// Where the next descriptor goes.
    tail: usize,
    /// What the last wait wrote.
    written: u32,
}

impl Queue {
    pub(super) fn new<M: Memory>(memory: &mut Walked<M>) -> Option<Self> {
        Some(Self {
            frame: memory.allocate()?,
            status: memory.allocate()?,
            tail: 0,
            written: 0,
        })
    }
}

/// A descriptor.
pub(super) type Descriptor = [u64; 2];

/// Has the context cache forget `source` in the domain `domain`.
pub(super) fn context(domain: u16, source: u16) -> Descriptor {
    let low = Context::new()
        .with_kind(kind::CONTEXT)
        .with_granularity(granularity::SELECTIVE)
        .with_domain(domain)
        .with_source(source);
    [low.into_bits(), 0]
}

/// Has the context cache forget everything.
pub(super) fn all_contexts() -> Descriptor {
    let low = Context::new()
        .with_kind(kind::CONTEXT)
        .with_granularity(granularity::GLOBAL);
    [low.into_bits(), 0]
}

/// Has the interrupt entry cache forget one entry, or everything.
pub(super) fn interrupts(index: Option<u16>) -> Descriptor {
    let low = Interrupt::new()
        .with_kind(kind::INTERRUPT)
        .with_selective(index.is_some())
        .with_index(index.unwrap_or(0));
    [low.into_bits(), 0]
}

impl<R: Registers, M: Memory, K: Clock> Vtd<R, M, K> {
    fn iotlb(&self, granularity: u8, domain: u16) -> Iotlb {
        Iotlb::new()
            .with_kind(kind::IOTLB)
            .with_granularity(granularity)
            .with_drain_writes(self.capability.drain_writes())
            .with_drain_reads(self.capability.drain_reads())
            .with_domain(domain)
    }

    /// Has the IOTLB forget a domain.
    pub(super) fn translations(&self, domain: u16) -> Descriptor {
        [self.iotlb(granularity::DOMAIN, domain).into_bits(), 0]
    }

    /// Has the IOTLB forget everything.
    pub(super) fn all_translations(&self) -> Descriptor {
        [self.iotlb(granularity::GLOBAL, 0).into_bits(), 0]
    }

    /// Has the IOTLB forget what a domain maps from `first` to `last`, and perhaps more of it.
    pub(super) fn pages(&self, domain: u16, first: u64, last: u64) -> Descriptor {
        // The smallest block of 2^mask pages, aligned to its size, that has both ends.
        let mask = (u64::BITS - ((first ^ last) >> 12).leading_zeros()) as u8;
        if !self.capability.page_selective() || mask > self.capability.max_mask() {
            return self.translations(domain);
        }
        let frame = first >> 12 & !((1 << mask) - 1);
        let pages = IotlbPages::new().with_mask(mask).with_frame(frame);
        [
            self.iotlb(granularity::SELECTIVE, domain).into_bits(),
            pages.into_bits(),
        ]
    }

    /// Looks until `done`, at most a second.
    pub(super) fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        // It is most often so at once, and reading the clock costs more than looking.
        if done(self) {
            return true;
        }
        let start = self.clock.now();
        for _ in 0..MAX_LOOKS {
            if done(self) {
                return true;
            }
            if self.clock.now().saturating_sub(start) > LIMIT {
                break;
            }
            spin_loop();
        }
        done(self)
    }

    /// The status register.
    pub(super) fn status(&mut self) -> Global {
        Global::from_bits_retain(self.registers.read32(STATUS))
    }

    /// Turns one thing on or off, or triggers it, and waits until `done`.
    pub(super) fn command(
        &mut self,
        act: Act,
        set: Global,
        clear: Global,
        done: impl Fn(Global) -> bool,
    ) -> Result<(), Misbehaviour> {
        let status = self.status();
        if status.bits() == u32::MAX {
            return Err(Misbehaviour::Gone);
        }
        let command = (status & Global::LASTING | set) - clear;
        self.registers.write32(COMMAND, command.bits());
        self.commands += 1;
        if self.until(|unit| done(unit.status())) {
            Ok(())
        } else {
            Err(Misbehaviour::Command(act))
        }
    }

    /// Sends `descriptors`, a few, and waits until the unit has done all of them, and is done with everything that was let through
    /// before.
    ///
    /// # Errors
    /// The unit does not answer, or reports an error.
    pub(super) fn submit(&mut self, descriptors: &[Descriptor]) -> Result<(), Misbehaviour> {
        self.queue.written = self.queue.written.wrapping_add(1);
        let wait = Wait::new()
            .with_kind(kind::WAIT)
            .with_write(true)
            .with_fence(true)
            .with_status(self.queue.written);
        let wait = [wait.into_bits(), self.queue.status.0];
        for descriptor in descriptors.iter().chain([&wait]) {
            for (half, word) in descriptor.iter().enumerate() {
                self.memory
                    .write(self.queue.frame, self.queue.tail * 2 + half, *word);
            }
            self.queue.tail = (self.queue.tail + 1) % SLOTS;
        }
        self.commands += descriptors.len() as u64;
        let tail = (self.queue.tail as u64) << QUEUE_INDEX_SHIFT;
        self.registers.write64(QUEUE_TAIL, tail);
        let mut error = None;
        let ended = self.until(|unit| {
            let status = unit.memory.read(unit.queue.status, 0) as u32;
            if status == unit.queue.written {
                return true;
            }
            error = unit.queue_error();
            error.is_some()
        });
        match error {
            Some(error) => Err(error),
            None if ended => Ok(()),
            None => Err(Misbehaviour::Invalidation),
        }
    }

    /// What the unit says went wrong with the queue.
    fn queue_error(&mut self) -> Option<Misbehaviour> {
        let bits = self.registers.read32(FAULT_STATUS);
        let status = FaultStatus::from_bits_retain(bits);
        if bits == u32::MAX {
            Some(Misbehaviour::Gone)
        } else if status.contains(FaultStatus::QUEUE_ERROR) {
            Some(Misbehaviour::Queue)
        } else if status.contains(FaultStatus::TIME_OUT) {
            Some(Misbehaviour::TimeOut)
        } else if status.contains(FaultStatus::COMPLETION_ERROR) {
            Some(Misbehaviour::Completion)
        } else {
            None
        }
    }

    /// Sends `descriptors`; an error puts the driver out of service.
    pub(super) fn invalidate(&mut self, descriptors: &[Descriptor]) -> Result<(), Error> {
        self.check_service()?;
        self.submit(descriptors).map_err(|how| self.break_down(how))
    }

    /// After entries became present that were not: nothing is needed of a unit that does not remember what is not there, unless
    /// its write buffers must be flushed (section 6.8).
    pub(super) fn made_present(&mut self, descriptors: &[Descriptor]) -> Result<(), Error> {
        if self.capability.caching_mode() {
            self.invalidate(descriptors)
        } else {
            self.flush_writes()
        }
    }

    /// Has the unit flush its write buffers, where it needs telling (section 6.8).
    pub(super) fn flush_writes(&mut self) -> Result<(), Error> {
        self.check_service()?;
        if !self.capability.write_buffer_flush() {
            return Ok(());
        }
        let busy = Global::WRITE_BUFFER_FLUSH;
        self.command(Act::WriteBuffers, busy, Global::empty(), |status| {
            !status.contains(busy)
        })
        .map_err(|how| self.break_down(how))
    }
}
