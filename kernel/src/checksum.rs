//! The bundle's checksum by the processor's own instruction: the check is on the way to the first guest.
#![expect(
    unsafe_code,
    reason = "an instruction that the compiler has no name for on this target"
)]

use cohort_abi::bundle;
use core::arch::asm;

/// Bytes that one round of the loop takes.
const ROUND: usize = 128;

/// CRC-32C of `bytes`, as [`bundle::checksum`] computes it.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let features = raw_cpuid::CpuId::new().get_feature_info();
    if features.is_some_and(|features| features.has_sse42()) {
        // SAFETY: the processor has SSE4.2, of which CRC32 is part.
        unsafe { by_instruction(bytes) }
    } else {
        bundle::checksum(bytes)
    }
}

/// # Safety
/// The processor has the instruction CRC32 (CPUID 1, ECX bit 20).
unsafe fn by_instruction(bytes: &[u8]) -> u32 {
    let mut crc = u64::from(u32::MAX);
    let rounds = bytes.chunks_exact(ROUND);
    let rest = rounds.remainder();
    let (count, start) = (rounds.len(), bytes.as_ptr());
    if count > 0 {
        // SAFETY: reads `count` rounds from `start`, which `chunks_exact` found to be there. CRC32 uses general
        // registers only, so no floating-point state is touched.
        unsafe {
            asm!(
                "2:",
                "crc32 {crc}, qword ptr [{at}]",
                "crc32 {crc}, qword ptr [{at} + 8]",
                "crc32 {crc}, qword ptr [{at} + 16]",
                "crc32 {crc}, qword ptr [{at} + 24]",
                "crc32 {crc}, qword ptr [{at} + 32]",
                "crc32 {crc}, qword ptr [{at} + 40]",
                "crc32 {crc}, qword ptr [{at} + 48]",
                "crc32 {crc}, qword ptr [{at} + 56]",
                "crc32 {crc}, qword ptr [{at} + 64]",
                "crc32 {crc}, qword ptr [{at} + 72]",
                "crc32 {crc}, qword ptr [{at} + 80]",
                "crc32 {crc}, qword ptr [{at} + 88]",
                "crc32 {crc}, qword ptr [{at} + 96]",
                "crc32 {crc}, qword ptr [{at} + 104]",
                "crc32 {crc}, qword ptr [{at} + 112]",
                "crc32 {crc}, qword ptr [{at} + 120]",
                "sub {at}, -128",
                "dec {count}",
                "jnz 2b",
                crc = inout(reg) crc,
                at = inout(reg) start => _,
                count = inout(reg) count => _,
                options(readonly, nostack),
            );
        }
    }
    for &byte in rest {
        // SAFETY: works on registers.
        unsafe { asm!("crc32 {0:e}, {1}", inout(reg) crc, in(reg_byte) byte, options(pure, nomem, nostack)) };
    }
    !(crc as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_value_of_the_algorithm() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[]), 0);
    }

    proptest! {
        #[test]
        fn instruction_and_table_agree(bytes in prop::collection::vec(any::<u8>(), 0..1000), skip in 0..8usize) {
            let bytes = bytes.get(skip..).unwrap_or_default();
            prop_assert_eq!(crc32c(bytes), bundle::checksum(bytes));
        }
    }
}
