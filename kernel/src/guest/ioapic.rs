//! A model of an I/O APIC with 24 inputs (Intel 82093AA, and the directed end of interrupt of version 20h): lines become messages.
//!
//! Pure: messages go out through a closure. A line is asserted or not; the polarity that the guest programs is kept and means nothing,
//! since both sides of a line are this platform's. An edge that comes while its input is masked is lost, as in hardware.

use super::apic::{Delivery, Destination, Message};
use spec::ioapic::{Redirection, index, register};
use spec::lapic::{FIRST_VECTOR, XAPIC_BROADCAST, delivery};

/// Inputs, which are global system interrupts 0 to 23.
pub(super) const INPUTS: u8 = 24;
/// Version 20h, and the number of the last input.
const VERSION_VALUE: u32 = (INPUTS as u32 - 1) << 16 | 0x20;

/// What an entry sends; nothing for modes that are not delivered, and reserved vectors.
fn message(entry: Redirection) -> Option<Message> {
    let destination = match (entry.destination(), entry.logical()) {
        (XAPIC_BROADCAST, _) => Destination::All,
        (to, true) => Destination::Logical(to.into()),
        (to, false) => Destination::Physical(to.into()),
    };
    let vector = entry.vector();
    let delivery = match entry.delivery() {
        delivery::FIXED if vector >= FIRST_VECTOR => Delivery::Fixed(vector),
        delivery::LOWEST if vector >= FIRST_VECTOR => Delivery::Lowest(vector),
        delivery::NMI => Delivery::Nmi,
        delivery::INIT => Delivery::Init,
        _ => return None,
    };
    Some(Message {
        destination,
        delivery,
    })
}

#[derive(Clone, Copy, Debug, Default)]
struct Input {
    entry: Redirection,
    /// Who asserts the line, a bit each.
    sources: u64,
}

/// Sends a message, of a level-triggered interrupt or not, and says how many took it.
pub(super) trait Send: FnMut(Message, bool) -> u32 {}
impl<F: FnMut(Message, bool) -> u32> Send for F {}

impl Input {
    /// Sends where a level waits that no local APIC has in hand.
    fn serve_level(&mut self, send: &mut impl Send) {
        let entry = self.entry;
        if entry.level()
            && !entry.masked()
            && !entry.remote_irr()
            && self.sources != 0
            && let Some(sent) = message(entry)
        {
            let vector = matches!(sent.delivery, Delivery::Fixed(_) | Delivery::Lowest(_));
            let taken = send(sent, vector);
            self.entry.set_remote_irr(vector && taken > 0);
        }
    }
}

/// The I/O APIC of a guest.
#[derive(Clone, Debug, Default)]
pub(super) struct IoApic {
    selected: u8,
    id: u8,
    inputs: [Input; INPUTS as usize],
}

impl IoApic {
    /// Reads the 32-bit register at `offset` of the page. What is not there reads as zero.
    #[must_use]
    pub(super) fn read(&self, offset: u64) -> u32 {
        match (offset, self.selected) {
            (register::SELECT, selected) => selected.into(),
            (register::WINDOW, index::ID | index::ARBITRATION) => u32::from(self.id) << 24,
            (register::WINDOW, index::VERSION) => VERSION_VALUE,
            (register::WINDOW, selected) => self.input(selected).map_or(0, |(input, high)| {
                let entry = input.entry.into_bits();
                if high { (entry >> 32) as u32 } else { entry as u32 }
            }),
            _ => 0,
        }
    }

    fn input(&self, selected: u8) -> Option<(&Input, bool)> {
        let at = selected.checked_sub(index::TABLE)?;
        Some((self.inputs.get(usize::from(at / 2))?, at % 2 != 0))
    }

    /// Writes the 32-bit register at `offset` of the page, but for the end of an interrupt: that is [`end`](Self::end).
    pub(super) fn write(&mut self, offset: u64, value: u32, send: &mut impl Send) {
        match (offset, self.selected) {
            (register::SELECT, _) => self.selected = value as u8,
            (register::WINDOW, index::ID) => self.id = (value >> 24) as u8 & 0xf,
            (register::WINDOW, selected) => self.write_entry(selected, value, send),
            _ => {}
        }
    }

    fn write_entry(&mut self, selected: u8, value: u32, send: &mut impl Send) {
        let Some(at) = selected.checked_sub(index::TABLE) else {
            return;
        };
        let Some(input) = self.inputs.get_mut(usize::from(at / 2)) else {
            return;
        };
        let old = input.entry;
        let bits = if at % 2 != 0 {
            old.into_bits() & 0xffff_ffff | u64::from(value) << 32
        } else {
            old.into_bits() & !0xffff_ffff | u64::from(value)
        };
        let wanted = Redirection::from_bits(bits);
        input.entry = Redirection::new()
            .with_vector(wanted.vector())
            .with_delivery(wanted.delivery())
            .with_logical(wanted.logical())
            .with_active_low(wanted.active_low())
            .with_level(wanted.level())
            .with_masked(wanted.masked())
            .with_destination(wanted.destination())
            // An input that becomes edge-triggered has nothing in hand.
            .with_remote_irr(old.remote_irr() && wanted.level());
        input.serve_level(send);
    }

    /// `source`, 0 to 63, asserts `line` or does so no longer. Lines that are not there are ignored.
    pub(super) fn set_line(&mut self, line: u8, source: u8, asserted: bool, send: &mut impl Send) {
        let Some(input) = self.inputs.get_mut(usize::from(line)) else {
            return;
        };
        let (before, bit) = (input.sources, 1 << (source & 63));
        input.sources = if asserted { before | bit } else { before & !bit };
        let entry = input.entry;
        if entry.level() {
            input.serve_level(send);
        } else if before == 0
            && asserted
            && !entry.masked()
            && let Some(sent) = message(entry)
        {
            send(sent, false);
        }
    }

    /// The inputs whose level-triggered interrupt with `vector` a local APIC has in hand, a bit each.
    pub(super) fn in_hand(&self, vector: u8) -> u32 {
        let inputs = self.inputs.iter().enumerate();
        inputs
            .filter(|(_, input)| input.entry.remote_irr() && input.entry.vector() == vector)
            .fold(0, |set, (at, _)| set | 1 << at)
    }

    /// Nobody asserts the lines in `set`, a bit each, any longer, as far as is known.
    pub(super) fn forget_sources(&mut self, set: u32) {
        for (at, input) in self.inputs.iter_mut().enumerate() {
            if set >> at & 1 != 0 {
                input.sources = 0;
            }
        }
    }

    /// A local APIC says that the level-triggered interrupt with `vector` is over: who still asserts a line is heard again.
    pub(super) fn end(&mut self, vector: u8, send: &mut impl Send) {
        for input in &mut self.inputs {
            if input.entry.remote_irr() && input.entry.vector() == vector {
                input.entry.set_remote_irr(false);
                input.serve_level(send);
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
#[path = "ioapic_tests.rs"]
mod tests;
