//! The IDT: every vector has a stub; exceptions end the guest, interrupts are counted.
#![expect(unsafe_code, reason = "interrupt entry")]

use core::arch::{asm, naked_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::VirtAddr;
use x86_64::registers::control::Cr2;
use x86_64::structures::idt::InterruptDescriptorTable;

use super::{apic, exit, smp};

/// The first vector that is no exception.
const FIRST_INTERRUPT: usize = 32;

/// Exceptions with an error code (Intel SDM volume 3, table 7-1; AMD APM volume 2, section 8.2).
const WITH_ERROR_CODE: u32 = 1 << 8 | 0b1_1111 << 10 | 1 << 17 | 1 << 21 | 1 << 29 | 1 << 30;

/// Bytes between two stubs.
const STUB: usize = 8;

struct Idt(UnsafeCell<InterruptDescriptorTable>);

// SAFETY: written once, with interrupts off, then only read by the CPU.
unsafe impl Sync for Idt {}

static IDT: Idt = Idt(UnsafeCell::new(InterruptDescriptorTable::new()));
/// By vector, on all CPUs together and on the second alone.
static COUNTS: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
static ON_SECOND: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];

/// The vector of non-maskable interrupts, which are counted and not acknowledged.
pub const NMI: u8 = 2;

/// Gives every vector its stub.
pub(super) fn init() {
    let base = stubs as *const () as u64;
    let stub = |vector: usize| VirtAddr::new(base + (vector * STUB) as u64);
    // SAFETY: interrupts are off and nothing else refers to the table yet; the stubs keep all registers.
    unsafe {
        let idt = &mut *IDT.0.get();
        idt.divide_error.set_handler_addr(stub(0));
        idt.debug.set_handler_addr(stub(1));
        idt.non_maskable_interrupt.set_handler_addr(stub(2));
        idt.breakpoint.set_handler_addr(stub(3));
        idt.overflow.set_handler_addr(stub(4));
        idt.bound_range_exceeded.set_handler_addr(stub(5));
        idt.invalid_opcode.set_handler_addr(stub(6));
        idt.device_not_available.set_handler_addr(stub(7));
        idt.double_fault.set_handler_addr(stub(8));
        idt.invalid_tss.set_handler_addr(stub(10));
        idt.segment_not_present.set_handler_addr(stub(11));
        idt.stack_segment_fault.set_handler_addr(stub(12));
        idt.general_protection_fault.set_handler_addr(stub(13));
        idt.page_fault.set_handler_addr(stub(14));
        idt.x87_floating_point.set_handler_addr(stub(16));
        idt.alignment_check.set_handler_addr(stub(17));
        idt.machine_check.set_handler_addr(stub(18));
        idt.simd_floating_point.set_handler_addr(stub(19));
        idt.virtualization.set_handler_addr(stub(20));
        idt.cp_protection_exception.set_handler_addr(stub(21));
        idt.hv_injection_exception.set_handler_addr(stub(28));
        idt.vmm_communication_exception.set_handler_addr(stub(29));
        idt.security_exception.set_handler_addr(stub(30));
        for vector in FIRST_INTERRUPT..256 {
            idt[vector as u8].set_handler_addr(stub(vector));
        }
        idt.load_unsafe();
    }
}

/// Has this CPU use the table that [`init`] filled.
pub(super) fn load() {
    // SAFETY: the table is complete and stays as it is.
    unsafe { (*IDT.0.get()).load_unsafe() };
}

/// How many interrupts came on `vector` to the second CPU.
#[must_use]
pub fn count_on_second(vector: u8) -> u64 {
    ON_SECOND[usize::from(vector)].load(Ordering::Relaxed)
}

/// How many interrupts came on `vector`.
#[must_use]
pub fn count(vector: u8) -> u64 {
    COUNTS[usize::from(vector)].load(Ordering::Relaxed)
}

/// The first vector that interrupted and is not in `expected`, with how often it did.
#[must_use]
pub fn unexpected(expected: &[u8]) -> Option<(u8, u64)> {
    (0..=255)
        .filter(|vector| !expected.contains(vector) && *vector != apic::SPURIOUS_VECTOR)
        .map(|vector| (vector, count(vector)))
        .find(|(_, count)| *count != 0)
}

/// Lets interrupts in that are pending.
pub fn window() {
    // SAFETY: as for `wait`.
    unsafe { asm!("sti", "nop", "nop", "cli", options(nostack)) };
}

/// Waits in HLT for the next interrupt; one that is already pending ends the wait at once.
pub fn wait() {
    // SAFETY: every vector has a handler. STI takes effect after HLT has begun, so no interrupt is missed.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// One stub for each vector, all the same: the return address that `call` leaves says which one it was.
#[unsafe(naked)]
unsafe extern "C" fn stubs() {
    naked_asm!(
        ".balign 8",
        ".rept 256",
        "call {common}",
        ".balign 8",
        ".endr",
        common = sym common,
    )
}

/// Saves what Rust code may change. Only handlers of interrupts, which have no error code, return.
#[unsafe(naked)]
unsafe extern "C" fn common() {
    naked_asm!(
        "push rax",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "sub rsp, 8",
        "cld",
        "mov rdi, [rsp + 80]",
        "lea rsi, [rsp + 88]",
        "call {handle}",
        "add rsp, 8",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "add rsp, 8",
        "iretq",
        handle = sym handle,
    )
}

/// `returns` is where the stub's `call` would return to, `frame` what the CPU pushed.
extern "C" fn handle(returns: usize, frame: *const u64) {
    let vector = (returns - stubs as *const () as usize) / STUB;
    if vector < FIRST_INTERRUPT && vector != usize::from(NMI) {
        exception(vector, frame);
    }
    if let Some(count) = COUNTS.get(vector) {
        count.fetch_add(1, Ordering::Relaxed);
    }
    if smp::is_on_second_stack(frame.addr())
        && let Some(count) = ON_SECOND.get(vector)
    {
        count.fetch_add(1, Ordering::Relaxed);
    }
    if vector != usize::from(apic::SPURIOUS_VECTOR) && vector != usize::from(NMI) {
        apic::end_of_interrupt();
    }
}

fn exception(vector: usize, frame: *const u64) -> ! {
    let with_code = WITH_ERROR_CODE >> vector & 1 == 1;
    // SAFETY: the CPU pushed an error code where the exception has one, then RIP, CS, RFLAGS, RSP, SS.
    let (code, rip) = unsafe {
        match with_code {
            true => (frame.read(), frame.add(1).read()),
            false => (0, frame.read()),
        }
    };
    println!(
        "exception {vector} at {rip:#x}, error code {code:#x}, CR2 {:#x}",
        Cr2::read_raw()
    );
    exit::failure()
}
