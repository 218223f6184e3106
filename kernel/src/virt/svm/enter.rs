//! The way into a guest and out of it.
#![expect(unsafe_code, reason = "VMRUN and its neighbours")]

use super::SvmVcpu;
use crate::virt::{Exit, Gprs};
use core::arch::naked_asm;
use spec::svm::Vmcb;

/// Runs the guest until it leaves. `guest` and `host` are physical addresses, as VMRUN and VMSAVE take them.
///
/// The global interrupt flag is off from before the guest's state is loaded until all of the host's is back, so that
/// no host handler ever meets the guest's task register or GS. Host RFLAGS.IF is on meanwhile: it decides
/// whether physical interrupts leave the guest (section 15.21.1). What came in is taken right after STGI. The NOP behind STI ends
/// its interrupt shadow, which QEMU otherwise carries into the guest, where it keeps a virtual interrupt from its first instruction.
#[unsafe(naked)]
unsafe extern "C" fn enter(guest: *mut Vmcb, gprs: *mut Gprs, host: *mut Vmcb) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rsi",
        "push rdx",
        "clgi",
        "mov rax, rdx",
        "vmsave rax",
        "mov rax, rdi",
        "vmload rax",
        "mov rcx, [rsi + 8 * 1]",
        "mov rdx, [rsi + 8 * 2]",
        "mov rbx, [rsi + 8 * 3]",
        "mov rbp, [rsi + 8 * 5]",
        "mov rdi, [rsi + 8 * 7]",
        "mov r8, [rsi + 8 * 8]",
        "mov r9, [rsi + 8 * 9]",
        "mov r10, [rsi + 8 * 10]",
        "mov r11, [rsi + 8 * 11]",
        "mov r12, [rsi + 8 * 12]",
        "mov r13, [rsi + 8 * 13]",
        "mov r14, [rsi + 8 * 14]",
        "mov r15, [rsi + 8 * 15]",
        "mov rsi, [rsi + 8 * 6]",
        "sti",
        "nop",
        "vmrun rax",
        "cli",
        "vmsave rax",
        "mov rax, [rsp + 8]",
        "mov [rax + 8 * 1], rcx",
        "mov [rax + 8 * 2], rdx",
        "mov [rax + 8 * 3], rbx",
        "mov [rax + 8 * 5], rbp",
        "mov [rax + 8 * 6], rsi",
        "mov [rax + 8 * 7], rdi",
        "mov [rax + 8 * 8], r8",
        "mov [rax + 8 * 9], r9",
        "mov [rax + 8 * 10], r10",
        "mov [rax + 8 * 11], r11",
        "mov [rax + 8 * 12], r12",
        "mov [rax + 8 * 13], r13",
        "mov [rax + 8 * 14], r14",
        "mov [rax + 8 * 15], r15",
        "mov rax, [rsp]",
        "vmload rax",
        "stgi",
        "sti",
        "nop",
        "nop",
        "cli",
        "pop rdx",
        "pop rsi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}

impl SvmVcpu {
    /// Runs the guest until it leaves, on the running CPU, which has SVM enabled.
    pub fn run(&mut self) -> Exit {
        self.prepare();
        // SAFETY: the VMCB confines the guest to its nested tables; both VMCBs and the registers are this vCPU's own,
        // and physical addresses are virtual ones. Everything the host keeps is saved and restored.
        unsafe { enter(&raw mut *self.vmcb, &raw mut self.gprs, &raw mut *self.host) };
        self.finish()
    }
}
