//! How a guest's life ends, and what it did wrong if it did.

use crate::addr::GuestPhys;
use cohort_abi::end::{EndReason, FaultKind, ResetBy};
use cohort_abi::exit::Outcome;

/// How a guest's life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestEnd {
    /// It wrote to the exit port.
    #[error("ended itself and said {}", said(*.0))]
    Exit(u8),
    /// It turned its power off.
    #[error("turned its power off")]
    PowerOff,
    /// It reset itself.
    #[error("reset itself{}", by(*.0))]
    Reset(ResetBy),
    /// Its kernel panicked and said so.
    #[error("its kernel panicked")]
    Panic,
    /// It was stopped for what it did.
    #[error("stopped: {0}")]
    Fault(#[from] GuestFault),
}

const fn by(by: ResetBy) -> &'static str {
    match by {
        ResetBy::Register => "",
        ResetBy::Keyboard => " by the keyboard controller",
    }
}

const fn said(byte: u8) -> &'static str {
    match Outcome::from_byte(byte) {
        Some(Outcome::Success) => "success",
        Some(Outcome::Failure) => "failure",
        Some(Outcome::Panic) => "panic",
        None => "something unknown",
    }
}

impl GuestEnd {
    /// It ended itself and said success, or turned its power off, which systems do when they are done; one that
    /// fails resets itself or says failure.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Exit(Outcome::Success as u8) || self == Self::PowerOff
    }

    /// The same for programs.
    #[must_use]
    pub const fn reason(self) -> EndReason {
        match self {
            Self::Exit(byte) if byte == Outcome::Success as u8 => EndReason::Success,
            Self::Exit(_) => EndReason::Failure,
            Self::PowerOff => EndReason::PowerOff,
            Self::Reset(by) => EndReason::Reset(by),
            Self::Panic => EndReason::Panic,
            Self::Fault(fault) => EndReason::Fault(fault.kind()),
        }
    }
}

/// What a guest did that it may not do. Its own fault, never the hypervisor's or another guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestFault {
    /// An I/O port that no table allows.
    #[error("I/O port {port:#x} is denied ({access} of {bytes} bytes at rip {rip:#x})", access = if *.write { "write" } else { "read" })]
    DeniedPort {
        /// The port.
        port: u16,
        /// OUT.
        write: bool,
        /// Size of the access.
        bytes: u16,
        /// Where.
        rip: u64,
    },
    /// A model-specific register that no table allows, or a value that it does not take.
    #[error("msr {msr:#x} is denied ({access} at rip {rip:#x})", access = if *.write { "write" } else { "read" })]
    DeniedMsr {
        /// The register.
        msr: u32,
        /// WRMSR.
        write: bool,
        /// Where.
        rip: u64,
    },
    /// Guest physical memory that is not there.
    #[error("{access} of guest physical address {gpa:#x}, where nothing is (rip {rip:#x})", access = access(*.write, *.fetch), gpa = .gpa.0)]
    Unmapped {
        /// The address.
        gpa: GuestPhys,
        /// A write.
        write: bool,
        /// An instruction fetch.
        fetch: bool,
        /// Where.
        rip: u64,
    },
    /// A write to read-only memory.
    #[error("write to read-only memory at guest physical address {gpa:#x} (rip {rip:#x})", gpa = .gpa.0)]
    ReadOnly {
        /// The address.
        gpa: GuestPhys,
        /// Where.
        rip: u64,
    },
    /// An instruction that reached device registers, and that is not emulated there.
    #[error("instruction at rip {rip:#x} cannot access device registers at {gpa:#x}: use mov, movzx, movsx, and, or, xor, add, test, cmp or stos", gpa = .gpa.0)]
    Instruction {
        /// Where.
        rip: u64,
        /// What it accessed.
        gpa: GuestPhys,
    },
    /// The instruction at RIP cannot be read through the guest's own page tables.
    #[error("the instruction at rip {rip:#x} cannot be read")]
    Fetch {
        /// Where.
        rip: u64,
    },
    /// An access to device registers in a way that they do not take: too wide, or not aligned.
    #[error("access of {bytes} bytes to device registers at guest physical address {gpa:#x} is not one they take (rip {rip:#x})", gpa = .gpa.0)]
    DeviceAccess {
        /// The address.
        gpa: GuestPhys,
        /// Size of the access.
        bytes: u8,
        /// Where.
        rip: u64,
    },
    /// A triple fault.
    #[error("shutdown (triple fault) at rip {rip:#x}")]
    Shutdown {
        /// Where.
        rip: u64,
    },
    /// The processor reported a hardware error while the guest ran. Not the guest's doing, but its state is lost.
    #[error("machine check while it ran, at rip {rip:#x}")]
    MachineCheck {
        /// Where.
        rip: u64,
    },
    /// HLT with interrupts off: nothing can wake it.
    #[error("halted for ever: hlt with interrupts off at rip {rip:#x}")]
    HaltForever {
        /// Where.
        rip: u64,
    },
    /// A hypercall. There are none.
    #[error("hypercall {number:#x} at rip {rip:#x}: there are none")]
    Hypercall {
        /// RAX.
        number: u64,
        /// Where.
        rip: u64,
    },
    /// An exit without a meaning here.
    #[error("{name} (code {code:#x}) at rip {rip:#x} is not supported")]
    Unsupported {
        /// The vendor's name for it.
        name: &'static str,
        /// The vendor's number.
        code: u64,
        /// Where.
        rip: u64,
    },
    /// The processor refused the guest's state.
    #[error("the processor refused the guest's state at rip {rip:#x}")]
    InvalidState {
        /// Where.
        rip: u64,
    },
    /// A message-signalled interrupt, or an interrupt command, that cannot be delivered.
    #[error("interrupt vector {vector} to local APIC {apic} cannot be delivered")]
    Interrupt {
        /// The vector.
        vector: u8,
        /// The destination.
        apic: u8,
    },
}

impl GuestFault {
    /// What kind of fault it is.
    #[must_use]
    pub const fn kind(self) -> FaultKind {
        match self {
            Self::DeniedPort { .. } => FaultKind::DeniedPort,
            Self::DeniedMsr { .. } => FaultKind::DeniedMsr,
            Self::Unmapped { .. } | Self::ReadOnly { .. } => FaultKind::Memory,
            Self::Instruction { .. } | Self::Fetch { .. } | Self::DeviceAccess { .. } => {
                FaultKind::Instruction
            }
            Self::Shutdown { .. } => FaultKind::TripleFault,
            Self::MachineCheck { .. } => FaultKind::MachineCheck,
            Self::HaltForever { .. } => FaultKind::HaltForever,
            Self::Hypercall { .. } => FaultKind::Hypercall,
            Self::Unsupported { .. } | Self::InvalidState { .. } => FaultKind::Processor,
            Self::Interrupt { .. } => FaultKind::Interrupt,
        }
    }
}

const fn access(write: bool, fetch: bool) -> &'static str {
    match (write, fetch) {
        (_, true) => "instruction fetch",
        (true, _) => "write",
        _ => "read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_what_was_touched() {
        let end: GuestEnd = GuestFault::Unmapped {
            gpa: GuestPhys(0x5000_0000),
            write: true,
            fetch: false,
            rip: 0x10_0000,
        }
        .into();
        assert_eq!(
            end.to_string(),
            "stopped: write of guest physical address 0x50000000, where nothing is (rip 0x100000)"
        );
        assert!(GuestEnd::Exit(0x10).success() && !GuestEnd::Exit(0x11).success() && !end.success());
        assert!(GuestEnd::PowerOff.success() && !GuestEnd::Reset(ResetBy::Keyboard).success());
        assert_eq!(GuestEnd::Exit(0x11).to_string(), "ended itself and said failure");
        assert_eq!(GuestEnd::Reset(ResetBy::Register).to_string(), "reset itself");
    }

    #[test]
    fn every_end_has_its_reason() {
        let fault = |fault: GuestFault| GuestEnd::from(fault).reason();
        for (found, reason) in [
            (GuestEnd::Exit(0x10).reason(), EndReason::Success),
            (GuestEnd::Exit(0x11).reason(), EndReason::Failure),
            (GuestEnd::Exit(0x55).reason(), EndReason::Failure),
            (GuestEnd::PowerOff.reason(), EndReason::PowerOff),
            (GuestEnd::Panic.reason(), EndReason::Panic),
            (
                GuestEnd::Reset(ResetBy::Keyboard).reason(),
                EndReason::Reset(ResetBy::Keyboard),
            ),
            (
                fault(GuestFault::Shutdown { rip: 0 }),
                EndReason::Fault(FaultKind::TripleFault),
            ),
            (
                fault(GuestFault::HaltForever { rip: 0 }),
                EndReason::Fault(FaultKind::HaltForever),
            ),
            (
                fault(GuestFault::InvalidState { rip: 0 }),
                EndReason::Fault(FaultKind::Processor),
            ),
        ] {
            assert_eq!(found, reason);
        }
    }
}
