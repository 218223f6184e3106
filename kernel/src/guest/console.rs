//! The guest's console: a 16550 whose output is collected into lines.
//!
//! Lines go to the hypervisor's console behind the guest's name, so a line is bounded and holds nothing but
//! printable ASCII: no guest can move the cursor, or begin a line that looks like another's.

use super::uart::Uart;
use arrayvec::ArrayVec;

/// Longest line, in bytes; a longer one goes on in the next.
pub const MAX_LINE: usize = 160;

/// The UART, and the line that it is in.
#[derive(Clone, Debug, Default)]
pub struct Console {
    line: ArrayVec<u8, MAX_LINE>,
    uart: Uart,
}

impl Console {
    /// Reads the register at `offset`, 0 to 7; others are all ones.
    pub fn read(&mut self, offset: u8) -> u8 {
        self.uart.read(offset)
    }

    /// Writes the register at `offset`; `emit` gets a line when one is complete.
    pub fn write(&mut self, offset: u8, value: u8, emit: impl FnOnce(&str)) {
        if let Some(byte) = self.uart.write(offset, value) {
            self.transmit(byte, emit);
        }
    }

    /// Whether the UART's interrupt line is up.
    #[must_use]
    pub fn interrupts(&self) -> bool {
        self.uart.interrupts()
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
    use spec::uart;

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
    fn setting_the_speed_prints_nothing() {
        let mut console = Console::default();
        let silent = |_: &str| panic!("printed");
        console.write(uart::LINE_CONTROL, 0x83, silent);
        console.write(uart::DATA, b'\n', silent);
        console.write(uart::LINE_CONTROL, 3, silent);
        assert_eq!(console.read(uart::LINE_CONTROL), 3);
        console.write(uart::MODEM_CONTROL, uart::LOOPBACK | 0xe, silent);
        console.write(uart::DATA, 0xae, silent);
        assert_eq!(console.read(uart::DATA), 0xae);
    }
}
