//! The table of model-specific registers.

use crate::virt::ContextMsr;
use spec::{lapic, msr};

/// How a register is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsrAccess {
    /// The guest reads and writes the hardware's register, without an exit: the vendor switches it.
    Direct,
    /// Part of the context that only the vendor module can reach.
    Context(ContextMsr),
    /// APIC_BASE: the mode of the local APIC.
    ApicBase,
    /// The register of the local APIC with this number, in x2APIC mode; denied in any other.
    X2Apic(u8),
    /// The time-stamp counter, read only.
    Tsc,
    /// Reads this value; a write is the guest's fault.
    ReadOnly(u64),
    /// Reads this value; a write changes nothing.
    Fixed(u64),
}

const TABLE: &[(u32, MsrAccess)] = &[
    (msr::TSC, MsrAccess::Tsc),
    (msr::APIC_BASE, MsrAccess::ApicBase),
    (msr::PATCH_LEVEL, MsrAccess::ReadOnly(0)),
    (msr::MTRR_CAP, MsrAccess::ReadOnly(0)),
    (msr::SYSENTER_CS, MsrAccess::Direct),
    (msr::SYSENTER_ESP, MsrAccess::Direct),
    (msr::SYSENTER_EIP, MsrAccess::Direct),
    (msr::MCG_CAP, MsrAccess::ReadOnly(0)),
    (msr::MCG_STATUS, MsrAccess::ReadOnly(0)),
    (msr::MISC_ENABLE, MsrAccess::Fixed(0)),
    (msr::PAT, MsrAccess::Context(ContextMsr::Pat)),
    (msr::MTRR_DEFAULT_TYPE, MsrAccess::ReadOnly(msr::MTRR_WRITE_BACK)),
    (msr::EFER, MsrAccess::Context(ContextMsr::Efer)),
    (msr::STAR, MsrAccess::Direct),
    (msr::LSTAR, MsrAccess::Direct),
    (msr::CSTAR, MsrAccess::Direct),
    (msr::SFMASK, MsrAccess::Direct),
    (msr::FS_BASE, MsrAccess::Direct),
    (msr::GS_BASE, MsrAccess::Direct),
    (msr::KERNEL_GS_BASE, MsrAccess::Direct),
    (msr::SYSCFG, MsrAccess::Fixed(0)),
    (msr::HWCR, MsrAccess::Fixed(0)),
    // Linux turns access to extended configuration space by ports on, which are not there.
    (msr::NB_CFG, MsrAccess::Fixed(0)),
    (
        msr::VM_CR,
        MsrAccess::ReadOnly(msr::VM_CR_SVMDIS | msr::VM_CR_LOCK),
    ),
    (msr::DE_CFG, MsrAccess::Fixed(msr::DE_CFG_LFENCE)),
];

/// How the register is answered, or `None` where it is denied.
#[must_use]
pub fn msr(number: u32) -> Option<MsrAccess> {
    if let Some(of_apic) = number.checked_sub(lapic::X2APIC_MSR)
        && of_apic < lapic::X2APIC_MSRS
    {
        return Some(MsrAccess::X2Apic(of_apic as u8));
    }
    TABLE
        .iter()
        .find(|(row, _)| *row == number)
        .map(|(_, access)| *access)
}

/// The registers that the guest reads and writes without an exit. The vendor module clears their bits in its
/// bitmap and switches them with the guest's context; all others exit.
pub fn direct_msrs() -> impl Iterator<Item = u32> {
    TABLE
        .iter()
        .filter(|(_, access)| *access == MsrAccess::Direct)
        .map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_row_names_is_denied() {
        for denied in [
            0,
            0x6e0,
            0x7ff,
            0x900,
            0xc000_0103,
            0xc001_0117,
            0xc001_0015 + 1,
            u32::MAX,
        ] {
            assert_eq!(msr(denied), None);
        }
    }

    #[test]
    fn only_what_a_context_switch_covers_is_direct() {
        let direct: Vec<_> = direct_msrs().collect();
        assert_eq!(
            direct,
            [
                0x174,
                0x175,
                0x176,
                0xc000_0081,
                0xc000_0082,
                0xc000_0083,
                0xc000_0084,
                0xc000_0100,
                0xc000_0101,
                0xc000_0102
            ]
        );
    }

    #[test]
    fn no_register_has_two_rows() {
        for (at, (number, _)) in TABLE.iter().enumerate() {
            assert!(TABLE[..at].iter().all(|(other, _)| other != number));
        }
    }
}
