//! GDT, TSS and IDT of a CPU. One IDT serves all; GDT and TSS are each CPU's own.
//!
//! Interrupts, NMI, double fault and machine check each have a stack of their own, so that they stand whatever the
//! interrupted stack pointer holds.
#![expect(unsafe_code, reason = "loads descriptor tables")]

use super::CpuIndex;
use super::interrupts::STUBS;
use crate::memory::paging::PagingError;
use crate::memory::stack;
use alloc::boxed::Box;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

/// Interrupt stack table slots (AMD64 manual, volume 2, section 8.9.4), counted from 0.
const IST_INTERRUPT: usize = 0;
const IST_NMI: usize = 1;
const IST_DOUBLE_FAULT: usize = 2;
const IST_MACHINE_CHECK: usize = 3;

const IST_STACK_BYTES: usize = 16 << 10;

const NMI: usize = 2;
const DOUBLE_FAULT: usize = 8;
const MACHINE_CHECK: usize = 18;

/// An IDT as the CPU reads it: 256 gates of 16 bytes (AMD64 manual, volume 2, section 8.2, figure 4-24).
#[repr(C, align(16))]
struct Idt([[u64; 2]; 256]);

static IDT: Once<Idt> = Once::new();

const CODE: SegmentSelector = SegmentSelector::new(1, x86_64::PrivilegeLevel::Ring0);

fn idt() -> Idt {
    let mut idt = Idt([[0; 2]; 256]);
    for (vector, gate) in idt.0.iter_mut().enumerate() {
        let stack = match vector {
            NMI => IST_NMI + 1,
            DOUBLE_FAULT => IST_DOUBLE_FAULT + 1,
            MACHINE_CHECK => IST_MACHINE_CHECK + 1,
            32.. => IST_INTERRUPT + 1,
            _ => 0,
        } as u64;
        let target = STUBS[vector] as usize as u64;
        // Present, interrupt gate (interrupts off), ring 0.
        gate[0] = (target & 0xffff)
            | u64::from(CODE.0) << 16
            | stack << 32
            | 0x8e << 40
            | (target >> 16 & 0xffff) << 48;
        gate[1] = target >> 32;
    }
    idt
}

/// Loads the tables on this CPU.
pub(super) fn load(index: CpuIndex) -> Result<(), PagingError> {
    let mut tss = Box::new(TaskStateSegment::new());
    for slot in [IST_INTERRUPT, IST_NMI, IST_DOUBLE_FAULT, IST_MACHINE_CHECK] {
        tss.interrupt_stack_table[slot] = VirtAddr::new(stack::allocate(IST_STACK_BYTES)?);
    }
    let tss: &'static TaskStateSegment = Box::leak(tss);
    let gdt = Box::leak(Box::new(GlobalDescriptorTable::new()));
    let code = gdt.append(Descriptor::kernel_code_segment());
    let data = gdt.append(Descriptor::kernel_data_segment());
    let task = gdt.append(Descriptor::tss_segment(tss));
    debug_assert!(code == CODE, "CPU {index}: the IDT names the first segment");
    gdt.load();
    // SAFETY: flat segments of the table just loaded, as the code already runs with.
    unsafe { CS::set_reg(code) };
    // SAFETY: as above.
    unsafe { SS::set_reg(data) };
    // SAFETY: as above.
    unsafe { DS::set_reg(data) };
    // SAFETY: as above.
    unsafe { ES::set_reg(data) };
    // SAFETY: the TSS lives for ever and is this CPU's alone.
    unsafe { load_tss(task) };
    let idt = IDT.call_once(idt);
    let pointer = x86_64::structures::DescriptorTablePointer {
        limit: (size_of::<Idt>() - 1) as u16,
        base: VirtAddr::from_ptr(idt),
    };
    // SAFETY: every gate points to a stub, and the table lives for ever.
    unsafe { x86_64::instructions::tables::lidt(&pointer) };
    Ok(())
}
