//! The ends of a guest: the exit port, the power, resets, a triple fault, panics.
#![expect(unsafe_code, reason = "I/O port and HLT")]

use cohort_abi::exit::{Outcome, PORT};
use core::arch::asm;
use core::panic::PanicInfo;
use x86_64::VirtAddr;
use x86_64::structures::DescriptorTablePointer;

use super::Failure;

/// Sleep control register of a guest, and what turns the power off (ACPI 6.4, section 4.8.3.7: enable, state 5).
const SLEEP: (u16, u8) = (0x600, 0x34);
/// The reset register, and what resets.
const RESET: (u16, u8) = (0xcf9, 6);
/// The keyboard controller's command register, and the pulse on the reset line.
const KEYBOARD: (u16, u8) = (0x64, 0xfe);

/// Ends the guest as `how` says: `success`, `failure`, `power-off`, `reset`, `keyboard` or `triple-fault`.
///
/// # Errors
/// There is no such end, or it had no consequence.
pub fn end(how: &str) -> Result<(), Failure> {
    match how {
        "success" => success(),
        "failure" => failure(),
        "power-off" => out(SLEEP),
        "reset" => out(RESET),
        "keyboard" => out(KEYBOARD),
        "triple-fault" => triple_fault(),
        _ => return Err(format_args!("there is no end `{how}`").into()),
    }
    Err(format_args!("{how} had no consequence: this guest still runs").into())
}

fn out((port, value): (u16, u8)) {
    // SAFETY: ends the machine, or does nothing.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
}

fn triple_fault() {
    let empty = DescriptorTablePointer {
        limit: 0,
        base: VirtAddr::new(0),
    };
    // SAFETY: ends the machine, which is the purpose.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &raw const empty, options(nostack)) };
}

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
