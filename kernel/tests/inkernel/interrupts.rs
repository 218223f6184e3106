//! Vectors, the timer, NMIs.

use core::arch::asm;
use kernel::cpu::{clock, interrupts, lapic};

pub(crate) fn every_vector() {
    for vector in interrupts::FIRST_EXTERNAL..lapic::SPURIOUS_VECTOR {
        assert!(lapic::send(lapic::this(), vector), "sent");
        interrupts::window();
        assert_eq!(interrupts::take(0), Some(vector));
        assert_eq!(interrupts::take(0), None, "noted once");
    }
}

pub(crate) fn timer() {
    let start = clock::ticks();
    lapic::arm_timer(clock::micros(2000));
    while interrupts::take(0) != Some(lapic::TIMER_VECTOR) {
        interrupts::wait();
    }
    let waited = clock::ticks() - start;
    assert!(
        waited > clock::micros(1000),
        "came after {waited} ticks of {}",
        clock::micros(2000)
    );
}

pub(crate) fn nmi() {
    let before = interrupts::nmis();
    // SAFETY: enters the NMI's handler, which counts and returns.
    unsafe { asm!("int 2") };
    assert_eq!(interrupts::nmis(), before + 1);
}
