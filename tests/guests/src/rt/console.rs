//! The console: a 16550 at port 0x3f8, transmit only, polled.
#![expect(unsafe_code, reason = "owns an I/O port")]

use core::cell::UnsafeCell;
use core::fmt::{self, Write as _};
use uart_16550::backend::PioBackend;
use uart_16550::{Config, Uart16550};

/// The base port of COM1.
const PORT: u16 = 0x3f8;

/// How often a transmitter that is not ready is asked again before a piece of text is dropped.
const PATIENCE: u32 = 1_000_000;

struct Console(UnsafeCell<Option<Uart16550<PioBackend>>>);

// SAFETY: one CPU; interrupt handlers print only when the guest is about to end.
unsafe impl Sync for Console {}

static CONSOLE: Console = Console(UnsafeCell::new(None));

/// Sets the port up. A port that does not answer as a 16550 should is written to all the same.
pub(super) fn init() {
    // SAFETY: COM1 of this guest, which nobody else drives.
    let Ok(mut uart) = (unsafe { Uart16550::new_port(PORT) }) else {
        return;
    };
    if uart.check_present() {
        let _ = uart.init(Config::default());
    }
    // SAFETY: called once, before anything prints.
    unsafe { *CONSOLE.0.get() = Some(uart) };
}

struct Writer;

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: one CPU, and no reference lives across a call.
        let Some(uart) = (unsafe { (*CONSOLE.0.get()).as_mut() }) else {
            return Ok(());
        };
        let (mut rest, mut patience) = (text.as_bytes(), PATIENCE);
        while !rest.is_empty() && patience > 0 {
            let sent = uart.send_bytes(rest);
            rest = rest.get(sent..).unwrap_or_default();
            patience -= 1;
        }
        Ok(())
    }
}

/// Prints; the target of [`println!`].
pub fn print(arguments: fmt::Arguments<'_>) {
    let _ = Writer.write_fmt(arguments);
}

/// Prints a line on the console.
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::rt::console::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}
