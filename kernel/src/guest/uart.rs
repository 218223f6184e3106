//! A 16550 without a wire: what is sent has left at once, and nothing is received but what loopback gives back.
//!
//! Drivers rely on its interrupts even where they poll: they read the identification register to learn that the
//! transmitter is empty. So the four sources, their order and what ends each are the data sheet's (PC16550D, sections
//! 8.5 to 8.7).

use arrayvec::ArrayVec;
use spec::uart;

/// Bytes that the receiver holds with FIFOs on.
const FIFO: usize = 16;
/// The interrupt enable register's bits.
const INTERRUPTS: u8 = 0xf;
/// The modem control register's bits.
const MODEM_CONTROLS: u8 = 0x1f;
/// Bytes received at which the receiver interrupts, by the upper two bits of the FIFO control register.
const TRIGGERS: [usize; 4] = [1, 4, 8, 14];

/// The UART's state.
#[derive(Clone, Debug, Default)]
pub struct Uart {
    interrupt_enable: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    divisor: [u8; 2],
    /// From loopback, oldest first; at most one without FIFOs.
    received: ArrayVec<u8, FIFO>,
    overrun: bool,
    /// The transmitter became empty, or its interrupt was enabled, and nobody took notice yet.
    transmitter_news: bool,
    /// Modem lines that changed since the modem status was read, as its lower half has them.
    modem_changes: u8,
}

impl Uart {
    /// Reads the register at `offset`, 0 to 7; others are all ones.
    pub fn read(&mut self, offset: u8) -> u8 {
        let latch = self.line_control & uart::DLAB != 0;
        match offset {
            uart::DATA if latch => self.divisor[0],
            uart::INTERRUPT_ENABLE if latch => self.divisor[1],
            uart::DATA => self.received.pop_at(0).unwrap_or(0),
            uart::INTERRUPT_ENABLE => self.interrupt_enable,
            uart::INTERRUPT_ID => self.identify(),
            uart::LINE_CONTROL => self.line_control,
            uart::MODEM_CONTROL => self.modem_control,
            uart::LINE_STATUS => {
                let overrun = core::mem::take(&mut self.overrun);
                let bit = |holds, bit| if holds { bit } else { 0 };
                uart::TRANSMITTER_EMPTY
                    | bit(!self.received.is_empty(), uart::DATA_READY)
                    | bit(overrun, uart::OVERRUN)
            }
            uart::MODEM_STATUS => self.modem_lines() | core::mem::take(&mut self.modem_changes),
            uart::SCRATCH => self.scratch,
            _ => 0xff,
        }
    }

    /// Writes the register at `offset`; gives the byte that leaves because of it.
    pub fn write(&mut self, offset: u8, value: u8) -> Option<u8> {
        let latch = self.line_control & uart::DLAB != 0;
        match offset {
            uart::DATA if latch => self.divisor[0] = value,
            uart::INTERRUPT_ENABLE if latch => self.divisor[1] = value,
            uart::DATA => {
                self.transmitter_news = true;
                if !self.loops() {
                    return Some(value);
                }
                self.receive(value);
            }
            uart::INTERRUPT_ENABLE => {
                let enabled = value & !self.interrupt_enable & uart::TRANSMITTER_INTERRUPT != 0;
                self.transmitter_news |= enabled;
                self.interrupt_enable = value & INTERRUPTS;
            }
            uart::FIFO_CONTROL => self.control_fifos(value),
            uart::LINE_CONTROL => self.line_control = value,
            uart::MODEM_CONTROL => self.control_modem(value & MODEM_CONTROLS),
            uart::SCRATCH => self.scratch = value,
            _ => {}
        }
        None
    }

    /// Whether its interrupt line is up, as a PC has it: through OUT2, and apart from the world in loopback.
    #[must_use]
    pub fn interrupts(&self) -> bool {
        self.modem_control & uart::OUT2 != 0 && !self.loops() && self.source() != uart::NO_INTERRUPT
    }

    const fn loops(&self) -> bool {
        self.modem_control & uart::LOOPBACK != 0
    }

    const fn has_fifos(&self) -> bool {
        self.fifo_control & uart::FIFO_ENABLE != 0
    }

    /// The most important source that is pending and enabled, as the identification register names it.
    fn source(&self) -> u8 {
        let enabled = |bit| self.interrupt_enable & bit != 0;
        let trigger = match self.fifo_control >> 6 {
            level if self.has_fifos() => TRIGGERS.get(usize::from(level)).copied().unwrap_or(1),
            _ => 1,
        };
        if enabled(uart::LINE_INTERRUPT) && self.overrun {
            uart::LINE_SOURCE
        } else if enabled(uart::RECEIVER_INTERRUPT) && self.received.len() >= trigger {
            uart::RECEIVER_SOURCE
        } else if enabled(uart::RECEIVER_INTERRUPT) && !self.received.is_empty() {
            // Nothing moves between sender and receiver, so the time-out is over.
            uart::TIMEOUT_SOURCE
        } else if enabled(uart::TRANSMITTER_INTERRUPT) && self.transmitter_news {
            uart::TRANSMITTER_SOURCE
        } else if enabled(uart::MODEM_INTERRUPT) && self.modem_changes != 0 {
            uart::MODEM_SOURCE
        } else {
            uart::NO_INTERRUPT
        }
    }

    /// The identification register; reading it ends the transmitter's interrupt, if it is that which is read.
    fn identify(&mut self) -> u8 {
        let source = self.source();
        if source == uart::TRANSMITTER_SOURCE {
            self.transmitter_news = false;
        }
        source | if self.has_fifos() { uart::FIFO_ENABLED } else { 0 }
    }

    fn receive(&mut self, byte: u8) {
        let room = if self.has_fifos() { FIFO } else { 1 };
        if self.received.len() < room {
            self.received.push(byte);
            return;
        }
        self.overrun = true;
        // Without FIFOs it is the older byte that is lost.
        if !self.has_fifos() {
            self.received.clear();
            self.received.push(byte);
        }
    }

    fn control_fifos(&mut self, value: u8) {
        let switched = (value ^ self.fifo_control) & uart::FIFO_ENABLE != 0;
        if switched || value & uart::CLEAR_RECEIVER != 0 {
            self.received.clear();
        }
        // The other bits count only with this one.
        self.fifo_control = if value & uart::FIFO_ENABLE != 0 { value } else { 0 };
    }

    fn control_modem(&mut self, value: u8) {
        let before = self.modem_lines();
        self.modem_control = value;
        let after = self.modem_lines();
        let ring_ended = before & !after & uart::RING;
        self.modem_changes |= ((before ^ after) & !uart::RING | ring_ended) >> 4;
    }

    /// The modem's lines: a terminal that is there, or in loopback DTR as DSR, RTS as CTS, OUT1 as RI, OUT2 as DCD.
    const fn modem_lines(&self) -> u8 {
        let control = self.modem_control;
        if self.loops() {
            (control & 1) << 5 | (control & 2) << 3 | (control & 0xc) << 4
        } else {
            uart::CONNECTED
        }
    }
}

#[cfg(test)]
#[path = "uart_tests.rs"]
mod tests;
