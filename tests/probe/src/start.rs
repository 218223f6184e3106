//! Entry and end without a C library (System V ABI for AMD64, section 3.4.1: argument count and arguments on the stack).
#![expect(unsafe_code, reason = "program entry")]

use crate::status;
use core::alloc::{GlobalAlloc, Layout};
use core::arch::{asm, naked_asm};
use core::ffi::CStr;
use core::panic::PanicInfo;

/// There is no heap. Nothing here allocates; parts of the libraries that are not used would.
struct NoHeap;

// SAFETY: it gives no memory away.
unsafe impl GlobalAlloc for NoHeap {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static HEAP: NoHeap = NoHeap;

/// The program's first instruction.
///
/// # Safety
/// For the kernel only.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("mov rdi, rsp", "and rsp, -16", "call {start}", "ud2", start = sym start)
}

/// # Safety
/// `stack` is what the kernel gave.
unsafe extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the argument count is on the stack's top, and as many pointers to texts follow.
    let arguments = unsafe { core::slice::from_raw_parts(stack.add(1), *stack) };
    let texts = arguments.iter().skip(1).map(|at| {
        // SAFETY: each ends with a zero, and they stay where they are.
        unsafe { CStr::from_ptr(*at as *const _) }.to_str().unwrap_or("")
    });
    exit(status(texts))
}

fn exit(status: i32) -> ! {
    const EXIT_GROUP: usize = 231;
    // SAFETY: ends the process.
    unsafe { asm!("syscall", in("rax") EXIT_GROUP, in("rdi") status, options(noreturn)) }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(101)
}
