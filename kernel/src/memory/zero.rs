//! Zeroing large memory, with the widest stores that the processor has: wiping is most of what a guest's start costs.
#![expect(
    unsafe_code,
    reason = "stores through a raw pointer; on bare metal, vector instructions"
)]

#[cfg(target_os = "none")]
use core::arch::asm;
#[cfg(target_os = "none")]
use x86_64::registers::control::{Cr4, Cr4Flags};
#[cfg(target_os = "none")]
use x86_64::registers::xcontrol::{XCr0, XCr0Flags};

/// Bytes that one round of the loop stores.
#[cfg(target_os = "none")]
const ROUND: usize = 1024;

/// Zeroes `bytes` bytes from `to`.
///
/// # Safety
/// The range must be valid for writes.
pub unsafe fn zero(to: *mut u8, bytes: usize) {
    #[cfg(target_os = "none")]
    if (to as usize).is_multiple_of(ROUND) && bytes.is_multiple_of(ROUND) && bytes > 0 && has_avx() {
        // SAFETY: the caller promises the range; it is whole rounds, aligned, and the processor has AVX.
        unsafe { by_vector(to, bytes / ROUND) };
        return;
    }
    // SAFETY: as the caller promises.
    unsafe { to.write_bytes(0, bytes) };
}

#[cfg(target_os = "none")]
fn has_avx() -> bool {
    let features = raw_cpuid::CpuId::new().get_feature_info();
    features.is_some_and(|features| features.has_avx() && features.has_xsave())
}

/// Stores past the caches, which the memory's new owner would not find warm for long.
///
/// The hypervisor uses no vector registers, so what is in them may be a guest's: the one that is used is given back as it
/// was. AVX is on in here only, since a guest finds XCR0 as the host has it.
///
/// # Safety
/// `rounds` times [`ROUND`] bytes from `to` must be valid for writes, `to` a multiple of 32, and the processor must
/// have AVX and XSAVE. Interrupts must not use vector registers.
#[cfg(target_os = "none")]
unsafe fn by_vector(to: *mut u8, rounds: usize) {
    let cr4 = Cr4::read();
    // SAFETY: lets vector instructions be used; set back below.
    unsafe { Cr4::write(cr4 | Cr4Flags::OSFXSR | Cr4Flags::OSXSAVE) };
    let xcr0 = XCr0::read();
    // SAFETY: the processor has AVX, and x87 and SSE are on with it, as they must be.
    unsafe { XCr0::write(xcr0 | XCr0Flags::X87 | XCr0Flags::SSE | XCr0Flags::AVX) };
    let mut kept = [0u8; 16];
    // SAFETY: writes what the caller promises, and `kept`. XMM0 is as before afterwards; the upper half of YMM0, which
    // nobody can have set, is zero as it was.
    unsafe {
        asm!(
            "movups [{kept}], xmm0",
            "vpxor xmm0, xmm0, xmm0",
            "2:",
            ".set cohort_zero_offset, 0",
            ".rept 32",
            "vmovntdq ymmword ptr [{at} + cohort_zero_offset], ymm0",
            ".set cohort_zero_offset, cohort_zero_offset + 32",
            ".endr",
            "add {at}, 1024",
            "dec {rounds}",
            "jnz 2b",
            "sfence",
            "vzeroupper",
            "movups xmm0, [{kept}]",
            kept = in(reg) &raw mut kept,
            at = inout(reg) to => _,
            rounds = inout(reg) rounds => _,
            options(nostack),
        );
    }
    // SAFETY: as it was.
    unsafe { XCr0::write(xcr0) };
    // SAFETY: as it was.
    unsafe { Cr4::write(cr4) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_range_is_zeroed() {
        let mut bytes = [0xffu8; 64];
        // SAFETY: inside the array.
        unsafe { zero(bytes.as_mut_ptr().add(8), 48) };
        assert_eq!(bytes[..8], [0xff; 8]);
        assert_eq!(bytes[8..56], [0; 48]);
        assert_eq!(bytes[56..], [0xff; 8]);
    }
}
