//! Channel 2 of the PIT (Intel 8254), the one that drove the speaker, as a counter of 55 ms.
#![expect(unsafe_code, reason = "ports of the PIT and its gate")]

use x86_64::instructions::port::Port;

/// Its frequency in Hz.
pub(super) const HZ: u64 = 1_193_182;

const CHANNEL_2: u16 = 0x42;
const COMMAND: u16 = 0x43;
const GATE: u16 = 0x61;

/// Channel 2, low byte then high byte, mode 0: the output rises when the count has run out, and stays up.
const ONE_SHOT: u8 = 0xb0;
/// Holds the count of channel 2 until both bytes are read.
const LATCH: u8 = 0x80;
/// The gate counts with bit 0; bit 1 would give the output to the speaker; bit 5 is the output.
const COUNTS: u8 = 1 << 0;
const SPEAKER: u8 = 1 << 1;
const OUTPUT: u8 = 1 << 5;

/// Stops the counter, full. Returns what [`start`] writes to the gate.
pub(super) fn stop() -> u8 {
    let mut gate = Port::<u8>::new(GATE);
    // SAFETY: nobody else uses channel 2 and its gate; what the gate's other bits do is kept. 0 is the highest count.
    unsafe {
        let off = gate.read() & !(COUNTS | SPEAKER);
        gate.write(off);
        Port::<u8>::new(COMMAND).write(ONE_SHOT);
        let mut channel = Port::<u8>::new(CHANNEL_2);
        channel.write(0);
        channel.write(0);
        off
    }
}

/// Lets it count, with what [`stop`] returned.
pub(super) fn start(gate: u8) {
    // SAFETY: as above.
    unsafe { Port::<u8>::new(GATE).write(gate | COUNTS) };
}

/// Ticks since the start; `None` when it has run out, or is not there.
pub(super) fn elapsed() -> Option<u16> {
    let mut channel = Port::<u8>::new(CHANNEL_2);
    // SAFETY: as above; a latched count does not disturb the counter.
    let (count, gate) = unsafe {
        Port::<u8>::new(COMMAND).write(LATCH);
        let count = u16::from_le_bytes([channel.read(), channel.read()]);
        (count, Port::<u8>::new(GATE).read())
    };
    (gate & OUTPUT == 0).then_some(0_u16.wrapping_sub(count))
}
