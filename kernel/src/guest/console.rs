//! The guest's console: the transmit side of a 16550, collected into lines.
//!
//! Lines go to the hypervisor's console behind the guest's name, so a line is bounded and holds nothing but
//! printable ASCII: no guest can move the cursor, or begin a line that looks like another's.

use arrayvec::ArrayVec;
use spec::uart;

/// Longest line, in bytes; a longer one goes on in the next.
pub const MAX_LINE: usize = 160;

/// The UART's state.
#[derive(Clone, Debug, Default)]
pub struct Console {
    line: ArrayVec<u8, MAX_LINE>,
    interrupt_enable: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    divisor: [u8; 2],
    loopback: u8,
    fifo: bool,
}

impl Console {
    /// Reads the register at `offset`, 0 to 7; others are all ones.
    #[must_use]
    pub fn read(&self, offset: u8) -> u8 {
        let latch = self.line_control & uart::DLAB != 0;
        match offset {
            uart::DATA if latch => self.divisor[0],
            uart::INTERRUPT_ENABLE if latch => self.divisor[1],
            uart::DATA => self.loopback,
            uart::INTERRUPT_ENABLE => self.interrupt_enable,
            uart::INTERRUPT_ID if self.fifo => uart::NO_INTERRUPT | uart::FIFO_ENABLED,
            uart::INTERRUPT_ID => uart::NO_INTERRUPT,
            uart::LINE_CONTROL => self.line_control,
            uart::MODEM_CONTROL => self.modem_control,
            uart::LINE_STATUS => uart::TRANSMITTER_EMPTY,
            uart::MODEM_STATUS if self.modem_control & uart::LOOPBACK != 0 => self.looped_back(),
            uart::MODEM_STATUS => uart::CONNECTED,
            uart::SCRATCH => self.scratch,
            _ => 0xff,
        }
    }

    /// Writes the register at `offset`; `emit` gets a line when one is complete.
    pub fn write(&mut self, offset: u8, value: u8, emit: impl FnOnce(&str)) {
        let latch = self.line_control & uart::DLAB != 0;
        match offset {
            uart::DATA if latch => self.divisor[0] = value,
            uart::INTERRUPT_ENABLE if latch => self.divisor[1] = value,
            uart::DATA if self.modem_control & uart::LOOPBACK != 0 => self.loopback = value,
            uart::DATA => self.transmit(value, emit),
            uart::INTERRUPT_ENABLE => self.interrupt_enable = value & 0xf,
            uart::INTERRUPT_ID => self.fifo = value & uart::FIFO_ENABLE != 0,
            uart::LINE_CONTROL => self.line_control = value,
            uart::MODEM_CONTROL => self.modem_control = value & 0x1f,
            uart::SCRATCH => self.scratch = value,
            _ => {}
        }
    }

    /// Modem status in loopback: DTR as DSR, RTS as CTS, OUT1 as RI, OUT2 as DCD.
    const fn looped_back(&self) -> u8 {
        let control = self.modem_control;
        (control & 1) << 5 | (control & 2) << 3 | (control & 0xc) << 4
    }

    fn transmit(&mut self, byte: u8, emit: impl FnOnce(&str)) {
        let shown = match byte {
            b'\n' => return self.emit(emit),
            b'\r' => return,
            b'\t' => b' ',
            b' '..=b'~' => byte,
            _ => b'?',
        };
        self.line.push(shown);
        if self.line.is_full() {
            self.emit(emit);
        }
    }

    fn emit(&mut self, emit: impl FnOnce(&str)) {
        emit(core::str::from_utf8(&self.line).unwrap_or_default());
        self.line.clear();
    }

    /// Emits what stands in an unfinished line: when the guest has ended.
    pub fn flush(&mut self, emit: impl FnOnce(&str)) {
        if !self.line.is_empty() {
            self.emit(emit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let (mut console, mut lines) = (Console::default(), Vec::new());
        for byte in bytes {
            assert_eq!(console.read(uart::LINE_STATUS), uart::TRANSMITTER_EMPTY);
            console.write(uart::DATA, *byte, |line| lines.push(line.to_owned()));
        }
        console.flush(|line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn lines_are_cut_at_newlines_and_at_the_bound() {
        assert_eq!(lines(b"one\r\n\ntwo"), ["one", "", "two"]);
        let long = lines(&[b'x'; MAX_LINE + 3]);
        assert_eq!((long.len(), long[0].len(), long[1].len()), (2, MAX_LINE, 3));
    }

    #[test]
    fn control_characters_do_not_get_through() {
        assert_eq!(lines(b"a\x1b[2Jb\x08\x00\xc3\xa4\t."), ["a?[2Jb???? ."]);
        for line in lines(&(0..=255).collect::<Vec<u8>>()) {
            assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }

    #[test]
    fn what_drivers_try_out_is_there() {
        let mut console = Console::default();
        let silent = |_: &str| panic!("printed");
        assert_eq!(console.read(uart::INTERRUPT_ID), 1);
        console.write(uart::INTERRUPT_ID, uart::FIFO_ENABLE, silent);
        assert_eq!(console.read(uart::INTERRUPT_ID), 0xc1);
        console.write(uart::INTERRUPT_ID, 0, silent);
        assert_eq!(
            (console.read(uart::INTERRUPT_ID), console.read(uart::MODEM_STATUS)),
            (1, 0xb0)
        );
        for (control, status) in [(0xa, 0x90), (0x5, 0x60), (0xf, 0xf0), (0, 0)] {
            console.write(uart::MODEM_CONTROL, uart::LOOPBACK | control, silent);
            assert_eq!(console.read(uart::MODEM_STATUS), status, "{control:#x}");
        }
    }

    #[test]
    fn setting_the_speed_prints_nothing() {
        let mut console = Console::default();
        let silent = |_: &str| panic!("printed");
        console.write(uart::LINE_CONTROL, 0x83, silent);
        console.write(uart::DATA, b'\n', silent);
        console.write(uart::LINE_CONTROL, 3, silent);
        assert_eq!(console.read(uart::LINE_CONTROL), 3);
        console.write(uart::MODEM_CONTROL, uart::LOOPBACK | 0xe, silent);
        console.write(uart::DATA, 0xae, silent);
        assert_eq!((console.read(uart::DATA), console.read(8)), (0xae, 0xff));
    }
}
