//! The event log: a ring that the unit writes, read in bounded portions, started again when it overflowed.

use super::error::Misbehaviour;
use super::events::Event;
use super::hardware::{Hardware, poll};
use crate::addr::HostPhys;
use spec::amdvi::registers::{self as register, Control, Status};

/// Binary logarithm of the entries: 512, two pages.
const LENGTH: u64 = 9;
/// Bytes of the log.
const BYTES: u64 = register::ENTRY_BYTES << LENGTH;
/// Polls after which an event that the unit has counted and not written is given up.
const PATIENCE: u8 = 4;

/// What one look has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Events taken.
    pub events: u32,
    /// Events of no meaning, or never written.
    pub malformed: u32,
    /// Events were lost, nobody knows how many, and the log was started again.
    pub overflowed: bool,
}

/// The log.
#[derive(Debug)]
pub(super) struct EventLog {
    base: HostPhys,
    head: u64,
    /// Looks at which the event at `head` was not written yet.
    unwritten: u8,
}

impl EventLog {
    /// An empty log; `None` without memory.
    pub(super) fn new<H: Hardware>(hardware: &mut H) -> Option<Self> {
        Some(Self {
            base: hardware.allocate(BYTES)?,
            head: 0,
            unwritten: 0,
        })
    }

    /// What the base register takes.
    pub(super) const fn register(&self) -> u64 {
        self.base.0 | LENGTH << register::LENGTH_SHIFT
    }

    /// Takes all events that are there, at most as many as the log has, and gives each to `each`.
    ///
    /// # Errors
    /// The unit names a tail outside the log, or does not start the log again.
    pub(super) fn read<H: Hardware>(
        &mut self,
        hardware: &mut H,
        mut each: impl FnMut(Event),
    ) -> Result<Read, Misbehaviour> {
        let mut read = Read::default();
        // Before the tail: what makes it overflow comes before that.
        let status = Status::from_bits_retain(hardware.read(register::STATUS));
        let found = hardware.read(register::EVENT_TAIL);
        let tail = found & register::POINTER;
        if tail >= BYTES {
            return Err(Misbehaviour::EventTail { tail: found });
        }
        let before = self.head;
        while self.head != tail {
            let at = self.base.0 + self.head;
            let words = [hardware.load(HostPhys(at)), hardware.load(HostPhys(at + 8))];
            match Event::decode(words) {
                Some(event) => {
                    read.events += 1;
                    read.malformed += u32::from(matches!(event, Event::Other { .. }));
                    each(event);
                }
                // The tail may be ahead of what is written; it will be seen by a later look.
                None if self.unwritten < PATIENCE => {
                    self.unwritten += 1;
                    break;
                }
                None => read.malformed += 1,
            }
            self.unwritten = 0;
            hardware.store(HostPhys(at), 0);
            hardware.store(HostPhys(at + 8), 0);
            self.head = (self.head + register::ENTRY_BYTES) % BYTES;
        }
        if self.head != before {
            hardware.write(register::EVENT_HEAD, self.head);
        }
        if status.contains(Status::EVENT_OVERFLOW) && self.head == tail {
            self.restart(hardware)?;
            read.overflowed = true;
        }
        Ok(read)
    }

    /// Starts the log again after an overflow, empty: it has stopped by itself, and is turned off, cleared and turned on.
    fn restart<H: Hardware>(&mut self, hardware: &mut H) -> Result<(), Misbehaviour> {
        let control = hardware.read(register::CONTROL);
        hardware.write(register::CONTROL, control & !Control::EVENT_LOG.bits());
        runs(hardware, Status::EVENT_LOG_RUNS, false).ok_or(Misbehaviour::EventLog)?;
        hardware.write(register::EVENT_BASE, self.register());
        self.head = 0;
        let lost = Status::EVENT_OVERFLOW | Status::EVENT_INTERRUPT;
        hardware.write(register::STATUS, lost.bits());
        hardware.write(register::CONTROL, control | Control::EVENT_LOG.bits());
        runs(hardware, Status::EVENT_LOG_RUNS, true).ok_or(Misbehaviour::EventLog)
    }

    /// Gives the memory back; the unit has never seen it.
    pub(super) fn free<H: Hardware>(self, hardware: &mut H) {
        hardware.free(self.base, BYTES);
    }
}

/// Waits until the bit `which` of the status is `on`.
pub(super) fn runs<H: Hardware>(hardware: &mut H, which: Status, on: bool) -> Option<()> {
    poll(hardware, |hardware| {
        let status = Status::from_bits_retain(hardware.read(register::STATUS));
        (status.contains(which) == on).then_some(())
    })
}
