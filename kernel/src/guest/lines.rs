//! The guest's interrupt lines: what devices raise and lower, and which input of the I/O APIC that is.
//!
//! INTx comes as [`guest::devices`](super::devices) sees it: once, and again when the guest has ended the interrupt and the function
//! still asserts its pin. So the board lowers these lines at each end.
//!
//! A line may be shared, so each device names itself as a source; the line is asserted while one of them raises it. Calls are cheap
//! and may come from any CPU, with the locks before the I/O APIC's held or not. vCPUs that must look are among
//! [`Board::take_kicks`](super::board::Board::take_kicks) then.

use super::apic::ApicBus;
use super::ioapic::IoApic;
use spin::Mutex;

/// An input of the I/O APIC, which is a global system interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line(pub u8);

/// Who asserts a line, 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineSource(pub u8);

/// The console's line: that of COM1 on a PC, edge-triggered.
pub const CONSOLE_LINE: Line = Line(4);
/// The console as a source.
pub const CONSOLE_SOURCE: LineSource = LineSource(0);
/// First line of those that INTx is spread over.
const FIRST_INTX: u8 = 16;
/// Lines for INTx.
const INTX_LINES: u8 = 8;

/// All lines for INTx, a bit each.
pub(super) const INTX: u32 = ((1 << INTX_LINES) - 1) << FIRST_INTX;

/// The line of INTx pin `pin` (0 is A, 3 is D) of the device in `slot` of bus 0. What `_PRT` says: level-triggered.
#[must_use]
pub const fn intx_line(slot: u8, pin: u8) -> Line {
    Line(FIRST_INTX + (slot.wrapping_add(pin & 3)) % INTX_LINES)
}

/// The source that stands for all functions in `slot` of bus 0, 1 to 31, with INTx pin `pin`: one of those that share a line.
#[must_use]
pub const fn intx_source(slot: u8, pin: u8) -> LineSource {
    // Slots that share a line differ by a multiple of eight or in the pin: 32 slots / 8, times 4 pins, and functions of one slot
    // with one pin are for the caller to join.
    LineSource(1 + ((slot / INTX_LINES) & 3) * 4 + (pin & 3))
}

/// The lines of one guest.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a> {
    ioapic: &'a Mutex<IoApic>,
    bus: &'a ApicBus,
}

impl<'a> Lines<'a> {
    pub(super) const fn new(ioapic: &'a Mutex<IoApic>, bus: &'a ApicBus) -> Self {
        Self { ioapic, bus }
    }

    /// `source` asserts `line`.
    pub fn raise(self, line: Line, source: LineSource) {
        self.set(line, source, true);
    }

    /// `source` asserts `line` no longer.
    pub fn lower(self, line: Line, source: LineSource) {
        self.set(line, source, false);
    }

    /// The same, by value.
    pub fn set(self, line: Line, source: LineSource, asserted: bool) {
        let mut send = |message, level| self.bus.send(None, message, level);
        self.ioapic.lock().set_line(line.0, source.0, asserted, &mut send);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn slots_and_pins_that_share_a_line_are_different_sources() {
        let mut seen = BTreeSet::new();
        for slot in 0..32 {
            for pin in 0..4 {
                let (line, source) = (intx_line(slot, pin), intx_source(slot, pin));
                assert!((16..24).contains(&line.0) && (1..64).contains(&source.0));
                assert!(seen.insert((line.0, source.0)), "{slot} {pin}");
            }
        }
        assert_ne!(intx_line(1, 0), intx_line(1, 1));
    }
}
