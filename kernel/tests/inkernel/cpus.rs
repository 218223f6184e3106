//! Starting the other CPUs.

use core::sync::atomic::{AtomicU32, Ordering};
use kernel::cpu::{CpuIndex, clock, interrupts, lapic, smp};

static ANSWERS: AtomicU32 = AtomicU32::new(0);

pub(crate) fn start() {
    // The test machine numbers its APICs from 0; an APIC that is not there must not come up, nor hang us.
    let up = smp::start(&[1, 2, 200]).expect("stacks");
    assert_eq!(up, [true, true, false]);
    for cpu in [1, 2] {
        assert!(lapic::kick(cpu));
    }
    for _ in 0..10_000 {
        if ANSWERS.load(Ordering::Acquire) == 0b110 {
            return;
        }
        clock::delay(100);
    }
    panic!("answers: {:#b}", ANSWERS.load(Ordering::Acquire));
}

pub(crate) fn answer(cpu: CpuIndex) -> ! {
    loop {
        interrupts::wait();
        if interrupts::take(cpu) == Some(lapic::KICK_VECTOR) {
            ANSWERS.fetch_or(1 << cpu, Ordering::Release);
        }
    }
}
