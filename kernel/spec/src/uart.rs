//! Registers of the 16550 UART (PC16550D data sheet, table II): offsets from its first port.

/// Transmit holding (write), receive buffer (read); divisor latch low with DLAB.
pub const DATA: u8 = 0;
/// Interrupt enable; divisor latch high with DLAB.
pub const INTERRUPT_ENABLE: u8 = 1;
/// Interrupt identification (read).
pub const INTERRUPT_ID: u8 = 2;
/// FIFO control (write).
pub const FIFO_CONTROL: u8 = 2;
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

/// Interrupt enable: data was received.
pub const RECEIVER_INTERRUPT: u8 = 1;
/// Interrupt enable: the transmit holding register is empty.
pub const TRANSMITTER_INTERRUPT: u8 = 1 << 1;
/// Interrupt enable: an error on the line.
pub const LINE_INTERRUPT: u8 = 1 << 2;
/// Interrupt enable: a line of the modem changed.
pub const MODEM_INTERRUPT: u8 = 1 << 3;

/// Interrupt identification: none is pending.
pub const NO_INTERRUPT: u8 = 1;
/// Interrupt identification: an error on the line; ended by reading the line status.
pub const LINE_SOURCE: u8 = 6;
/// Interrupt identification: as many bytes as the trigger asks for; ended by reading them.
pub const RECEIVER_SOURCE: u8 = 4;
/// Interrupt identification: fewer bytes, for a while; ended by reading them.
pub const TIMEOUT_SOURCE: u8 = 0xc;
/// Interrupt identification: transmitter empty; ended by reading this register or by sending.
pub const TRANSMITTER_SOURCE: u8 = 2;
/// Interrupt identification: a modem line changed; ended by reading the modem status.
pub const MODEM_SOURCE: u8 = 0;
/// Interrupt identification: FIFOs are on.
pub const FIFO_ENABLED: u8 = 0xc0;

/// FIFO control: FIFOs on.
pub const FIFO_ENABLE: u8 = 1;
/// FIFO control: the receiver's is emptied.
pub const CLEAR_RECEIVER: u8 = 1 << 1;

/// Line status: a byte was received.
pub const DATA_READY: u8 = 1;
/// Line status: a received byte was lost.
pub const OVERRUN: u8 = 1 << 1;
/// Line status: both transmitter registers are empty.
pub const TRANSMITTER_EMPTY: u8 = 0x60;

/// Modem status: carrier, data set ready, clear to send.
pub const CONNECTED: u8 = 0xb0;
/// Modem status: ring indicator.
pub const RING: u8 = 1 << 6;

/// Modem control: on a PC, lets the interrupt through.
pub const OUT2: u8 = 1 << 3;
/// Modem control: what is sent is received.
pub const LOOPBACK: u8 = 1 << 4;
