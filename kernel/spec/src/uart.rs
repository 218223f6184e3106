//! Registers of the 16550 UART (PC16550D data sheet, table II): offsets from its first port.

/// Transmit holding (write), receive buffer (read); divisor latch low with DLAB.
pub const DATA: u8 = 0;
/// Interrupt enable; divisor latch high with DLAB.
pub const INTERRUPT_ENABLE: u8 = 1;
/// Interrupt identification (read), FIFO control (write).
pub const INTERRUPT_ID: u8 = 2;
/// Line control.
pub const LINE_CONTROL: u8 = 3;
/// Modem control.
pub const MODEM_CONTROL: u8 = 4;
/// Line status.
pub const LINE_STATUS: u8 = 5;
/// Modem status.
pub const MODEM_STATUS: u8 = 6;
/// Scratch.
pub const SCRATCH: u8 = 7;

/// Line control: the first two registers are the divisor latch.
pub const DLAB: u8 = 1 << 7;
/// Interrupt identification: none is pending.
pub const NO_INTERRUPT: u8 = 1;
/// FIFO control: FIFOs on.
pub const FIFO_ENABLE: u8 = 1;
/// Interrupt identification: FIFOs are on.
pub const FIFO_ENABLED: u8 = 0xc0;
/// Line status: both transmitter registers are empty.
pub const TRANSMITTER_EMPTY: u8 = 0x60;
/// Modem status: carrier, data set ready, clear to send.
pub const CONNECTED: u8 = 0xb0;
/// Modem control: what is sent is received.
pub const LOOPBACK: u8 = 1 << 4;
