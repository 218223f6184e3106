//! Starts the other CPUs: INIT, STARTUP, a trampoline below 1 MiB, then Rust on a stack of their own.
#![expect(unsafe_code, reason = "code that runs before paging, and its mailbox")]

use super::{CpuIndex, MAX_CPUS, clock, lapic};
use crate::memory::{paging, stack};
use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, Ordering};

/// Where the trampoline runs: one page, free on every PC after boot.
const PAGE: u64 = 0x8000;
/// Stack of a CPU in bytes.
const STACK_BYTES: usize = 64 << 10;
/// How long a CPU may take to come up, in milliseconds.
const START_MS: u64 = 1000;

static STARTED: AtomicU32 = AtomicU32::new(0);

global_asm!(
    r#"
    .section .rodata.trampoline, "a"
    .balign 16
    .global trampoline_start
    .global trampoline_end
    .global trampoline_cr3
    .global trampoline_stack
    .global trampoline_cpu
    .code16
trampoline_start:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl trampoline_gdt_pointer - trampoline_start + 0x8000
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x18, $(trampoline_32 - trampoline_start + 0x8000)
    .code32
trampoline_32:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x20, %eax            # CR4.PAE
    movl %eax, %cr4
    movl trampoline_cr3 - trampoline_start + 0x8000, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx      # EFER: LME, NXE
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80010001, %eax       # PG, WP, PE
    andl $0x9fffffff, %eax      # caches on
    movl %eax, %cr0
    ljmpl $0x8, $(trampoline_64 - trampoline_start + 0x8000)
    .code64
trampoline_64:
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    movq trampoline_stack - trampoline_start + 0x8000, %rsp
    movq trampoline_cpu - trampoline_start + 0x8000, %rdi
    xorl %ebp, %ebp
    movabsq $started, %rax
    call *%rax
    ud2
    .balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00af9a000000ffff    # 0x08: 64-bit code
    .quad 0x00cf92000000ffff    # 0x10: data
    .quad 0x00cf9a000000ffff    # 0x18: 32-bit code
trampoline_gdt_pointer:
    .word . - trampoline_gdt - 1
    .long trampoline_gdt - trampoline_start + 0x8000
    .balign 8
trampoline_cr3:   .quad 0
trampoline_stack: .quad 0
trampoline_cpu:   .quad 0
trampoline_end:
"#,
    options(att_syntax)
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
    static trampoline_cr3: u8;
    static trampoline_stack: u8;
    static trampoline_cpu: u8;
}

/// Puts `value` into a cell of the trampoline's copy.
fn set(cell: *const u8, value: u64) {
    let at = PAGE + (cell as u64 - &raw const trampoline_start as u64);
    // SAFETY: the cell lies in the copied page, which is mapped writable and nobody else uses.
    unsafe { (at as *mut u64).write_volatile(value) };
}

/// Starts the CPUs with the APIC ids `others`, as indexes 1, 2, ... Returns for each whether it came up.
///
/// # Errors
/// No memory for a stack, or the trampoline's page cannot be used.
pub fn start(others: &[u8]) -> Result<alloc::vec::Vec<bool>, paging::PagingError> {
    let len = &raw const trampoline_end as usize - &raw const trampoline_start as usize;
    // SAFETY: source is the trampoline in this image, target a free page of conventional memory.
    unsafe { core::ptr::copy_nonoverlapping(&raw const trampoline_start, PAGE as *mut u8, len) };
    paging::set_executable(PAGE, true)?;
    set(&raw const trampoline_cr3, paging::root());
    let mut up = alloc::vec::Vec::new();
    // One wait for all of them: nothing says that each needs its own.
    others.iter().take(MAX_CPUS - 1).for_each(|&apic| {
        lapic::init(apic);
    });
    clock::delay(init_us());
    for (number, &apic) in others.iter().enumerate().take(MAX_CPUS - 1) {
        let index = number + 1;
        set(&raw const trampoline_stack, stack::allocate(STACK_BYTES)? - 8);
        set(&raw const trampoline_cpu, index as u64);
        up.push(start_one(apic, index));
    }
    paging::set_executable(PAGE, false)?;
    Ok(up)
}

/// How long to wait after INIT, in microseconds: 10 ms by the book (Intel SDM volume 3, section 9.4.4.1), which is for
/// processors with an APIC outside. Those of AMD from family 0fh and of Intel from family 6 need none, and Linux gives
/// them none (`smp_quirk_init_udelay`).
fn init_us() -> u64 {
    let cpuid = raw_cpuid::CpuId::new();
    let vendor = cpuid.get_vendor_info();
    let family = cpuid.get_feature_info().map_or(0, |features| {
        let (base, extended) = (features.base_family_id(), features.extended_family_id());
        u16::from(base) + if base == 0xf { u16::from(extended) } else { 0 }
    });
    let modern = vendor.is_some_and(|vendor| match vendor.as_str() {
        "AuthenticAMD" | "HygonGenuine" => family >= 0xf,
        // Family 0fh is the Pentium 4.
        "GenuineIntel" => family == 6 || family > 0xf,
        _ => false,
    });
    if modern { 0 } else { 10_000 }
}

/// STARTUP up to twice.
fn start_one(apic: u8, index: CpuIndex) -> bool {
    let came = |ms: u64| {
        (0..ms * 100).any(|_| {
            clock::waiting(|| super::nap(10));
            STARTED.load(Ordering::Acquire) as usize == index
        })
    };
    lapic::startup(apic, (PAGE >> 12) as u8);
    if came(10) {
        return true;
    }
    lapic::startup(apic, (PAGE >> 12) as u8);
    came(START_MS)
}

/// First Rust on another CPU.
#[unsafe(no_mangle)]
extern "C" fn started(index: CpuIndex) -> ! {
    if super::init_this(index).is_err() {
        log::error!("CPU {index}: no memory for its stacks; it stays off");
        loop {
            x86_64::instructions::hlt();
        }
    }
    STARTED.store(index as u32, Ordering::Release);
    crate::entry::cpu_main(index)
}
