//! Entering guests of a few instructions: 32-bit code at guest physical 0, one page of memory.

use alloc::boxed::Box;
use alloc::sync::Arc;
use kernel::cpu::{clock, interrupts, lapic};
use kernel::virt::svm::{EntryState, IoPermissions, MsrPermissions, SvmVcpu, enable};
use kernel::virt::{Exit, Gpr, IoDirection, VcpuState};

#[repr(C, align(4096))]
struct Page([u64; 512]);

fn page() -> &'static mut Page {
    Box::leak(Box::new(Page([0; 512])))
}

/// A vCPU at guest physical 0, where `code` is, and nothing else.
fn guest(code: &[u8]) -> (SvmVcpu, *mut Page) {
    let features = enable().expect("SVM");
    let ram: *mut Page = page();
    // SAFETY: the page is larger than any code here.
    unsafe { core::ptr::copy_nonoverlapping(code.as_ptr(), ram.cast(), code.len()) };
    let mut below = ram as u64;
    for _ in 0..4 {
        let table = page();
        table.0[0] = below | 7;
        below = table as *mut Page as u64;
    }
    let (ports, msrs) = (
        Arc::from(IoPermissions::deny_all()),
        Arc::from(MsrPermissions::deny_all()),
    );
    let mut vcpu = SvmVcpu::new(below, ports, msrs, features.nrip_save);
    vcpu.reset(EntryState { eip: 0, ebx: 0x1234 });
    (vcpu, ram)
}

fn skip(vcpu: &mut SvmVcpu, bytes: u64) {
    vcpu.set_rip(vcpu.rip() + bytes);
}

pub(crate) fn exits() {
    // mov eax, 7; cpuid; mov ecx, 0x10a; rdmsr; mov dx, 0x3f8; out dx, al; mov [0x100], ebx; hlt
    let (mut vcpu, ram) = guest(&[
        0xb8, 7, 0, 0, 0, 0x0f, 0xa2, 0xb9, 0x0a, 1, 0, 0, 0x0f, 0x32, 0x66, 0xba, 0xf8, 3, 0xee, 0x89, 0x1d,
        0, 1, 0, 0, 0xf4,
    ]);
    assert_eq!(vcpu.run(), Exit::Cpuid);
    assert_eq!((vcpu.rip(), vcpu.gprs().get32(Gpr::Rax)), (5, 7));
    vcpu.gprs_mut().set(Gpr::Rax, 0x41);
    skip(&mut vcpu, 2);
    assert_eq!(vcpu.run(), Exit::Msr { write: false });
    assert_eq!(vcpu.gprs().get32(Gpr::Rcx), 0x10a);
    skip(&mut vcpu, 2);
    let Exit::Io(io) = vcpu.run() else {
        panic!("an I/O exit")
    };
    assert_eq!(
        (io.port, io.direction, vcpu.gprs().get32(Gpr::Rax)),
        (0x3f8, IoDirection::Out, 0x41)
    );
    let next = vcpu.next_rip().expect("I/O exits say it");
    vcpu.set_rip(next);
    assert_eq!(vcpu.run(), Exit::Hlt);
    // SAFETY: the guest does not run.
    assert_eq!(unsafe { (*ram).0[0x100 / 8] }, 0x1234, "EBX as it was at entry");
}

pub(crate) fn interrupted() {
    let (mut vcpu, _) = guest(&[0xfa, 0xeb, 0xfe]); // cli; jmp $
    // A machine whose host is busy may see the timer before the guest's first instruction; then it gets longer.
    for wait in [1_000, 10_000, 100_000, 1_000_000] {
        lapic::arm_timer(clock::micros(wait));
        assert_eq!(
            vcpu.run(),
            Exit::ExternalInterrupt,
            "although the guest has interrupts off"
        );
        assert_eq!(interrupts::take(0), Some(lapic::TIMER_VECTOR));
        if vcpu.rip() != 0 {
            break;
        }
    }
    assert_eq!(vcpu.rip(), 1);
}

pub(crate) fn nested_fault() {
    let (mut vcpu, _) = guest(&[0xa3, 0x20, 0, 0xe0, 0xfe]); // mov [0xfee00020], eax
    let Exit::NestedFault(fault) = vcpu.run() else {
        panic!("a nested page fault")
    };
    assert!(
        fault.gpa.0 == 0xfee0_0020 && fault.write && !fault.present && !fault.fetch,
        "{fault:?}"
    );
}

pub(crate) fn shutdown() {
    let (mut vcpu, _) = guest(&[0x0f, 0x0b]); // ud2, without an IDT
    assert_eq!(vcpu.run(), Exit::Shutdown);
}

pub(crate) fn clean_fpu() {
    // fldpi; fstp qword [0x200]; movq [0x208], xmm3; hlt: xmm3 first, before anything touched it.
    // First: mov eax, 0x200; mov cr4, eax (OSFXSR).
    let code = [
        0xb8, 0, 2, 0, 0, 0x0f, 0x22, 0xe0, 0x66, 0x0f, 0xd6, 0x1d, 8, 2, 0, 0, 0xd9, 0xeb, 0xdd, 0x1d, 0, 2,
        0, 0, 0x66, 0x0f, 0x76, 0xdb, 0xf4,
    ];
    for round in 0..2 {
        let (mut vcpu, ram) = guest(&code);
        assert_eq!(vcpu.run(), Exit::Hlt);
        // SAFETY: the guest does not run.
        let (pi, xmm3) = unsafe { ((*ram).0[0x200 / 8], (*ram).0[0x208 / 8]) };
        assert_eq!(
            (pi, xmm3),
            (0x4009_21fb_5444_2d18, 0),
            "round {round}: the last guest left ones in xmm3"
        );
    }
}
