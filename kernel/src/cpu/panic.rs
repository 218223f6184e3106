//! The end by our own fault: says where, walks the stack, and ends the run with a failing status.
#![expect(unsafe_code, reason = "walks the stack by frame pointers")]

use super::interrupts::Frame;
use crate::console;
use crate::memory::paging;
use cohort_abi::exit::Outcome;
use core::panic::PanicInfo;

const NAMES: [&str; 22] = [
    "divide error",
    "debug",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range",
    "invalid opcode",
    "no coprocessor",
    "double fault",
    "coprocessor overrun",
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection",
    "page fault",
    "reserved",
    "x87 error",
    "alignment check",
    "machine check",
    "SIMD error",
    "virtualisation",
    "control protection",
];

/// Longest chain of frames that is printed.
const DEPTH: usize = 24;

/// An exception in host code.
pub(super) fn exception(frame: &Frame, vector: u8, error: u64, address: u64) -> ! {
    let name = NAMES.get(usize::from(vector)).unwrap_or(&"reserved");
    let guard = if matches!(vector, 8 | 14) && paging::rights(address).is_none() {
        " (unmapped: a stack overflow?)"
    } else {
        ""
    };
    console::last_words(format_args!(
        "\ncohort: exception {vector} ({name}), error {error:#x}, address {address:#x}{guard}\n{frame:#x?}"
    ));
    backtrace(frame.rip, frame.rbp());
    console::exit(Outcome::Panic)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    x86_64::instructions::interrupts::disable();
    console::last_words(format_args!("\ncohort: {info}"));
    let rbp: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    backtrace(0, rbp);
    console::exit(Outcome::Panic)
}

/// Prints return addresses; every frame is checked to lie in the image, where all stacks are, and to go upwards.
fn backtrace(rip: u64, mut rbp: u64) {
    let image = paging::image();
    if rip != 0 {
        console::last_words(format_args!("  at {rip:#x}"));
    }
    for _ in 0..DEPTH {
        if !rbp.is_multiple_of(8)
            || rbp < image.start
            || rbp + 16 > image.end
            || paging::rights(rbp).is_none()
        {
            break;
        }
        // SAFETY: aligned, mapped, inside the image, where stacks lie.
        let next = unsafe { (rbp as *const u64).read() };
        // SAFETY: as above.
        let back = unsafe { (rbp as *const u64).add(1).read() };
        console::last_words(format_args!("  from {back:#x}"));
        if next <= rbp {
            break;
        }
        rbp = next;
    }
}
