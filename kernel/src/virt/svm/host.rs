//! Turns SVM on, on each CPU that runs a guest.
#![expect(
    unsafe_code,
    reason = "model-specific registers, and the floating-point state"
)]

use alloc::boxed::Box;
use raw_cpuid::CpuId;
use spec::svm::{MSR_VM_CR, MSR_VM_HSAVE_PA, VM_CR_SVMDIS, Vmcb};
use x86_64::registers::control::{Cr4, Cr4Flags, Efer, EferFlags};
use x86_64::registers::model_specific::Msr;

/// Why guests cannot run on this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvmError {
    /// CPUID does not have it.
    #[error(
        "the processor has no SVM (AMD-V); in QEMU use `-cpu EPYC,+svm,+npt` (cpu = \"EPYC,+svm,+npt\" under [machine])"
    )]
    Absent,
    /// The firmware forbids it.
    #[error("SVM is disabled by the firmware (VM_CR.SVMDIS); enable it in the firmware's setup")]
    Disabled,
    /// No nested paging.
    #[error(
        "the processor's SVM has no nested paging; in QEMU use `-cpu EPYC,+svm,+npt` (cpu = \"EPYC,+svm,+npt\" under [machine])"
    )]
    NoNestedPaging,
}

/// What of SVM the processor has beyond what is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// The next instruction's address is saved on exits.
    pub nrip_save: bool,
    /// 1 GiB pages.
    pub page1g: bool,
}

/// Floating-point state at reset for FXRSTOR: FCW 0x37f, MXCSR 0x1f80, all else zero.
#[repr(C, align(16))]
struct CleanFpu([u8; 512]);

static CLEAN_FPU: CleanFpu = {
    let mut image = [0; 512];
    (image[0], image[1]) = (0x7f, 0x03);
    (image[24], image[25]) = (0x80, 0x1f);
    CleanFpu(image)
};

/// Turns SVM on for this CPU and clears the floating-point state that its next guest starts with. The hypervisor is
/// built without floating point, so the state is the guest's alone from here on.
///
/// # Errors
/// [`SvmError`] says what the processor or its firmware lacks.
pub fn enable() -> Result<Features, SvmError> {
    let features = features()?;
    // SAFETY: the register exists where SVM does.
    if unsafe { Msr::new(MSR_VM_CR).read() } & VM_CR_SVMDIS != 0 {
        return Err(SvmError::Disabled);
    }
    // SAFETY: sets a bit that changes nothing by itself.
    unsafe { Efer::update(|efer| *efer |= EferFlags::SECURE_VIRTUAL_MACHINE_ENABLE) };
    let save = core::ptr::from_mut::<Vmcb>(Box::leak(Box::new(Vmcb::EMPTY)));
    // SAFETY: a page of its own that lives for ever.
    unsafe { Msr::new(MSR_VM_HSAVE_PA).write(save as u64) };
    // SAFETY: lets FXRSTOR load the SSE registers; no host code uses them.
    unsafe { Cr4::update(|cr4| *cr4 |= Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE) };
    // SAFETY: the image is 512 bytes, aligned, and valid.
    unsafe { core::arch::asm!("fxrstor [{}]", in(reg) &raw const CLEAN_FPU, options(readonly, nostack)) };
    Ok(features)
}

/// What CPUID says.
///
/// # Errors
/// [`SvmError::Absent`] or [`SvmError::NoNestedPaging`].
fn features() -> Result<Features, SvmError> {
    let cpuid = CpuId::new();
    let extended = cpuid
        .get_extended_processor_and_feature_identifiers()
        .ok_or(SvmError::Absent)?;
    if !extended.has_svm() {
        return Err(SvmError::Absent);
    }
    let svm = cpuid.get_svm_info().ok_or(SvmError::Absent)?;
    if !svm.has_nested_paging() {
        return Err(SvmError::NoNestedPaging);
    }
    Ok(Features {
        nrip_save: svm.has_nrip(),
        page1g: extended.has_1gib_pages(),
    })
}
