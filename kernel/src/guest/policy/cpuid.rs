//! CPUID as a guest sees it: the bits that a table lets through, and a topology of the guest's own CPUs.
//!
//! A feature is let through only when nothing else has to be emulated or switched for it. XSAVE and with it AVX
//! stay hidden (XCR0 is not switched), so do SVM, the TSC deadline, MONITOR, RDTSCP and machine checks.

use cohort_abi::statistics;

/// The four registers that CPUID fills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the processor's own")]
pub struct Registers {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// Which of the guest's CPUs asks, and what is the same for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    /// APIC id of the one that asks: its number.
    pub apic_id: u8,
    /// Its local APIC is enabled by IA32_APIC_BASE.
    pub apic: bool,
    /// CPUs of the guest, at least 1.
    pub cpus: u8,
    /// Ticks of the time-stamp counter in a millisecond; 0 where it is not known.
    pub tsc_khz: u64,
}

/// First leaf of a hypervisor's own.
pub const HYPERVISOR: u32 = statistics::LEAF - 1;
/// What [`HYPERVISOR`] says in EBX, ECX and EDX.
pub const SIGNATURE: &[u8; 12] = statistics::SIGNATURE;

/// Leaf with the frequencies of the time-stamp counter and of the local APIC's timer in kHz, as VMware defined it.
pub const TIMING: u32 = 0x4000_0010;
/// Frequency of the time-stamp counter by that of a crystal, which also drives the local APIC's timer (Intel SDM volume 3, section
/// 20.7.3).
const CRYSTAL: u32 = 0x15;
/// Frequencies of the processor in MHz.
const FREQUENCIES: u32 = 0x16;

const MAX_BASIC: u32 = FREQUENCIES;
const MAX_EXTENDED: u32 = 0x8000_0008;
const ALL: u32 = u32::MAX;

/// Bits of a leaf that come from the hardware (AMD64 Architecture Programmer's Manual, volume 3, appendix E).
struct Rule {
    leaf: u32,
    eax: u32,
    ebx: u32,
    ecx: u32,
    edx: u32,
}

const fn bits(list: &[u32]) -> u32 {
    let (mut mask, mut at) = (0, 0);
    while at < list.len() {
        mask |= 1 << list[at];
        at += 1;
    }
    mask
}

const fn rule(leaf: u32, eax: u32, ebx: u32, ecx: u32, edx: u32) -> Rule {
    Rule {
        leaf,
        eax,
        ebx,
        ecx,
        edx,
    }
}

// FPU DE PSE TSC MSR PAE CX8 APIC SEP PGE CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2
const BASIC_EDX: u32 = bits(&[0, 2, 3, 4, 5, 6, 8, 9, 11, 13, 15, 16, 17, 19, 23, 24, 25, 26]);
// SSE3 PCLMULQDQ SSSE3 CMPXCHG16B SSE4.1 SSE4.2 MOVBE POPCNT AES RDRAND
const BASIC_ECX: u32 = bits(&[0, 1, 9, 13, 19, 20, 22, 23, 25, 30]);
const X2APIC: u32 = 1 << 21;
const APIC: u32 = 1 << 9;
const HYPERVISOR_PRESENT: u32 = 1 << 31;
const HYPER_THREADING: u32 = 1 << 28;
// FSGSBASE BMI1 SMEP BMI2 ERMS RDSEED ADX SMAP CLFLUSHOPT
const STRUCTURED_EBX: u32 = bits(&[0, 3, 7, 8, 9, 18, 19, 20, 23]);
// LAHF ABM SSE4A MISALIGNSSE PREFETCHW
const EXTENDED_ECX: u32 = bits(&[0, 5, 6, 7, 8]);
// As in leaf 1 without SEP, PSE36's neighbours and CLFSH, then SYSCALL NX MMXEXT FXSR FFXSR 1GB LM
const EXTENDED_EDX: u32 = bits(&[
    0, 2, 3, 4, 5, 6, 8, 9, 11, 13, 15, 16, 17, 20, 22, 23, 24, 25, 26, 29,
]);

const TABLE: &[Rule] = &[
    rule(0, 0, ALL, ALL, ALL),
    rule(1, ALL, 0xffff, BASIC_ECX, BASIC_EDX),
    // The APIC timer always runs.
    rule(6, 1 << 2, 0, 0, 0),
    rule(7, 0, STRUCTURED_EBX, 0, 0),
    rule(0x8000_0000, 0, ALL, ALL, ALL),
    rule(0x8000_0001, ALL, 0, EXTENDED_ECX, EXTENDED_EDX),
    rule(0x8000_0002, ALL, ALL, ALL, ALL),
    rule(0x8000_0003, ALL, ALL, ALL, ALL),
    rule(0x8000_0004, ALL, ALL, ALL, ALL),
    rule(0x8000_0005, ALL, ALL, ALL, ALL),
    rule(0x8000_0006, ALL, ALL, ALL, ALL),
    // The TSC is invariant.
    rule(0x8000_0007, 0, 0, 0, 1 << 8),
    rule(0x8000_0008, 0xffff, 0, 0, 0),
];

/// Answers CPUID `leaf`, `subleaf`. `hardware` executes it on this processor; it is asked only for leaves that
/// the table names and the processor has.
pub fn filter(
    leaf: u32,
    subleaf: u32,
    processor: Processor,
    hardware: impl Fn(u32, u32) -> Registers,
) -> Registers {
    let mut answer = match TABLE.iter().find(|rule| rule.leaf == leaf) {
        Some(rule) if leaf <= hardware(leaf & 0x8000_0000, 0).eax && (leaf != 7 || subleaf == 0) => {
            let real = hardware(leaf, subleaf);
            Registers {
                eax: real.eax & rule.eax,
                ebx: real.ebx & rule.ebx,
                ecx: real.ecx & rule.ecx,
                edx: real.edx & rule.edx,
            }
        }
        _ => Registers::default(),
    };
    let (id, cpus) = (u32::from(processor.apic_id), u32::from(processor.cpus));
    match leaf {
        0 => answer.eax = MAX_BASIC,
        1 => {
            answer.ebx |= id << 24 | cpus << 16;
            // Emulated, whether the hardware has it or not.
            answer.ecx |= HYPERVISOR_PRESENT | X2APIC;
            answer.edx |= if cpus > 1 { HYPER_THREADING } else { 0 };
            if !processor.apic {
                answer.edx &= !APIC;
            }
        }
        0xb => answer = extended_topology(subleaf, id, cpus),
        HYPERVISOR => {
            let word = |at: usize| {
                u32::from_le_bytes([
                    SIGNATURE[at],
                    SIGNATURE[at + 1],
                    SIGNATURE[at + 2],
                    SIGNATURE[at + 3],
                ])
            };
            answer = Registers {
                eax: TIMING,
                ebx: word(0),
                ecx: word(4),
                edx: word(8),
            };
        }
        TIMING => {
            let khz = u32::try_from(processor.tsc_khz).unwrap_or(0);
            (answer.eax, answer.ebx) = (khz, khz);
        }
        CRYSTAL | FREQUENCIES => answer = frequencies(leaf, processor.tsc_khz),
        0x8000_0000 => answer.eax = MAX_EXTENDED,
        0x8000_0008 => answer.ecx = cpus.saturating_sub(1) | id_bits(cpus) << 12,
        _ => {}
    }
    answer
}

/// The local APIC's timer counts ticks of the time-stamp counter, so that the crystal is as fast as that: the ratio is one. A frequency
/// that does not fit into 32 bits is not told.
fn frequencies(leaf: u32, khz: u64) -> Registers {
    match (leaf, u32::try_from(khz.saturating_mul(1000))) {
        (_, Err(_) | Ok(0)) => Registers::default(),
        (CRYSTAL, Ok(hz)) => Registers {
            eax: 1,
            ebx: 1,
            ecx: hz,
            edx: 0,
        },
        (_, Ok(hz)) => Registers {
            eax: hz / 1_000_000,
            ebx: hz / 1_000_000,
            ..Registers::default()
        },
    }
}

const fn id_bits(cpus: u32) -> u32 {
    cpus.next_power_of_two().trailing_zeros()
}

/// Leaf 0xb: one thread a core, all cores in one package.
fn extended_topology(subleaf: u32, id: u32, cpus: u32) -> Registers {
    let (eax, ebx, kind) = match subleaf {
        0 => (0, 1, 1),
        1 => (id_bits(cpus), cpus, 2),
        _ => (0, 0, 0),
    };
    Registers {
        eax,
        ebx,
        ecx: kind << 8 | subleaf & 0xff,
        edx: id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONES: Registers = Registers {
        eax: ALL,
        ebx: ALL,
        ecx: ALL,
        edx: ALL,
    };
    const TWO: Processor = Processor {
        apic_id: 1,
        apic: true,
        cpus: 2,
        tsc_khz: 2_500_000,
    };

    fn ask(leaf: u32, subleaf: u32) -> Registers {
        filter(leaf, subleaf, TWO, |_, _| ONES)
    }

    #[test]
    fn features_that_nobody_emulates_are_hidden() {
        let basic = ask(1, 0);
        for hidden in [3, 5, 12, 15, 17, 24, 26, 27, 28, 29] {
            assert_eq!(basic.ecx >> hidden & 1, 0, "ecx bit {hidden}");
        }
        for hidden in [7, 12, 14, 18, 21] {
            assert_eq!(basic.edx >> hidden & 1, 0, "edx bit {hidden}");
        }
        let extended = ask(0x8000_0001, 0);
        assert_eq!(
            (extended.ecx >> 2 & 1, extended.edx >> 27 & 1),
            (0, 0),
            "SVM, RDTSCP"
        );
        assert_eq!(ask(7, 0).ecx, 0);
        assert_eq!(ask(0x8000_000a, 0), Registers::default());
        assert_eq!(ask(0xd, 0), Registers::default());
    }

    #[test]
    fn features_of_the_hardware_pass_and_are_not_invented() {
        assert_eq!(ask(1, 0).edx >> 25 & 3, 3, "SSE and SSE2");
        let poor = |leaf, _| Registers {
            eax: if leaf & 0x7fff_ffff == 0 { leaf | 8 } else { 0 },
            ..Registers::default()
        };
        assert_eq!(filter(1, 0, TWO, poor).edx, HYPER_THREADING);
        assert_eq!(filter(0x8000_0001, 0, TWO, poor), Registers::default());
    }

    #[test]
    fn a_leaf_that_the_processor_lacks_is_not_asked_of_it() {
        let old = |leaf: u32, _| {
            assert!(leaf & 0x7fff_ffff <= 1, "asked for {leaf:#x}");
            Registers {
                eax: leaf & 0x8000_0000 | 1,
                ..ONES
            }
        };
        assert_eq!(filter(7, 0, TWO, old), Registers::default());
        assert_eq!(filter(0x8000_0007, 0, TWO, old), Registers::default());
    }

    #[test]
    fn the_topology_is_the_guests() {
        assert_eq!(ask(1, 0).ebx >> 16, 1 << 8 | 2);
        assert_eq!(
            ask(0xb, 1),
            Registers {
                eax: 1,
                ebx: 2,
                ecx: 0x201,
                edx: 1
            }
        );
        assert_eq!(ask(0xb, 2).ebx, 0);
        assert_eq!(ask(0x8000_0008, 0).ecx, 1 | 1 << 12);
    }

    #[test]
    fn x2apic_is_there_on_every_processor_and_a_disabled_apic_is_not() {
        let bits = |apic| {
            let processor = Processor { apic, ..TWO };
            let leaf = filter(1, 0, processor, |_, _| Registers {
                eax: ALL,
                ecx: 0,
                ..ONES
            });
            (leaf.ecx >> 21 & 1, leaf.edx >> 9 & 1)
        };
        assert_eq!((bits(true), bits(false)), ((1, 1), (1, 0)));
    }

    #[test]
    fn frequencies_are_told_where_they_fit() {
        let leaf = ask(TIMING, 0);
        assert_eq!((leaf.eax, leaf.ebx), (2_500_000, 2_500_000));
        let crystal = ask(CRYSTAL, 0);
        assert_eq!((crystal.eax, crystal.ebx, crystal.ecx), (1, 1, 2_500_000_000));
        assert_eq!(ask(FREQUENCIES, 0).eax, 2_500);
        assert!(ask(0, 0).eax >= FREQUENCIES && ask(HYPERVISOR, 0).eax >= TIMING);
        for tsc_khz in [0, 5_000_000, u64::MAX] {
            let processor = Processor { tsc_khz, ..TWO };
            for leaf in [CRYSTAL, FREQUENCIES] {
                assert_eq!(filter(leaf, 0, processor, |_, _| ONES), Registers::default());
            }
        }
        for between in [0xc, 0xd, 0x14, HYPERVISOR + 1] {
            assert_eq!(ask(between, 0), Registers::default());
        }
    }

    #[test]
    fn the_hypervisor_names_itself() {
        let leaf = ask(HYPERVISOR, 0);
        let name = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes).concat();
        assert_eq!(name, SIGNATURE);
    }
}
