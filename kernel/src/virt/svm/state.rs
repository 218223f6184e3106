//! A vCPU's state in its VMCB, and the vendor-neutral view of it.

use super::decode;
use super::permission::{IoPermissions, MsrPermissions};
use crate::virt::{
    CodeSegment, ContextMsr, Exception, Exit, Gpr, Gprs, InvalidMsrValue, LongEntry, RealEntry, Segment,
    VcpuState, cr4, efer, rflags,
};
use alloc::boxed::Box;
use alloc::sync::Arc;
use spec::svm::{
    INTERCEPT_CR8, INTERRUPT_SHADOW, Intercept1, Intercept2, NP_ENABLE, TLB_FLUSH_ALL, V_INTR_VECTOR_SHIFT,
    VirtualInterrupt, Vmcb, VmcbSegment, attributes, event, exit_code,
};

/// Registers at a vCPU's first instruction, for the 32-bit entry of PVH: protected mode, no paging, flat segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryState {
    /// EIP.
    pub eip: u32,
    /// EBX: where the start information is.
    pub ebx: u32,
}

/// Exceptions that are intercepted: #DB and #AC can be raised without end inside one instruction's delivery, so
/// that no interrupt would ever leave the guest (CVE-2015-8104, CVE-2015-5307); #MC is the host's.
const EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;

/// What always leaves the guest: all that has a name, but for IRET.
const INTERCEPTS: Intercept1 = Intercept1::all().difference(Intercept1::IRET);

/// PAT at reset (manual volume 2, section 7.8.2).
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
/// Vector of non-maskable interrupts.
const NMI_VECTOR: u64 = 2;
/// The one address space id in use: a CPU runs one guest, and a new one starts with a flush.
const ASID: u32 = 1;
/// EFER bits that a guest may set.
const GUEST_EFER: u64 = efer::SCE | efer::LME | efer::LMA | efer::NXE;
const CR0_PG: u64 = 1 << 31;
const CR0_RESET: u64 = 0x11;
/// CR0 of real mode: only ET, which is always one. Caches stay on: the guest's memory is coherent.
const CR0_REAL: u64 = 0x10;

/// Whether the guest takes a non-maskable interrupt. Hardware without virtual NMIs does not say, so IRET is intercepted meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NmiMask {
    /// It does.
    Open,
    /// It has not returned from the last one.
    Blocked,
    /// It executes the IRET at this address, on the stack of the last one.
    Returning(u64),
}

/// One virtual CPU.
#[derive(Debug)]
pub struct SvmVcpu {
    pub(super) vmcb: Box<Vmcb>,
    /// RAX and RSP are copied from and to the VMCB at each run.
    pub(super) gprs: Gprs,
    /// What VMSAVE keeps of the host while the guest runs.
    #[cfg_attr(
        not(target_os = "none"),
        expect(dead_code, reason = "only bare metal enters a guest")
    )]
    pub(super) host: Box<Vmcb>,
    /// Kept alive for the hardware, which reads them.
    _ports: Arc<IoPermissions>,
    _msrs: Arc<MsrPermissions>,
    nrip_save: bool,
    nmi: NmiMask,
}

impl SvmVcpu {
    /// A vCPU whose nested page tables have their root at host physical `nested_root`. Host virtual addresses are
    /// physical ones, so boxes are handed to the hardware as they are.
    #[must_use]
    pub fn new(
        nested_root: u64,
        ports: Arc<IoPermissions>,
        msrs: Arc<MsrPermissions>,
        nrip_save: bool,
    ) -> Self {
        let mut vmcb = Box::new(Vmcb::EMPTY);
        vmcb.intercept_cr = INTERCEPT_CR8;
        vmcb.intercept_exceptions = EXCEPTIONS;
        vmcb.intercept1 = INTERCEPTS.bits();
        vmcb.intercept2 = Intercept2::all().bits();
        vmcb.iopm_base_pa = core::ptr::from_ref::<IoPermissions>(&ports) as u64;
        vmcb.msrpm_base_pa = core::ptr::from_ref::<MsrPermissions>(&msrs) as u64;
        vmcb.guest_asid = ASID;
        vmcb.tlb_control = TLB_FLUSH_ALL;
        vmcb.virtual_interrupt = VirtualInterrupt::V_INTR_MASKING.bits();
        vmcb.np_enable = NP_ENABLE;
        vmcb.n_cr3 = nested_root;
        let mut vcpu = Self {
            vmcb,
            gprs: Gprs::default(),
            host: Box::new(Vmcb::EMPTY),
            _ports: ports,
            _msrs: msrs,
            nrip_save,
            nmi: NmiMask::Open,
        };
        vcpu.reset(EntryState { eip: 0, ebx: 0 });
        vcpu
    }

    /// Puts the vCPU at its first instruction.
    pub fn reset(&mut self, entry: EntryState) {
        let segment = |attributes, limit| VmcbSegment {
            selector: 0,
            attributes,
            limit,
            base: 0,
        };
        let data = VmcbSegment {
            selector: 0x10,
            ..segment(attributes::DATA32, u32::MAX)
        };
        let vmcb = &mut *self.vmcb;
        vmcb.cs = VmcbSegment {
            selector: 8,
            ..segment(attributes::CODE32, u32::MAX)
        };
        (vmcb.ds, vmcb.es, vmcb.ss, vmcb.fs, vmcb.gs) = (data, data, data, data, data);
        (vmcb.gdtr, vmcb.idtr) = (segment(0, 0), segment(0, 0));
        vmcb.ldtr = segment(attributes::LDT, 0);
        vmcb.tr = segment(attributes::TSS32, 0x67);
        vmcb.cpl = 0;
        vmcb.efer = efer::SVME;
        (vmcb.cr0, vmcb.cr3, vmcb.cr4, vmcb.cr2) = (CR0_RESET, 0, 0, 0);
        (vmcb.dr6, vmcb.dr7) = (0xffff_0ff0, 0x400);
        vmcb.rflags = 2;
        vmcb.rip = u64::from(entry.eip);
        vmcb.g_pat = PAT_RESET;
        (
            vmcb.star,
            vmcb.lstar,
            vmcb.cstar,
            vmcb.sfmask,
            vmcb.kernel_gs_base,
        ) = (0, 0, 0, 0, 0);
        (
            vmcb.sysenter_cs,
            vmcb.sysenter_esp,
            vmcb.sysenter_eip,
            vmcb.dbgctl,
        ) = (0, 0, 0, 0);
        (vmcb.event_injection, vmcb.interrupt_shadow) = (0, 0);
        // Nothing that waits for the old state comes through.
        vmcb.virtual_interrupt = VirtualInterrupt::V_INTR_MASKING.bits();
        vmcb.intercept1 = INTERCEPTS.bits();
        self.nmi = NmiMask::Open;
        vmcb.tlb_control = TLB_FLUSH_ALL;
        self.gprs = Gprs::default();
        self.gprs.set(Gpr::Rbx, u64::from(entry.ebx));
    }

    /// Forgets what the processor remembers of nested paging, at the next entry.
    pub const fn flush(&mut self) {
        self.vmcb.tlb_control = TLB_FLUSH_ALL;
    }

    /// Puts the vCPU at its first instruction in 64-bit mode.
    pub fn reset_long(&mut self, entry: LongEntry) {
        self.reset(EntryState { eip: 0, ebx: 0 });
        let vmcb = &mut *self.vmcb;
        vmcb.cs.selector = entry.code;
        vmcb.cs.attributes = attributes::CODE32 & !attributes::DEFAULT32 | attributes::LONG;
        for segment in [&mut vmcb.ds, &mut vmcb.es, &mut vmcb.ss] {
            segment.selector = entry.data;
        }
        vmcb.gdtr.base = entry.gdt;
        vmcb.gdtr.limit = entry.gdt_limit;
        vmcb.efer |= efer::LME | efer::LMA;
        vmcb.cr0 |= CR0_PG;
        vmcb.cr3 = entry.cr3;
        vmcb.cr4 = cr4::PAE;
        vmcb.rip = entry.rip;
        self.gprs.set(Gpr::Rsi, entry.rsi);
    }

    /// What VMRUN needs before an entry.
    #[cfg_attr(
        not(target_os = "none"),
        expect(dead_code, reason = "only bare metal enters a guest")
    )]
    pub(super) fn prepare(&mut self) {
        self.vmcb.rax = self.gprs.get(Gpr::Rax);
        self.vmcb.rsp = self.gprs.get(Gpr::Rsp);
    }

    /// Takes in what the processor left, and says why it did.
    #[cfg_attr(
        not(any(test, target_os = "none")),
        expect(dead_code, reason = "only bare metal enters a guest")
    )]
    pub(super) fn finish(&mut self) -> Exit {
        let vmcb = &mut *self.vmcb;
        vmcb.tlb_control = 0;
        self.gprs.set(Gpr::Rax, vmcb.rax);
        self.gprs.set(Gpr::Rsp, vmcb.rsp);
        vmcb.event_injection = 0;
        let exit = decode::decode(vmcb);
        if vmcb.exit_code == exit_code::IRET {
            vmcb.intercept1 &= !Intercept1::IRET.bits();
            self.nmi = NmiMask::Returning(vmcb.rip);
        }
        let raised = vmcb.intercept1 & Intercept1::VINTR.bits() == 0;
        let pending = vmcb.virtual_interrupt & VirtualInterrupt::V_IRQ.bits() != 0;
        if vmcb.exit_code == exit_code::VINTR || raised && !pending {
            // The window has opened, or the interrupt is delivered: the next virtual interrupt is a window again.
            vmcb.virtual_interrupt &= VirtualInterrupt::V_INTR_MASKING.bits();
            vmcb.intercept1 |= Intercept1::VINTR.bits();
        }
        // An event whose delivery the exit cut off must be delivered again (section 15.7.2).
        let cut_off = self.vmcb.exit_int_info;
        if cut_off & event::VALID != 0 {
            if cut_off & event::TYPE_MASK == event::TYPE_INTERRUPT {
                self.raise(cut_off as u8);
            } else {
                self.vmcb.event_injection = cut_off;
            }
        }
        exit
    }

    /// Has the processor deliver external interrupt `vector` as a virtual interrupt (section 15.21.4): as soon as the guest
    /// can take it, which is at once where it is [`interruptible`](VcpuState::interruptible).
    ///
    /// Event injection would do the same, but QEMU (7.2, `helper_vmrun`) leaves the injected vector behind as a pending
    /// exception, and delivers it a second time, interrupts on or off, if its main loop breaks off the guest for a reason
    /// of its own before the guest's next exit.
    fn raise(&mut self, vector: u8) {
        self.vmcb.intercept1 &= !Intercept1::VINTR.bits();
        let flags = (VirtualInterrupt::V_IRQ | VirtualInterrupt::V_IGN_TPR).bits();
        let kept = self.vmcb.virtual_interrupt & VirtualInterrupt::V_INTR_MASKING.bits();
        self.vmcb.virtual_interrupt = kept | flags | u64::from(vector) << V_INTR_VECTOR_SHIFT;
    }

    /// Whether an interrupt that was raised has not been delivered yet.
    fn interrupt_waits(&self) -> bool {
        self.vmcb.intercept1 & Intercept1::VINTR.bits() == 0
            && self.vmcb.virtual_interrupt & VirtualInterrupt::V_IRQ.bits() != 0
    }

    fn segment(&self, segment: Segment) -> &VmcbSegment {
        match segment {
            Segment::Es => &self.vmcb.es,
            Segment::Cs => &self.vmcb.cs,
            Segment::Ss => &self.vmcb.ss,
            Segment::Ds => &self.vmcb.ds,
            Segment::Fs => &self.vmcb.fs,
            Segment::Gs => &self.vmcb.gs,
        }
    }
}

impl VcpuState for SvmVcpu {
    fn gprs(&self) -> &Gprs {
        &self.gprs
    }

    fn gprs_mut(&mut self) -> &mut Gprs {
        &mut self.gprs
    }

    fn rip(&self) -> u64 {
        self.vmcb.rip
    }

    fn set_rip(&mut self, rip: u64) {
        self.vmcb.rip = rip;
        self.vmcb.interrupt_shadow &= !INTERRUPT_SHADOW;
    }

    fn next_rip(&self) -> Option<u64> {
        decode::next_rip(&self.vmcb, self.nrip_save)
    }

    fn rflags(&self) -> u64 {
        self.vmcb.rflags
    }

    fn set_rflags(&mut self, rflags: u64) {
        self.vmcb.rflags = rflags | 2;
    }

    fn cr0(&self) -> u64 {
        self.vmcb.cr0
    }

    fn cr3(&self) -> u64 {
        self.vmcb.cr3
    }

    fn cr4(&self) -> u64 {
        self.vmcb.cr4
    }

    fn efer(&self) -> u64 {
        self.vmcb.efer & !efer::SVME
    }

    fn code_segment(&self) -> CodeSegment {
        let attributes = self.vmcb.cs.attributes;
        CodeSegment {
            long: attributes & attributes::LONG != 0,
            default32: attributes & attributes::DEFAULT32 != 0,
            cpl: self.vmcb.cpl,
        }
    }

    fn segment_base(&self, segment: Segment) -> u64 {
        self.segment(segment).base
    }

    fn context_msr(&self, msr: ContextMsr) -> u64 {
        match msr {
            ContextMsr::Efer => self.efer(),
            ContextMsr::Pat => self.vmcb.g_pat,
        }
    }

    fn set_context_msr(&mut self, msr: ContextMsr, value: u64) -> Result<(), InvalidMsrValue> {
        match msr {
            ContextMsr::Efer => {
                let paging = self.vmcb.cr0 & CR0_PG != 0;
                let lme_changes = (value ^ self.vmcb.efer) & efer::LME != 0;
                if value & !GUEST_EFER != 0 || (paging && lme_changes) {
                    return Err(InvalidMsrValue);
                }
                // LMA is the processor's own and keeps its value.
                let lma = self.vmcb.efer & efer::LMA;
                self.vmcb.efer = value & !efer::LMA | lma | efer::SVME;
            }
            ContextMsr::Pat => {
                if value
                    .to_le_bytes()
                    .iter()
                    .any(|kind| !matches!(kind, 0 | 1 | 4..=7))
                {
                    return Err(InvalidMsrValue);
                }
                self.vmcb.g_pat = value;
            }
        }
        Ok(())
    }

    fn interruptible(&self) -> bool {
        self.vmcb.rflags & rflags::IF != 0
            && self.vmcb.interrupt_shadow & INTERRUPT_SHADOW == 0
            && self.vmcb.event_injection & event::VALID == 0
            && !self.interrupt_waits()
    }

    fn inject_interrupt(&mut self, vector: u8) -> bool {
        let can = self.interruptible();
        if can {
            self.raise(vector);
        }
        can
    }

    fn inject_nmi(&mut self) -> bool {
        let masked = match self.nmi {
            NmiMask::Open => false,
            NmiMask::Blocked => true,
            // Until it has been executed.
            NmiMask::Returning(at) => at == self.vmcb.rip,
        };
        let can = !masked
            && self.vmcb.interrupt_shadow & INTERRUPT_SHADOW == 0
            && self.vmcb.event_injection & event::VALID == 0;
        if can {
            self.vmcb.event_injection = event::VALID | event::TYPE_NMI | NMI_VECTOR;
            self.vmcb.intercept1 |= Intercept1::IRET.bits();
            self.nmi = NmiMask::Blocked;
        }
        can
    }

    fn restart(&mut self, entry: RealEntry) {
        self.reset(EntryState { eip: 0, ebx: 0 });
        let segment = |attributes| VmcbSegment {
            selector: 0,
            attributes,
            limit: 0xffff,
            base: 0,
        };
        let data = segment(attributes::DATA16);
        let vmcb = &mut *self.vmcb;
        vmcb.cs = VmcbSegment {
            selector: entry.selector,
            base: entry.base,
            ..segment(attributes::CODE16)
        };
        (vmcb.ds, vmcb.es, vmcb.ss, vmcb.fs, vmcb.gs) = (data, data, data, data, data);
        (vmcb.gdtr, vmcb.idtr) = (segment(0), segment(0));
        vmcb.ldtr = segment(attributes::LDT);
        vmcb.tr = segment(attributes::TSS32);
        vmcb.cr0 = CR0_REAL;
        vmcb.rip = entry.ip.into();
    }

    fn inject_exception(&mut self, exception: Exception) {
        let error = exception.error.map_or(0, |code| {
            event::ERROR_VALID | u64::from(code) << event::ERROR_SHIFT
        });
        self.vmcb.event_injection =
            event::VALID | event::TYPE_EXCEPTION | u64::from(exception.vector) | error;
    }

    fn request_interrupt_window(&mut self) {
        // One that is about to be delivered brings an exit soon: its EOI.
        if !self.interrupt_waits() {
            self.vmcb.virtual_interrupt |= (VirtualInterrupt::V_IRQ | VirtualInterrupt::V_IGN_TPR).bits();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vcpu() -> SvmVcpu {
        SvmVcpu::new(
            0x1000,
            Arc::from(IoPermissions::deny_all()),
            Arc::from(MsrPermissions::deny_all()),
            false,
        )
    }

    /// The interrupt that waits for the guest.
    fn raised(vcpu: &SvmVcpu) -> Option<u8> {
        let vector = (vcpu.vmcb.virtual_interrupt >> V_INTR_VECTOR_SHIFT) as u8;
        vcpu.interrupt_waits().then_some(vector)
    }

    #[test]
    fn an_interrupt_waits_for_the_flag_the_shadow_and_the_event_before_it() {
        let mut vcpu = vcpu();
        assert!(!vcpu.inject_interrupt(0x40), "IF is clear");
        vcpu.set_rflags(rflags::IF);
        vcpu.vmcb.interrupt_shadow = INTERRUPT_SHADOW;
        assert!(!vcpu.inject_interrupt(0x40), "in the shadow of STI");
        vcpu.set_rip(0x1001);
        assert!(vcpu.inject_interrupt(0x40));
        assert!(!vcpu.inject_interrupt(0x41), "one event an entry");
        assert_eq!(raised(&vcpu), Some(0x40));
    }

    #[test]
    fn a_delivery_that_was_cut_off_is_delivered_again() {
        let mut vcpu = vcpu();
        vcpu.set_rflags(rflags::IF);
        assert!(vcpu.inject_interrupt(0x40));
        vcpu.vmcb.virtual_interrupt &= !VirtualInterrupt::V_IRQ.bits();
        vcpu.vmcb.exit_int_info = 0x8000_0040;
        vcpu.finish();
        assert_eq!((raised(&vcpu), vcpu.vmcb.event_injection), (Some(0x40), 0));
        vcpu.vmcb.exit_int_info = 0;
        vcpu.finish();
        assert_eq!(raised(&vcpu), Some(0x40), "the exit came before it");
        vcpu.vmcb.virtual_interrupt &= !VirtualInterrupt::V_IRQ.bits();
        vcpu.finish();
        assert_eq!(raised(&vcpu), None);
        vcpu.inject_exception(Exception::PROTECTION);
        let exception = vcpu.vmcb.event_injection;
        vcpu.vmcb.exit_int_info = exception;
        vcpu.finish();
        assert_eq!(vcpu.vmcb.event_injection, exception);
        vcpu.vmcb.exit_int_info = 0;
        vcpu.finish();
        assert_eq!(vcpu.vmcb.event_injection, 0);
    }

    #[test]
    fn a_window_is_one_exit_and_no_interrupt() {
        let mut vcpu = vcpu();
        vcpu.request_interrupt_window();
        let asked = vcpu.vmcb.virtual_interrupt;
        assert_eq!(raised(&vcpu), None, "VINTR is intercepted");
        vcpu.vmcb.exit_code = spec::svm::exit_code::CPUID;
        vcpu.finish();
        assert_eq!(vcpu.vmcb.virtual_interrupt, asked, "still asked for");
        vcpu.vmcb.exit_code = spec::svm::exit_code::VINTR;
        assert_eq!(vcpu.finish(), Exit::InterruptWindow);
        assert_eq!(vcpu.vmcb.virtual_interrupt & VirtualInterrupt::V_IRQ.bits(), 0);
        vcpu.set_rflags(rflags::IF);
        assert!(vcpu.inject_interrupt(0x51));
        vcpu.request_interrupt_window();
        assert_eq!(raised(&vcpu), Some(0x51), "the window does not take its place");
    }

    #[test]
    fn a_non_maskable_interrupt_masks_the_next_until_its_iret_is_done() {
        let mut vcpu = vcpu();
        assert!(vcpu.inject_nmi(), "RFLAGS.IF does not matter");
        assert_eq!(vcpu.vmcb.event_injection, 0x8000_0202);
        assert!(!vcpu.inject_interrupt(0x40) && !vcpu.inject_nmi());
        vcpu.vmcb.exit_code = exit_code::CPUID;
        vcpu.finish();
        assert!(!vcpu.inject_nmi(), "its handler runs");
        (vcpu.vmcb.exit_code, vcpu.vmcb.rip) = (exit_code::IRET, 0x1234);
        assert_eq!(vcpu.finish(), Exit::InterruptWindow);
        assert_eq!(vcpu.vmcb.intercept1 & Intercept1::IRET.bits(), 0);
        assert!(!vcpu.inject_nmi(), "IRET comes first");
        (vcpu.vmcb.exit_code, vcpu.vmcb.rip) = (exit_code::INTR, 0x5678);
        vcpu.finish();
        assert!(vcpu.inject_nmi());
    }

    #[test]
    fn an_iret_does_not_take_a_raised_interrupt_away() {
        let mut vcpu = vcpu();
        vcpu.set_rflags(rflags::IF);
        assert!(vcpu.inject_interrupt(0x40));
        vcpu.vmcb.exit_code = exit_code::IRET;
        vcpu.finish();
        assert_eq!(raised(&vcpu), Some(0x40));
    }

    #[test]
    fn a_restart_is_in_real_mode_with_nothing_left_over() {
        let mut vcpu = vcpu();
        vcpu.set_rflags(rflags::IF);
        assert!(vcpu.inject_interrupt(0x40));
        vcpu.vmcb.cr0 |= CR0_PG;
        vcpu.restart(RealEntry::start_up(0x9a));
        let cs = vcpu.vmcb.cs;
        assert_eq!((cs.selector, cs.base, vcpu.rip()), (0x9a00, 0x9_a000, 0));
        assert_eq!((cs.limit, cs.attributes & attributes::DEFAULT32), (0xffff, 0));
        assert_eq!((vcpu.cr0(), vcpu.efer(), vcpu.rflags()), (CR0_REAL, 0, 2));
        assert_eq!(raised(&vcpu), None);
        vcpu.restart(RealEntry::RESET);
        assert_eq!(vcpu.vmcb.cs.base + vcpu.rip(), 0xffff_fff0);
    }

    #[test]
    fn a_64_bit_entry_is_consistent() {
        let mut vcpu = vcpu();
        vcpu.reset_long(LongEntry {
            rip: 0x100_0200,
            rsi: 0x7000,
            cr3: 0x8000,
            gdt: 0x6000,
            gdt_limit: 0x1f,
            code: 0x10,
            data: 0x18,
        });
        let code = vcpu.code_segment();
        // Long mode needs paging and PAE, and a 64-bit code segment no default size (section 15.5.1).
        assert!(code.long && !code.default32 && code.cpl == 0);
        assert_eq!(vcpu.efer(), efer::LME | efer::LMA);
        assert_eq!(
            (vcpu.cr0(), vcpu.cr3(), vcpu.cr4()),
            (CR0_RESET | CR0_PG, 0x8000, cr4::PAE)
        );
        assert_eq!((vcpu.rip(), vcpu.gprs().get(Gpr::Rsi)), (0x100_0200, 0x7000));
        vcpu.reset(EntryState { eip: 1, ebx: 2 });
        assert_eq!(
            (vcpu.efer(), vcpu.cr0(), vcpu.code_segment().default32),
            (0, CR0_RESET, true)
        );
    }

    #[test]
    fn svm_stays_hidden_and_on() {
        let mut vcpu = vcpu();
        assert_eq!(vcpu.efer(), 0);
        assert!(vcpu.set_context_msr(ContextMsr::Efer, efer::SVME).is_err());
        assert!(
            vcpu.set_context_msr(ContextMsr::Efer, efer::LME | efer::NXE)
                .is_ok()
        );
        assert_eq!(vcpu.efer(), efer::LME | efer::NXE);
        assert_eq!(vcpu.vmcb.efer & efer::SVME, efer::SVME);
        vcpu.vmcb.cr0 |= CR0_PG;
        assert!(
            vcpu.set_context_msr(ContextMsr::Efer, 0).is_err(),
            "LME cannot change under paging"
        );
        assert!(vcpu.set_context_msr(ContextMsr::Pat, 2).is_err());
    }
}
