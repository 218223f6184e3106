//! Every vector's entry, and the pending interrupts of each CPU.
//!
//! An external interrupt is only noted, and acknowledged at the local APIC; the code that runs the CPU's guest takes it
//! from there. An exception in host code is our own fault and ends the run; NMIs are counted.
#![expect(unsafe_code, reason = "naked stubs, and the interrupt flag")]

use super::{CpuIndex, MAX_CPUS, lapic};
use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use x86_64::registers::control::Cr2;

/// First vector that is not an exception.
pub const FIRST_EXTERNAL: u8 = 32;

/// What the stubs leave on the stack.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Frame {
    /// r15 down to rax.
    registers: [u64; 15],
    vector: u64,
    error: u64,
    /// Where it happened.
    pub(super) rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

impl Frame {
    /// Frame pointer of the interrupted code.
    pub(super) fn rbp(&self) -> u64 {
        self.registers[8]
    }
}

/// 256 bits for each CPU: vectors that came and were not taken.
static PENDING: [[AtomicU32; 8]; MAX_CPUS] = [const { [const { AtomicU32::new(0) }; 8] }; MAX_CPUS];
static NMIS: AtomicU64 = AtomicU64::new(0);

/// Which vectors push an error code (AMD64 manual, volume 2, section 8.2).
const fn has_error_code(vector: u64) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}

#[unsafe(naked)]
extern "C" fn stub<const VECTOR: u64>() {
    naked_asm!(
        ".if {with_error} == 0",
        "push 0",
        ".endif",
        "push {vector}",
        "jmp {common}",
        with_error = const has_error_code(VECTOR) as u64,
        vector = const VECTOR,
        common = sym common,
    )
}

#[unsafe(naked)]
extern "C" fn common() {
    naked_asm!(
        "push rax", "push rbx", "push rcx", "push rdx", "push rsi", "push rdi", "push rbp", "push r8", "push r9",
        "push r10", "push r11", "push r12", "push r13", "push r14", "push r15",
        "cld",
        "mov rdi, rsp",
        "call {handle}",
        "pop r15", "pop r14", "pop r13", "pop r12", "pop r11", "pop r10", "pop r9", "pop r8", "pop rbp", "pop rdi",
        "pop rsi", "pop rdx", "pop rcx", "pop rbx", "pop rax",
        "add rsp, 16",
        "iretq",
        handle = sym handle,
    )
}

macro_rules! stubs {
    ($($high:literal)*) => {
        [$(
            stub::<{ $high * 16 }>, stub::<{ $high * 16 + 1 }>, stub::<{ $high * 16 + 2 }>, stub::<{ $high * 16 + 3 }>,
            stub::<{ $high * 16 + 4 }>, stub::<{ $high * 16 + 5 }>, stub::<{ $high * 16 + 6 }>, stub::<{ $high * 16 + 7 }>,
            stub::<{ $high * 16 + 8 }>, stub::<{ $high * 16 + 9 }>, stub::<{ $high * 16 + 10 }>, stub::<{ $high * 16 + 11 }>,
            stub::<{ $high * 16 + 12 }>, stub::<{ $high * 16 + 13 }>, stub::<{ $high * 16 + 14 }>, stub::<{ $high * 16 + 15 }>,
        )*]
    };
}

pub(super) static STUBS: [extern "C" fn(); 256] = stubs!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);

extern "C" fn handle(frame: &Frame) {
    match frame.vector as u8 {
        2 => {
            NMIS.fetch_add(1, Ordering::Relaxed);
        }
        vector @ 0..FIRST_EXTERNAL => {
            let at = Cr2::read_raw();
            super::panic::exception(frame, vector, frame.error, at)
        }
        lapic::SPURIOUS_VECTOR => {}
        vector => {
            note(lapic::this(), vector);
            lapic::end_of_interrupt();
        }
    }
}

/// Marks `vector` as pending on `cpu`.
pub fn note(cpu: CpuIndex, vector: u8) {
    if let Some(words) = PENDING.get(cpu) {
        words[usize::from(vector / 32)].fetch_or(1 << (vector % 32), Ordering::Release);
    }
}

/// Takes one pending vector of `cpu`, the highest first.
pub fn take(cpu: CpuIndex) -> Option<u8> {
    for (index, word) in PENDING.get(cpu)?.iter().enumerate().rev() {
        let bits = word.load(Ordering::Acquire);
        if bits != 0 {
            let bit = 31 - bits.leading_zeros();
            word.fetch_and(!(1 << bit), Ordering::AcqRel);
            return Some((index as u32 * 32 + bit) as u8);
        }
    }
    None
}

/// Whether a vector is pending on `cpu`.
#[must_use]
pub fn any(cpu: CpuIndex) -> bool {
    PENDING
        .get(cpu)
        .is_some_and(|words| words.iter().any(|word| word.load(Ordering::Acquire) != 0))
}

/// Lets interrupts that wait at the local APIC in, and turns them off again.
pub fn window() {
    // SAFETY: handlers only note vectors; `sti` holds them off for one instruction, `nop` is that one.
    unsafe { asm!("sti", "nop", "nop", "cli") };
}

/// Waits, halted, until an interrupt came in.
pub fn wait() {
    // SAFETY: as for `window`; `hlt` directly behind `sti` cannot miss an interrupt.
    unsafe { asm!("sti", "hlt", "cli") };
}

/// Non-maskable interrupts so far.
#[must_use]
pub fn nmis() -> u64 {
    NMIS.load(Ordering::Relaxed)
}
