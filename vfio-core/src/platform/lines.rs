//! Interrupt lines of an open device, which the interrupt handler and the owner work on at the same time.
//!
//! A line that is level-triggered would interrupt again and again until its owner has served the device. So it is masked when it
//! signals, and stays so until the owner unmasks it.

use alloc::vec::Vec;

use super::{PlatformBus, PlatformId, Trigger};
use crate::device::IrqSink;
use crate::fault::Fault;
use crate::sync::{AtomicU8, Ordering};

const OFF: u8 = 0;
const ON: u8 = 1;
const MASKED: u8 = 2;

#[derive(Debug)]
struct Line {
    trigger: Trigger,
    state: AtomicU8,
}

impl Line {
    /// Moves from one state to another, if it is in the one.
    fn moves(&self, from: u8, to: u8) -> bool {
        let swapped = self
            .state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        swapped.is_ok()
    }
}

/// The lines of a device.
#[derive(Debug)]
pub struct Lines {
    device: PlatformId,
    lines: Vec<Line>,
}

impl Lines {
    pub(super) fn new(device: PlatformId, triggers: &[Trigger]) -> Self {
        let line = |trigger: &Trigger| Line {
            trigger: *trigger,
            state: AtomicU8::new(OFF),
        };
        Self {
            device,
            lines: triggers.iter().map(line).collect(),
        }
    }

    fn line(&self, index: u32) -> Option<&Line> {
        self.lines.get(usize::try_from(index).ok()?)
    }

    pub(super) fn trigger(&self, index: u32) -> Option<Trigger> {
        self.line(index).map(|line| line.trigger)
    }

    /// Line `index` interrupted: what the handler calls. It neither waits nor allocates. A line that has no sink,
    /// or is masked, signals nothing; if it is level-triggered it is masked all the same.
    ///
    /// # Errors
    /// A level-triggered line could not be masked, so that it would interrupt for ever. The sink was not told.
    pub fn arrived<B: PlatformBus + ?Sized>(
        &self,
        index: u32,
        bus: &B,
        sink: &dyn IrqSink,
    ) -> Result<(), Fault> {
        let line = self.line(index).ok_or(Fault::Unknown)?;
        let signals = match line.trigger {
            Trigger::Edge => line.state.load(Ordering::Acquire) == ON,
            Trigger::Level => {
                bus.mask(self.device, index)?;
                line.moves(ON, MASKED)
            }
        };
        if signals {
            sink.signal(self.device.into(), index, 0);
        }
        Ok(())
    }

    /// As [`arrived`](Self::arrived), but by request: a line without a sink is left alone.
    pub(super) fn arrived_by_request<B: PlatformBus + ?Sized>(
        &self,
        index: u32,
        bus: &B,
        sink: &dyn IrqSink,
    ) -> Result<(), Fault> {
        let line = self.line(index).ok_or(Fault::Unknown)?;
        match line.state.load(Ordering::Acquire) {
            ON => self.arrived(index, bus, sink),
            _ => Ok(()),
        }
    }

    /// Connects a line to its sink, unmasked. One that is connected stays as it is.
    pub(super) fn connect<B: PlatformBus + ?Sized>(&self, index: u32, bus: &B) -> Result<(), Fault> {
        let line = self.line(index).ok_or(Fault::Unknown)?;
        // Before the line can interrupt, so that its first edge is not lost.
        if !line.moves(OFF, ON) {
            return Ok(());
        }
        let connected = bus.connect(self.device, index, line.trigger);
        if connected.is_err() {
            line.state.swap(OFF, Ordering::AcqRel);
        }
        connected
    }

    /// Disconnects a line. One that is not connected stays as it is.
    pub(super) fn disconnect<B: PlatformBus + ?Sized>(&self, index: u32, bus: &B) -> Result<(), Fault> {
        let line = self.line(index).ok_or(Fault::Unknown)?;
        if line.state.load(Ordering::Acquire) == OFF {
            return Ok(());
        }
        bus.disconnect(self.device, index)?;
        line.state.swap(OFF, Ordering::AcqRel);
        Ok(())
    }

    /// Masks a line that is connected.
    pub(super) fn mask<B: PlatformBus + ?Sized>(&self, index: u32, bus: &B) -> Result<(), Fault> {
        let line = self.line(index).ok_or(Fault::Unknown)?;
        if line.state.load(Ordering::Acquire) == ON {
            // An interrupt that comes before this is done is signalled, as one that came before the request.
            bus.mask(self.device, index)?;
            line.moves(ON, MASKED);
        }
        Ok(())
    }

    /// Unmasks a line that is connected; it interrupts again if its level still says so.
    pub(super) fn unmask<B: PlatformBus + ?Sized>(&self, index: u32, bus: &B) -> Result<(), Fault> {
        let line = self.line(index).ok_or(Fault::Unknown)?;
        // Before the line can interrupt, so that the handler finds it on.
        if line.moves(MASKED, ON) {
            let unmasked = bus.unmask(self.device, index);
            if unmasked.is_err() {
                line.moves(ON, MASKED);
            }
            return unmasked;
        }
        Ok(())
    }

    /// Whether a line is masked.
    #[must_use]
    pub fn masked(&self, index: u32) -> bool {
        self.line(index)
            .is_some_and(|line| line.state.load(Ordering::Acquire) == MASKED)
    }
}
