//! Entry by PVH (Xen's x86/HVM direct boot ABI), as QEMU's `-kernel` does it.
//!
//! The loader enters in 32-bit protected mode without paging, EBX pointing to `hvm_start_info`. The stub maps the
//! first 4 GiB one to one, enters long mode and calls Rust. Final page tables follow in `memory::paging`.
#![expect(
    unsafe_code,
    reason = "the first instructions, and structures that a boot loader left in memory"
)]

use super::BootInfo;
use crate::addr::HostPhys;
use crate::memory::regions::Kind;
use alloc::string::String;
use core::arch::global_asm;
use pvh::start_info::reader::StartInfoReader;

pvh::xen_elfnote_phys32_entry!(pvh_start32);

unsafe extern "C" {
    fn pvh_start32() -> !;
}

global_asm!(
    r#"
    .section .bss.boot, "aw", @nobits
    .balign 4096
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_pd:   .skip 4096 * 4

    .section .rodata.boot, "a"
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9a000000ffff    # 0x08: 64-bit code
    .quad 0x00cf92000000ffff    # 0x10: data
boot_gdt_pointer:
    .word . - boot_gdt - 1
    .long boot_gdt

    .section .text.boot, "ax"
    .code32
    .global pvh_start32
pvh_start32:
    cli
    cld
    movl $__boot_stack_top, %esp
    xorl %ebp, %ebp

    # 2,048 pages of 2 MiB: present, writable, large.
    movl $0x83, %eax
    movl $boot_pd, %edi
    movl $2048, %ecx
2:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    decl %ecx
    jnz 2b

    movl $boot_pd + 3, %eax
    movl %eax, boot_pdpt
    addl $0x1000, %eax
    movl %eax, boot_pdpt + 8
    addl $0x1000, %eax
    movl %eax, boot_pdpt + 16
    addl $0x1000, %eax
    movl %eax, boot_pdpt + 24
    movl $boot_pdpt + 3, boot_pml4

    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0x20, %eax            # CR4.PAE
    movl %eax, %cr4
    movl $0xc0000080, %ecx      # EFER: LME, NXE
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80010001, %eax       # PG, WP, PE
    andl $0x9fffffff, %eax      # caches on
    movl %eax, %cr0
    lgdt boot_gdt_pointer
    ljmpl $8, $boot_long

    .code64
boot_long:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    movl %ebx, %edi
    movabsq $__boot_stack_top, %rsp
    xorl %ebp, %ebp
    call pvh_long_entry
    ud2
"#,
    options(att_syntax)
);

/// First Rust function: turns what PVH left into [`BootInfo`] and boots.
#[unsafe(no_mangle)]
#[expect(
    clippy::panic,
    reason = "without start information there is no memory map to go on with"
)]
extern "C" fn pvh_long_entry(start_info: u32) -> ! {
    let ticks = crate::cpu::clock::ticks();
    crate::steps::begin();
    crate::memory::heap::init();
    crate::console::init();
    // SAFETY: PVH hands over EBX = the physical address of start_info, whose parts lie below 4 GiB, mapped one to one;
    // the image has not written outside itself yet.
    let info = unsafe { StartInfoReader::from_paddr_identity(start_info) };
    let Some(info) = info else {
        panic!("the boot loader's start_info at {start_info:#x} is not one: boot by PVH (QEMU -kernel)");
    };
    let raw = info.raw();
    let memory = info.memmap().iter().map(|entry| {
        let kind = if entry.ty == 1 {
            Kind::Usable
        } else {
            Kind::Reserved
        };
        BootInfo::region(entry.addr, entry.size, kind)
    });
    let bundle = info.modlist().next().map(|module| {
        let module = module.as_slice().as_ptr_range();
        let (start, end) = (module.start as u64, module.end as u64);
        BootInfo::region(start, end - start, Kind::Reserved)
    });
    let boot = BootInfo {
        memory: memory.collect(),
        bundle,
        rsdp: (raw.rsdp_paddr != 0).then_some(HostPhys(raw.rsdp_paddr)),
        cmdline: info
            .cmdline()
            .map(|line| String::from_utf8_lossy(line.to_bytes()).into_owned())
            .unwrap_or_default(),
    };
    crate::steps::done("heap, console, what the loader says");
    super::kernel_main(boot, ticks)
}
