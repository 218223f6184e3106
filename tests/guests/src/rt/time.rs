//! Bounds on waiting, by the timer of the local APIC.

use super::{apic, interrupts};

/// How many polls go by between two looks at the timer, each of which a hypervisor may have to emulate.
const POLLS_PER_LOOK: u32 = 256;

/// A bound on waiting. There is one timer: a new deadline replaces the one before.
#[derive(Debug)]
pub struct Deadline {
    polls: u32,
}

impl Deadline {
    /// The deadline in `milliseconds` (at most 68,000) from now.
    #[must_use]
    pub fn after(milliseconds: u32) -> Self {
        apic::start_timer(milliseconds);
        Self { polls: 0 }
    }

    /// `true` once the time is up; looks at the timer only now and then, for loops that poll.
    pub fn passed_in_poll(&mut self) -> bool {
        self.polls = (self.polls + 1) % POLLS_PER_LOOK;
        self.polls == 0 && apic::timer_ended()
    }

    /// `true` once the time is up.
    #[must_use]
    pub fn passed(&self) -> bool {
        apic::timer_ended()
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        apic::stop_timer();
    }
}

/// Polls `done` until it gives something, for at most `milliseconds`.
pub fn poll<T>(milliseconds: u32, mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let mut deadline = Deadline::after(milliseconds);
    loop {
        if let Some(result) = done() {
            return Some(result);
        }
        if deadline.passed_in_poll() {
            return done();
        }
        core::hint::spin_loop();
    }
}

/// Sleeps in HLT until the timer's interrupt, `milliseconds` from now.
pub fn sleep(milliseconds: u32) {
    if milliseconds == 0 {
        return;
    }
    let before = interrupts::count(apic::TIMER_VECTOR);
    let deadline = Deadline::after(milliseconds);
    while !(deadline.passed() && interrupts::count(apic::TIMER_VECTOR) != before) {
        interrupts::wait();
    }
}
