//! Entry: from PVH's 32-bit protected mode without paging to Rust in long mode.
//!
//! Xen, `docs/misc/pvh.pandoc`: EBX holds the physical address of `hvm_start_info`, paging is off, segments are
//! flat, no stack is given. Page tables map the first 4 GiB onto themselves in 2 MiB pages, the first GiB (RAM)
//! write-back and the rest (devices) uncached.
#![expect(unsafe_code, reason = "machine entry")]

use core::arch::naked_asm;
use core::cell::UnsafeCell;

use super::{Failure, Machine, boot_info, console, exit, interrupts};

/// Bytes of the stack.
const STACK: usize = 128 * 1024;

/// PML4, PDPT and four page directories, in this order.
#[repr(C, align(4096))]
struct Tables(UnsafeCell<[u64; 6 * 512]>);

#[repr(C, align(4096))]
struct Stack(UnsafeCell<[u8; STACK]>);

// SAFETY: only the entry code and the CPU touch it.
unsafe impl Sync for Tables {}
// SAFETY: only the stack pointer of the one CPU refers to it.
unsafe impl Sync for Stack {}

static TABLES: Tables = Tables(UnsafeCell::new([0; 6 * 512]));
static BOOT_STACK: Stack = Stack(UnsafeCell::new([0; STACK]));

unsafe extern "Rust" {
    /// The program, see [`crate::guest!`].
    safe fn guest_main(machine: &Machine) -> Result<(), Failure>;
}

/// The entry point that the PVH note names.
///
/// # Safety
/// For the loader only, in the state that PVH describes.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn guest_start() -> ! {
    naked_asm!(
        ".code32",
        "cli",
        "cld",
        "movl %ebx, %edi",
        "movl ${tables}, %eax",
        // PML4[0], then PDPT[0..4]; 3 = present, writable.
        "leal 0x1003(%eax), %ecx",
        "movl %ecx, (%eax)",
        "leal 0x2003(%eax), %ecx",
        "movl %ecx, 0x1000(%eax)",
        "addl $0x1000, %ecx",
        "movl %ecx, 0x1008(%eax)",
        "addl $0x1000, %ecx",
        "movl %ecx, 0x1010(%eax)",
        "addl $0x1000, %ecx",
        "movl %ecx, 0x1018(%eax)",
        // 2048 pages of 2 MiB; 0x83 = present, writable, large; 0x18 = uncached.
        "leal 0x2000(%eax), %edx",
        "movl $0x83, %ecx",
        "2:",
        "cmpl $0x40000083, %ecx",
        "jne 3f",
        "orl $0x18, %ecx",
        "3:",
        "movl %ecx, (%edx)",
        "addl $8, %edx",
        "addl $0x200000, %ecx",
        "jnc 2b",
        "movl %eax, %cr3",
        "movl %cr4, %eax",
        "orl $0x20, %eax", // PAE
        "movl %eax, %cr4",
        "movl $0xc0000080, %ecx", // EFER
        "rdmsr",
        "orl $0x100, %eax", // LME
        "wrmsr",
        "movl %cr0, %eax",
        "orl $0x80010001, %eax", // PG, WP, PE
        "movl %eax, %cr0",
        "lgdtl 5f",
        "ljmpl $8, $6f",
        ".balign 8",
        "4:",
        ".quad 0",
        ".quad 0x00af9b000000ffff", // 64-bit code
        ".quad 0x00cf93000000ffff", // data
        "5:",
        ".word 23",
        ".long 4b",
        ".code64",
        "6:",
        "movl $0x10, %eax",
        "movl %eax, %ds",
        "movl %eax, %es",
        "movl %eax, %ss",
        "xorl %eax, %eax",
        "movl %eax, %fs",
        "movl %eax, %gs",
        "movl ${stack} + {stack_size}, %esp",
        "xorl %ebp, %ebp",
        "call {start}",
        "ud2",
        tables = sym TABLES,
        stack = sym BOOT_STACK,
        stack_size = const STACK,
        start = sym start,
        options(att_syntax)
    )
}

/// The first Rust code; `start_info` is the physical address of `hvm_start_info`.
extern "C" fn start(start_info: u32) -> ! {
    console::init();
    interrupts::init();
    let result = boot_info::machine(start_info).and_then(|machine| {
        println!("command line: {}", machine.cmdline());
        guest_main(&machine)
    });
    match result {
        Ok(()) => {
            println!("all held");
            exit::success()
        }
        Err(failure) => {
            println!("failed: {}", failure.text());
            exit::failure()
        }
    }
}
