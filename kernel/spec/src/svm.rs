//! SVM: the virtual machine control block, its bits, and the exit codes.
//!
//! AMD64 Architecture Programmer's Manual, volume 2 (24593, rev. 3.42), chapter 15 and appendices B and C.

use bitflags::bitflags;

/// MSR VM_CR: bit 4 (SVMDIS) forbids SVM (section 15.30.1).
pub const MSR_VM_CR: u32 = 0xc001_0114;
/// VM_CR.SVMDIS.
pub const VM_CR_SVMDIS: u64 = 1 << 4;
/// MSR VM_HSAVE_PA: the page where VMRUN keeps host state (section 15.30.4).
pub const MSR_VM_HSAVE_PA: u32 = 0xc001_0117;

/// Length of the I/O permission map in bytes: 64 Ki ports and three more for wide accesses (section 15.10.1).
pub const IOPM_BYTES: usize = 12 << 10;
/// Length of the MSR permission map in bytes (section 15.11).
pub const MSRPM_BYTES: usize = 8 << 10;

bitflags! {
    /// Intercept word at offset 0x00c (appendix B, table B-1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Intercept1: u32 {
        /// Physical interrupts.
        const INTR = 1 << 0;
        /// Non-maskable interrupts.
        const NMI = 1 << 1;
        /// INIT.
        const INIT = 1 << 3;
        /// Virtual interrupts: the window.
        const VINTR = 1 << 4;
        /// RDPMC.
        const RDPMC = 1 << 15;
        /// CPUID.
        const CPUID = 1 << 18;
        /// RSM.
        const RSM = 1 << 19;
        /// IRET.
        const IRET = 1 << 20;
        /// INVD.
        const INVD = 1 << 22;
        /// HLT.
        const HLT = 1 << 24;
        /// INVLPGA.
        const INVLPGA = 1 << 26;
        /// I/O ports that the permission map names.
        const IOIO = 1 << 27;
        /// MSRs that the permission map names.
        const MSR = 1 << 28;
        /// Task switches.
        const TASK_SWITCH = 1 << 29;
        /// Triple faults.
        const SHUTDOWN = 1 << 31;
    }

    /// Intercept word at offset 0x010 (appendix B, table B-1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Intercept2: u32 {
        /// VMRUN: must be set.
        const VMRUN = 1 << 0;
        /// VMMCALL.
        const VMMCALL = 1 << 1;
        /// VMLOAD.
        const VMLOAD = 1 << 2;
        /// VMSAVE.
        const VMSAVE = 1 << 3;
        /// STGI.
        const STGI = 1 << 4;
        /// CLGI.
        const CLGI = 1 << 5;
        /// SKINIT.
        const SKINIT = 1 << 6;
        /// WBINVD.
        const WBINVD = 1 << 9;
        /// MONITOR.
        const MONITOR = 1 << 10;
        /// MWAIT.
        const MWAIT = 1 << 11;
        /// XSETBV.
        const XSETBV = 1 << 13;
    }

    /// Virtual interrupt control at offset 0x060 (appendix B, table B-1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct VirtualInterrupt: u64 {
        /// A virtual interrupt is pending.
        const V_IRQ = 1 << 8;
        /// Its priority is not compared with V_TPR.
        const V_IGN_TPR = 1 << 20;
        /// RFLAGS.IF and TPR of the guest do not mask physical interrupts.
        const V_INTR_MASKING = 1 << 24;
        /// The rest: V_TPR, priority, vector.
        const _ = !0;
    }
}

/// Reads and writes of CR8, in the low and high half of the CR intercept word.
pub const INTERCEPT_CR8: u32 = 1 << 8 | 1 << 24;
/// Offset 0x090, bit 0: nested paging.
pub const NP_ENABLE: u64 = 1;
/// Offset 0x05c: flush all of the TLB on entry.
pub const TLB_FLUSH_ALL: u8 = 1;
/// Offset 0x060: first bit of the virtual interrupt's vector.
pub const V_INTR_VECTOR_SHIFT: u32 = 32;
/// Offset 0x068, bit 0: the guest is in an interrupt shadow.
pub const INTERRUPT_SHADOW: u64 = 1;

/// Fields of EVENTINJ and EXITINTINFO (section 15.20, figure 15-4).
pub mod event {
    /// The bits of the type.
    pub const TYPE_MASK: u64 = 7 << 8;
    /// External or virtual interrupt.
    pub const TYPE_INTERRUPT: u64 = 0;
    /// Non-maskable interrupt.
    pub const TYPE_NMI: u64 = 2 << 8;
    /// Exception.
    pub const TYPE_EXCEPTION: u64 = 3 << 8;
    /// An error code is in bits 63:32.
    pub const ERROR_VALID: u64 = 1 << 11;
    /// The field holds an event.
    pub const VALID: u64 = 1 << 31;
    /// First bit of the error code.
    pub const ERROR_SHIFT: u32 = 32;
}

/// EXITINFO1 of an IOIO exit (section 15.10.2, figure 15-2).
pub mod ioio {
    /// IN or INS.
    pub const IN: u64 = 1;
    /// INS or OUTS.
    pub const STRING: u64 = 1 << 2;
    /// REP prefix.
    pub const REP: u64 = 1 << 3;
    /// 16-bit operand.
    pub const SIZE16: u64 = 1 << 5;
    /// 32-bit operand.
    pub const SIZE32: u64 = 1 << 6;
    /// First bit of the port number.
    pub const PORT_SHIFT: u32 = 16;
}

/// EXITINFO1 of a nested page fault (section 15.25.6).
pub mod npf {
    /// The nested entry was present.
    pub const PRESENT: u64 = 1;
    /// A write.
    pub const WRITE: u64 = 1 << 1;
    /// An instruction fetch.
    pub const FETCH: u64 = 1 << 4;
    /// During the walk of the guest's own tables.
    pub const TABLE_WALK: u64 = 1 << 33;
}

/// Exit codes (appendix C, table C-1).
pub mod exit_code {
    /// First of 32 exceptions.
    pub const EXCEPTION: u64 = 0x40;
    /// Physical interrupt.
    pub const INTR: u64 = 0x60;
    /// NMI.
    pub const NMI: u64 = 0x61;
    /// INIT.
    pub const INIT: u64 = 0x63;
    /// Interrupt window.
    pub const VINTR: u64 = 0x64;
    /// RDPMC.
    pub const RDPMC: u64 = 0x6f;
    /// CPUID.
    pub const CPUID: u64 = 0x72;
    /// RSM.
    pub const RSM: u64 = 0x73;
    /// IRET, before it is executed.
    pub const IRET: u64 = 0x74;
    /// INVD.
    pub const INVD: u64 = 0x76;
    /// HLT.
    pub const HLT: u64 = 0x78;
    /// INVLPGA.
    pub const INVLPGA: u64 = 0x7a;
    /// Port access.
    pub const IOIO: u64 = 0x7b;
    /// RDMSR or WRMSR.
    pub const MSR: u64 = 0x7c;
    /// Task switch.
    pub const TASK_SWITCH: u64 = 0x7d;
    /// Triple fault.
    pub const SHUTDOWN: u64 = 0x7f;
    /// VMRUN.
    pub const VMRUN: u64 = 0x80;
    /// VMMCALL.
    pub const VMMCALL: u64 = 0x81;
    /// SKINIT, the last of VMLOAD, VMSAVE, STGI, CLGI, SKINIT.
    pub const SKINIT: u64 = 0x86;
    /// WBINVD.
    pub const WBINVD: u64 = 0x89;
    /// MONITOR.
    pub const MONITOR: u64 = 0x8a;
    /// MWAIT, armed.
    pub const MWAIT_ARMED: u64 = 0x8c;
    /// XSETBV.
    pub const XSETBV: u64 = 0x8d;
    /// Nested page fault.
    pub const NPF: u64 = 0x400;
    /// VMRUN refused the guest's state.
    pub const INVALID: u64 = u64::MAX;
}

/// A segment register in the state save area (appendix B, table B-2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct VmcbSegment {
    /// Selector.
    pub selector: u16,
    /// Descriptor bits 55:52 and 47:40 as 12 bits.
    pub attributes: u16,
    /// Limit in bytes, granularity applied.
    pub limit: u32,
    /// Base.
    pub base: u64,
}

/// Segment attributes (section 15.5.1, "Segment State in the VMCB").
pub mod attributes {
    /// Present 32-bit code, readable, accessed, 4 KiB granular.
    pub const CODE32: u16 = 0xc9b;
    /// Present 32-bit data, writable, accessed, 4 KiB granular.
    pub const DATA32: u16 = 0xc93;
    /// Present 16-bit code, readable, accessed: real mode's.
    pub const CODE16: u16 = 0x09b;
    /// Present 16-bit data, writable, accessed.
    pub const DATA16: u16 = 0x093;
    /// Present busy 32-bit TSS.
    pub const TSS32: u16 = 0x08b;
    /// Present LDT.
    pub const LDT: u16 = 0x082;
    /// L: 64-bit code.
    pub const LONG: u16 = 1 << 9;
    /// D: 32-bit default.
    pub const DEFAULT32: u16 = 1 << 10;
}

/// The VMCB: control area, then at 0x400 the state save area (appendix B).
#[derive(Clone, Debug)]
#[repr(C, align(4096))]
#[expect(
    missing_docs,
    reason = "the names are the manual's own; offsets are asserted below"
)]
pub struct Vmcb {
    pub intercept_cr: u32,
    pub intercept_dr: u32,
    pub intercept_exceptions: u32,
    pub intercept1: u32,
    pub intercept2: u32,
    pub intercept3: u32,
    reserved_018: [u8; 0x28],
    pub iopm_base_pa: u64,
    pub msrpm_base_pa: u64,
    pub tsc_offset: u64,
    pub guest_asid: u32,
    pub tlb_control: u8,
    reserved_05d: [u8; 3],
    pub virtual_interrupt: u64,
    pub interrupt_shadow: u64,
    pub exit_code: u64,
    pub exit_info1: u64,
    pub exit_info2: u64,
    pub exit_int_info: u64,
    pub np_enable: u64,
    reserved_098: [u8; 0x10],
    pub event_injection: u64,
    pub n_cr3: u64,
    pub lbr_virtualization: u64,
    pub clean: u64,
    pub nrip: u64,
    reserved_0d0: [u8; 0x330],
    pub es: VmcbSegment,
    pub cs: VmcbSegment,
    pub ss: VmcbSegment,
    pub ds: VmcbSegment,
    pub fs: VmcbSegment,
    pub gs: VmcbSegment,
    pub gdtr: VmcbSegment,
    pub ldtr: VmcbSegment,
    pub idtr: VmcbSegment,
    pub tr: VmcbSegment,
    reserved_4a0: [u8; 0x2b],
    pub cpl: u8,
    reserved_4cc: [u8; 4],
    pub efer: u64,
    reserved_4d8: [u8; 0x70],
    pub cr4: u64,
    pub cr3: u64,
    pub cr0: u64,
    pub dr7: u64,
    pub dr6: u64,
    pub rflags: u64,
    pub rip: u64,
    reserved_580: [u8; 0x58],
    pub rsp: u64,
    reserved_5e0: [u8; 0x18],
    pub rax: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub cr2: u64,
    reserved_648: [u8; 0x20],
    pub g_pat: u64,
    pub dbgctl: u64,
    reserved_678: [u8; 0x988],
}

impl Vmcb {
    /// All zero: intercepts nothing, and VMRUN refuses it.
    pub const EMPTY: Self = Self {
        intercept_cr: 0,
        intercept_dr: 0,
        intercept_exceptions: 0,
        intercept1: 0,
        intercept2: 0,
        intercept3: 0,
        reserved_018: [0; 0x28],
        iopm_base_pa: 0,
        msrpm_base_pa: 0,
        tsc_offset: 0,
        guest_asid: 0,
        tlb_control: 0,
        reserved_05d: [0; 3],
        virtual_interrupt: 0,
        interrupt_shadow: 0,
        exit_code: 0,
        exit_info1: 0,
        exit_info2: 0,
        exit_int_info: 0,
        np_enable: 0,
        reserved_098: [0; 0x10],
        event_injection: 0,
        n_cr3: 0,
        lbr_virtualization: 0,
        clean: 0,
        nrip: 0,
        reserved_0d0: [0; 0x330],
        es: SEGMENT,
        cs: SEGMENT,
        ss: SEGMENT,
        ds: SEGMENT,
        fs: SEGMENT,
        gs: SEGMENT,
        gdtr: SEGMENT,
        ldtr: SEGMENT,
        idtr: SEGMENT,
        tr: SEGMENT,
        reserved_4a0: [0; 0x2b],
        cpl: 0,
        reserved_4cc: [0; 4],
        efer: 0,
        reserved_4d8: [0; 0x70],
        cr4: 0,
        cr3: 0,
        cr0: 0,
        dr7: 0,
        dr6: 0,
        rflags: 0,
        rip: 0,
        reserved_580: [0; 0x58],
        rsp: 0,
        reserved_5e0: [0; 0x18],
        rax: 0,
        star: 0,
        lstar: 0,
        cstar: 0,
        sfmask: 0,
        kernel_gs_base: 0,
        sysenter_cs: 0,
        sysenter_esp: 0,
        sysenter_eip: 0,
        cr2: 0,
        reserved_648: [0; 0x20],
        g_pat: 0,
        dbgctl: 0,
        reserved_678: [0; 0x988],
    };
}

const SEGMENT: VmcbSegment = VmcbSegment {
    selector: 0,
    attributes: 0,
    limit: 0,
    base: 0,
};

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Vmcb, iopm_base_pa) == 0x40);
    assert!(offset_of!(Vmcb, virtual_interrupt) == 0x60);
    assert!(offset_of!(Vmcb, exit_code) == 0x70);
    assert!(offset_of!(Vmcb, event_injection) == 0xa8);
    assert!(offset_of!(Vmcb, n_cr3) == 0xb0);
    assert!(offset_of!(Vmcb, nrip) == 0xc8);
    assert!(offset_of!(Vmcb, es) == 0x400);
    assert!(offset_of!(Vmcb, cpl) == 0x4cb);
    assert!(offset_of!(Vmcb, efer) == 0x4d0);
    assert!(offset_of!(Vmcb, cr4) == 0x548);
    assert!(offset_of!(Vmcb, rip) == 0x578);
    assert!(offset_of!(Vmcb, rsp) == 0x5d8);
    assert!(offset_of!(Vmcb, rax) == 0x5f8);
    assert!(offset_of!(Vmcb, cr2) == 0x640);
    assert!(offset_of!(Vmcb, g_pat) == 0x668);
    assert!(size_of::<Vmcb>() == 0x1000);
};
