//! Time: the time-stamp counter, calibrated once against the PIT.
#![expect(unsafe_code, reason = "reads the time-stamp counter and programs the PIT")]

use crate::calibration::{Span, measure};
use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::instructions::port::Port;

/// Frequency of the PIT in Hz (Intel 8254).
const PIT_HZ: u64 = 1_193_182;
/// How long the calibration takes, in PIT ticks: 2 ms. Reading the port costs about a microsecond, so that the result is
/// good to a thousandth, and too long rather than too short.
const PIT_TICKS: u16 = 2_386;
/// Reads of the PIT's gate before it is given up.
const GATE_POLLS: u32 = 50_000_000;
/// What is assumed of a machine without a PIT: a fast CPU makes waits longer, never shorter.
const FALLBACK_KHZ: u64 = 5_000_000;

static WAITED: AtomicU64 = AtomicU64::new(0);
static KHZ: AtomicU64 = AtomicU64::new(FALLBACK_KHZ);

/// Time-stamp counter now.
#[must_use]
pub fn ticks() -> u64 {
    // SAFETY: every x86_64 CPU has the counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Ticks in a millisecond.
#[must_use]
pub fn khz() -> u64 {
    KHZ.load(Ordering::Relaxed)
}

/// Ticks in `micros` microseconds.
#[must_use]
pub fn micros(micros: u64) -> u64 {
    micros.saturating_mul(khz()) / 1000
}

/// Ticks that this machine has spent in [`waiting`], on all CPUs together.
#[must_use]
pub fn waited() -> u64 {
    WAITED.load(Ordering::Relaxed)
}

/// Does `wait`, and counts it as a wait.
pub fn waiting<R>(wait: impl FnOnce() -> R) -> R {
    let start = ticks();
    let done = wait();
    WAITED.fetch_add(ticks().wrapping_sub(start), Ordering::Relaxed);
    done
}

/// Waits at least `us` microseconds.
pub fn delay(us: u64) {
    waiting(|| untimed_delay(us));
}

/// The same, without counting as a wait: for whoever measures.
pub fn untimed_delay(us: u64) {
    let (start, wait) = (ticks(), micros(us));
    while ticks().wrapping_sub(start) < wait {
        core::hint::spin_loop();
    }
}

/// Measures the counter over 2 ms of PIT channel 2, again where this CPU was held up. Returns whether the PIT answered.
pub fn calibrate() -> bool {
    let khz = waiting(|| measure(|| Some((pit()?, ()))))
        .map(|(span, ())| u128::from(span.most()) * u128::from(PIT_HZ) / u128::from(PIT_TICKS) / 1000);
    match khz.map(u64::try_from) {
        Some(Ok(khz)) if khz > 0 => {
            KHZ.store(khz, Ordering::Relaxed);
            true
        }
        _ => false,
    }
}

/// [`PIT_TICKS`] of the PIT by the counter; `None` where it does not answer.
fn pit() -> Option<Span> {
    let mut control = Port::<u8>::new(0x43);
    let mut channel = Port::<u8>::new(0x42);
    let mut gate = Port::<u8>::new(0x61);
    // SAFETY: channel 2 drives the speaker only, which stays off (bit 1); mode 0, low byte then high byte.
    let start = unsafe {
        let off = gate.read() & !3;
        gate.write(off);
        control.write(0xb0);
        channel.write(PIT_TICKS as u8);
        channel.write((PIT_TICKS >> 8) as u8);
        let before = ticks();
        gate.write(off | 1);
        (before, ticks())
    };
    let mut before = start.1;
    for _ in 0..GATE_POLLS {
        // SAFETY: reads the gate's output, bit 5.
        let done = unsafe { gate.read() } & 0x20 != 0;
        let now = ticks();
        if done {
            return Some(Span::new(start, (before, now)));
        }
        before = now;
    }
    None
}

/// The time-stamp counter as a clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tsc;

impl vfio_core::clock::Clock for Tsc {
    fn now(&self) -> u64 {
        (u128::from(ticks()) * 1_000_000 / u128::from(khz().max(1))) as u64
    }

    fn wait(&self, nanoseconds: u64) {
        delay(nanoseconds.div_ceil(1000));
    }
}
