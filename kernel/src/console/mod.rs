//! The console: text for people on the first serial port, typed records for programs on the second.
//!
//! `log` records and the lines of guests share the port; a line is never torn.
#![expect(unsafe_code, reason = "serial ports at fixed I/O addresses")]

use cohort_abi::exit::{Outcome, PORT};
use cohort_abi::report::{self, Record};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use log::{Level, LevelFilter, Log, Metadata};
use spin::Mutex;
use uart_16550::backend::PioBackend;
use uart_16550::{Config, Uart16550};
use x86_64::instructions::port::Port;

/// COM1: text.
const TEXT_PORT: u16 = 0x3f8;
/// COM2: records.
const REPORT_PORT: u16 = 0x2f8;
/// Polls of the transmitter before a byte is given up: a port that vanished must not stop the machine.
const SEND_POLLS: u32 = 100_000;

type Uart = Uart16550<PioBackend>;

static TEXT: Mutex<Option<Uart>> = Mutex::new(None);
static REPORT: Mutex<Option<Uart>> = Mutex::new(None);
static LOGGER: Logger = Logger;
static PANICKED: AtomicBool = AtomicBool::new(false);

struct Line<'a>(&'a mut Uart);

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            match part.strip_suffix('\n') {
                Some(line) => {
                    send(self.0, line.as_bytes());
                    send(self.0, b"\r\n");
                }
                None => send(self.0, part.as_bytes()),
            }
        }
        Ok(())
    }
}

/// Sends `bytes`, as many at a time as the transmitter takes.
fn send(uart: &mut Uart, mut bytes: &[u8]) {
    let mut polls = 0;
    while !bytes.is_empty() {
        let sent = uart.send_bytes(bytes);
        polls = if sent == 0 { polls + 1 } else { 0 };
        if polls == SEND_POLLS {
            (polls, bytes) = (0, bytes.get(1..).unwrap_or_default());
        } else if sent == 0 {
            core::hint::spin_loop();
        }
        bytes = bytes.get(sent..).unwrap_or_default();
    }
}

fn open(port: u16) -> Option<Uart> {
    // SAFETY: the standard PC serial ports; this module is the only user.
    let mut uart = unsafe { Uart16550::new_port(port) }.ok()?;
    uart.init(Config::default()).ok()?;
    Some(uart)
}

/// Finds the ports and becomes `log`'s sink. Absent ports stay silent.
pub fn init() {
    *TEXT.lock() = open(TEXT_PORT);
    *REPORT.lock() = open(REPORT_PORT);
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// One whole line of text.
pub fn line(text: fmt::Arguments<'_>) {
    if let Some(uart) = TEXT.lock().as_mut() {
        let _ = writeln!(Line(uart), "{text}");
    }
}

/// One record of the report.
pub fn report(record: &Record) {
    if let (Ok(frame), Some(uart)) = (report::encode(record), REPORT.lock().as_mut()) {
        send(uart, &frame);
    }
}

/// A port of its own for the last words of a panic: whoever holds the lock may never give it back.
pub fn last_words(text: fmt::Arguments<'_>) {
    if let Some(mut uart) = open(TEXT_PORT) {
        let _ = writeln!(Line(&mut uart), "{text}");
    }
}

/// Ends the run: through `isa-debug-exit` where there is one, else by halting this CPU.
pub fn exit(outcome: Outcome) -> ! {
    if outcome == Outcome::Panic && PANICKED.swap(true, Ordering::Relaxed) {
        halt();
    }
    // SAFETY: the port of isa-debug-exit in QEMU; unused on PCs.
    unsafe { Port::<u8>::new(PORT).write(outcome as u8) };
    halt()
}

fn halt() -> ! {
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            match record.level() {
                Level::Info => line(format_args!("[cohort] {}", record.args())),
                level => line(format_args!(
                    "[cohort] {}: {}",
                    level.as_str().to_ascii_lowercase(),
                    record.args()
                )),
            }
        }
    }

    fn flush(&self) {}
}
