//! The local APIC in xAPIC mode: on, end of interrupt, timer (Intel SDM volume 3, chapter 12).
#![expect(unsafe_code, reason = "owns the registers of the local APIC")]

use core::sync::atomic::{AtomicUsize, Ordering};

use super::mmio::Mmio;

/// The vector of the timer.
pub const TIMER_VECTOR: u8 = 0x40;

/// The spurious vector: it is not acknowledged.
pub const SPURIOUS_VECTOR: u8 = 0xff;

/// Timer ticks in a millisecond. QEMU's timer counts nanoseconds, here divided by 16; Cohort's counts ticks of the
/// time-stamp counter, so that there, as on hardware, a millisecond may pass a few times faster. Whatever is bounded
/// by it has room for that.
const TICKS_PER_MS: u32 = 1_000_000 / 16;

const ID: usize = 0x20;
const TASK_PRIORITY: usize = 0x80;
const EOI: usize = 0xb0;
const LOGICAL_ID: usize = 0xd0;
const COMMAND_LOW: usize = 0x300;
const COMMAND_HIGH: usize = 0x310;
const SPURIOUS: usize = 0xf0;
const LVT_TIMER: usize = 0x320;
const LVT_LINT0: usize = 0x350;
const INITIAL_COUNT: usize = 0x380;
const CURRENT_COUNT: usize = 0x390;
const DIVIDE: usize = 0x3e0;

const SOFTWARE_ENABLE: u32 = 1 << 8;
const LVT_MASKED: u32 = 1 << 16;
const DIVIDE_BY_16: u32 = 0b0011;

static BASE: AtomicUsize = AtomicUsize::new(0);

/// In [`MESSAGES_TO`]: the CPU that asks.
const OWN: usize = usize::MAX;
/// Id of the local APIC that messages of devices are for.
static MESSAGES_TO: AtomicUsize = AtomicUsize::new(OWN);

/// The local APIC is not where this program can reach it.
#[derive(Debug, thiserror::Error)]
#[error("the local APIC at {0:#x} lies beyond the mapped 4 GiB")]
pub(super) struct ApicError(u64);

/// Turns the local APIC at physical `base` on, with the timer stopped.
pub(super) fn init(base: u64) -> Result<(), ApicError> {
    let address = u32::try_from(base).map_err(|_| ApicError(base))?;
    BASE.store(address as usize, Ordering::Relaxed);
    init_this();
    Ok(())
}

/// Turns the local APIC of this CPU on, with the timer stopped. Its logical id is the bit with the number of its id.
pub(super) fn init_this() {
    let registers = registers();
    registers.write32(TASK_PRIORITY, 0);
    // Natively, firmware leaves the legacy interrupt controller on; this is its way to the CPU.
    registers.write32(LVT_LINT0, LVT_MASKED);
    registers.write32(SPURIOUS, SOFTWARE_ENABLE | u32::from(SPURIOUS_VECTOR));
    registers.write32(DIVIDE, DIVIDE_BY_16);
    registers.write32(LVT_TIMER, u32::from(TIMER_VECTOR));
    registers.write32(LOGICAL_ID, 1u32.checked_shl(24 + u32::from(id())).unwrap_or(0));
}

/// Sends the command `low` (Intel SDM volume 3, figure 12-12) to the local APIC with the id, or those with the logical id, `to`.
pub fn send(to: u8, low: u32) {
    registers().write32(COMMAND_HIGH, u32::from(to) << 24);
    registers().write32(COMMAND_LOW, low);
}

/// Has devices whose messages are programmed from now on interrupt the CPU with the id `to`.
pub fn direct_messages_to(to: u8) {
    MESSAGES_TO.store(usize::from(to), Ordering::Relaxed);
}

/// Id of the local APIC that messages of devices are for: this CPU's, if nothing else was said.
#[must_use]
pub fn message_target() -> u8 {
    match MESSAGES_TO.load(Ordering::Relaxed) {
        OWN => id(),
        to => to as u8,
    }
}

/// The id, for the address of message-signalled interrupts.
#[must_use]
pub fn id() -> u8 {
    (registers().read32(ID) >> 24) as u8
}

pub(super) fn end_of_interrupt() {
    registers().write32(EOI, 0);
}

/// Starts the timer; after `milliseconds` (at most 68,000 count) it stands at 0 and interrupts once.
pub(super) fn start_timer(milliseconds: u32) {
    registers().write32(INITIAL_COUNT, milliseconds.saturating_mul(TICKS_PER_MS).max(1));
}

pub(super) fn stop_timer() {
    registers().write32(INITIAL_COUNT, 0);
}

pub(super) fn timer_ended() -> bool {
    registers().read32(CURRENT_COUNT) == 0
}

fn registers() -> Mmio {
    // SAFETY: the register page of this CPU's APIC, mapped uncached; with 0 (before `init`) no access is in range.
    unsafe {
        match BASE.load(Ordering::Relaxed) {
            0 => Mmio::new(0, 0),
            base => Mmio::new(base, 4096),
        }
    }
}
