//! How a guest's life ends, as a type: what a restart depends on, and what reports say beside the words for people.

use core::fmt;
use serde::{Deserialize, Serialize};

/// How a guest's life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// It wrote success to the exit port.
    Success,
    /// It wrote anything else there: a failure, or a value without a meaning.
    Failure,
    /// Its kernel panicked, and said so to the panic device.
    Panic,
    /// It turned its power off.
    PowerOff,
    /// It reset itself.
    Reset(ResetBy),
    /// It was stopped for what it did.
    Fault(FaultKind),
    /// It still ran when the run's deadline passed.
    Deadline,
    /// The hypervisor could not run it, or not any further.
    Hypervisor,
}

/// How a guest reset itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetBy {
    /// Port CF9h, which is ACPI's reset register too.
    Register,
    /// The keyboard controller's pulse on the reset line: FEh to port 64h.
    Keyboard,
}

/// What a guest was stopped for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// A triple fault.
    TripleFault,
    /// A port that no table allows.
    DeniedPort,
    /// A model-specific register that no table allows.
    DeniedMsr,
    /// Memory that is not there, or is read-only.
    Memory,
    /// An instruction that cannot be emulated, or an access that registers do not take.
    Instruction,
    /// HLT with interrupts off.
    HaltForever,
    /// A hypercall.
    Hypercall,
    /// An access of a device of its that an IOMMU blocked, where the configuration says so.
    Dma,
    /// An interrupt that cannot be delivered.
    Interrupt,
    /// The processor reported a hardware error.
    MachineCheck,
    /// A state that the processor refuses, or an exit without a meaning.
    Processor,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Panic => "panic",
            Self::PowerOff => "power-off",
            Self::Reset(ResetBy::Register) => "reset",
            Self::Reset(ResetBy::Keyboard) => "reset by keyboard controller",
            Self::Fault(kind) => return kind.fmt(f),
            Self::Deadline => "deadline",
            Self::Hypervisor => "hypervisor",
        })
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TripleFault => "triple fault",
            Self::DeniedPort => "denied port",
            Self::DeniedMsr => "denied MSR",
            Self::Memory => "memory that is not there",
            Self::Instruction => "instruction",
            Self::HaltForever => "halted for ever",
            Self::Hypercall => "hypercall",
            Self::Dma => "blocked device",
            Self::Interrupt => "interrupt",
            Self::MachineCheck => "machine check",
            Self::Processor => "processor",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn reasons_are_told_apart_in_words() {
        let reasons = [
            EndReason::Success,
            EndReason::Failure,
            EndReason::Panic,
            EndReason::PowerOff,
            EndReason::Reset(ResetBy::Register),
            EndReason::Reset(ResetBy::Keyboard),
            EndReason::Fault(FaultKind::TripleFault),
            EndReason::Fault(FaultKind::DeniedMsr),
            EndReason::Deadline,
            EndReason::Hypervisor,
        ];
        let words: alloc::collections::BTreeSet<_> = reasons.iter().map(ToString::to_string).collect();
        assert_eq!(words.len(), reasons.len());
    }
}
