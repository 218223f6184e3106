//! Time: the time-stamp counter, measured once against the PIT while the machine boots.
#![expect(unsafe_code, reason = "reads the time-stamp counter")]

use super::{lapic, pit};
use crate::calibration::{Span, measure};
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;

/// The least that is measured, in PIT ticks: 1 ms. Reading it costs about a microsecond, so that the result is good to
/// two thousandths, and too long rather than too short.
const LEAST: u16 = 1_193;
/// How long the PIT is read before it is given up, in microseconds, of [`FALLBACK_KHZ`] and so a few times longer.
const PATIENCE_US: u64 = 100_000;
/// What is assumed before [`settle`] and without a PIT: a fast CPU makes waits longer, never shorter.
const FALLBACK_KHZ: u64 = 5_000_000;

static WAITED: AtomicU64 = AtomicU64::new(0);
static KHZ: AtomicU64 = AtomicU64::new(FALLBACK_KHZ);
/// Readings before and after the start of a measurement that is under way.
static BEGUN: Mutex<Option<(u64, u64)>> = Mutex::new(None);

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

/// Begins to measure the counter and this CPU's timer; [`settle`] ends it. Until then waits are too long.
pub fn begin() {
    *BEGUN.lock() = Some(start());
}

/// Ends the measurement that [`begin`] began, at least 1 ms after it, and measures again where this CPU was held up at an end.
/// Returns whether the PIT answered.
pub fn settle() -> bool {
    let mut begun = BEGUN.lock().take();
    let measured = waiting(|| measure(|| sample(begun.take().unwrap_or_else(start))));
    let found = measured.and_then(|(span, (pit, timer))| {
        let khz = u128::from(span.most()) * u128::from(pit::HZ) / u128::from(pit) / 1000;
        let khz = u64::try_from(khz).ok().filter(|khz| *khz > 0)?;
        Some((khz, span, timer))
    });
    let (khz, span, timer) = found.unwrap_or_else(|| {
        let (span, timer) = waiting(without_pit);
        (FALLBACK_KHZ, span, timer)
    });
    KHZ.store(khz, Ordering::Relaxed);
    lapic::stop_timer();
    lapic::set_timer_rate(u128::from(timer) * u128::from(khz) * 10 / u128::from(span.most().max(1)));
    found.is_some()
}

/// Starts both counters at once, and says between which readings.
fn start() -> (u64, u64) {
    let gate = pit::stop();
    let before = ticks();
    pit::start(gate);
    lapic::start_counting();
    (before, ticks())
}

/// How long the counters have run from `start`, with what they say; `None` without a PIT, or too late for it.
fn sample(start: (u64, u64)) -> Option<(Span, (u16, u32))> {
    let began = ticks();
    while ticks().wrapping_sub(began) < PATIENCE_US * (FALLBACK_KHZ / 1000) {
        let before = ticks();
        let pit = pit::elapsed()?;
        let timer = lapic::counted();
        if pit >= LEAST {
            return Some((Span::new(start, (before, ticks())), (pit, timer)));
        }
    }
    None
}

/// This CPU's timer against the counter alone.
fn without_pit() -> (Span, u32) {
    let start = start();
    untimed_delay(1000);
    let (before, timer) = (ticks(), lapic::counted());
    (Span::new(start, (before, ticks())), timer)
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
