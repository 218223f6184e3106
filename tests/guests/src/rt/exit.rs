//! The ends of a guest: the exit port, panics.
#![expect(unsafe_code, reason = "I/O port and HLT")]

use cohort_abi::exit::{Outcome, PORT};
use core::arch::asm;
use core::panic::PanicInfo;

/// Everything held.
pub fn success() -> ! {
    leave(Outcome::Success)
}

/// Something did not hold.
pub fn failure() -> ! {
    leave(Outcome::Failure)
}

fn leave(outcome: Outcome) -> ! {
    // SAFETY: the port ends the machine, nothing runs after it.
    unsafe { asm!("out dx, al", in("dx") PORT, in("al") outcome as u8, options(nomem, nostack)) };
    loop {
        // SAFETY: waits for ever if the machine has no such port.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("panic: {info}");
    failure()
}
