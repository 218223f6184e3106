//! Why a guest stopped running: the one exit type that every vendor decodes into.
//!
//! An exit says what happened and nothing of how the hardware told it. Registers are read through
//! [`VcpuState`](super::VcpuState); what is done about it is `guest::dispatch`'s business.

use crate::addr::GuestPhys;
use crate::pci::Width;

/// Why a guest left to the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// IN, OUT, INS or OUTS on a port that the guest may not reach by itself.
    Io(IoExit),
    /// CPUID.
    Cpuid,
    /// RDMSR, or WRMSR where `write`, of the register in ECX.
    Msr {
        /// WRMSR.
        write: bool,
    },
    /// An access that nested paging did not let through.
    NestedFault(NestedFault),
    /// HLT.
    Hlt,
    /// A physical interrupt arrived; it is still pending, or the vendor module let the host take it.
    ExternalInterrupt,
    /// A non-maskable interrupt arrived.
    Nmi,
    /// A machine check was raised while the guest ran.
    MachineCheck,
    /// The guest can take an interrupt now, as [`request_interrupt_window`](super::VcpuState::request_interrupt_window) asked.
    InterruptWindow,
    /// The guest shut down: a triple fault.
    Shutdown,
    /// INIT arrived at the physical processor.
    Init,
    /// An exception that is intercepted; the guest has not seen it yet.
    Exception {
        /// Its vector, 0 to 31.
        vector: u8,
        /// The error code, where the vector has one.
        error: Option<u32>,
    },
    /// VMMCALL or VMCALL.
    Hypercall,
    /// An instruction of a feature that CPUID hides (VMRUN, MONITOR, XSETBV, ...).
    UndefinedInstruction,
    /// WBINVD or INVD. The guest's memory is coherent without it.
    CacheFlush,
    /// The vendor's exit `code` has no meaning here.
    Unsupported {
        /// The hardware's number for it.
        code: u64,
        /// The manual's name for it, or `unknown`.
        name: &'static str,
    },
    /// The hardware refused to enter the guest: its state is not consistent.
    InvalidState,
}

/// An access to an I/O port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoExit {
    /// First port.
    pub port: u16,
    /// Size of one element.
    pub width: Width,
    /// Which way it goes.
    pub direction: IoDirection,
    /// INS or OUTS.
    pub string: bool,
    /// With a REP prefix.
    pub rep: bool,
}

/// Which way a port access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoDirection {
    /// From the port into the processor.
    In,
    /// From the processor to the port.
    Out,
}

/// An access that nested paging stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NestedFault {
    /// The guest physical address of the first byte that was stopped.
    pub gpa: GuestPhys,
    /// A write.
    pub write: bool,
    /// An instruction fetch.
    pub fetch: bool,
    /// The address is mapped, but not for this access.
    pub present: bool,
    /// The access was the processor's own, while it walked the guest's page tables.
    pub table_walk: bool,
}

/// The kinds of exits, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitKind {
    /// [`Exit::Io`].
    Io,
    /// [`Exit::Cpuid`].
    Cpuid,
    /// [`Exit::Msr`].
    Msr,
    /// [`Exit::NestedFault`].
    NestedFault,
    /// [`Exit::Hlt`].
    Hlt,
    /// [`Exit::ExternalInterrupt`].
    ExternalInterrupt,
    /// [`Exit::Nmi`].
    Nmi,
    /// [`Exit::MachineCheck`].
    MachineCheck,
    /// [`Exit::InterruptWindow`].
    InterruptWindow,
    /// [`Exit::Shutdown`].
    Shutdown,
    /// [`Exit::Init`].
    Init,
    /// [`Exit::Exception`].
    Exception,
    /// [`Exit::Hypercall`].
    Hypercall,
    /// [`Exit::UndefinedInstruction`].
    UndefinedInstruction,
    /// [`Exit::CacheFlush`].
    CacheFlush,
    /// [`Exit::Unsupported`].
    Unsupported,
    /// [`Exit::InvalidState`].
    InvalidState,
}

impl ExitKind {
    /// Every kind, in the order of the discriminants.
    pub const ALL: [Self; 17] = [
        Self::Io,
        Self::Cpuid,
        Self::Msr,
        Self::NestedFault,
        Self::Hlt,
        Self::ExternalInterrupt,
        Self::Nmi,
        Self::MachineCheck,
        Self::InterruptWindow,
        Self::Shutdown,
        Self::Init,
        Self::Exception,
        Self::Hypercall,
        Self::UndefinedInstruction,
        Self::CacheFlush,
        Self::Unsupported,
        Self::InvalidState,
    ];

    /// The name under which reports count it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Cpuid => "cpuid",
            Self::Msr => "msr",
            Self::NestedFault => "mmio",
            Self::Hlt => "hlt",
            Self::ExternalInterrupt => "interrupt",
            Self::Nmi => "nmi",
            Self::MachineCheck => "machine-check",
            Self::InterruptWindow => "interrupt-window",
            Self::Shutdown => "shutdown",
            Self::Init => "init",
            Self::Exception => "exception",
            Self::Hypercall => "hypercall",
            Self::UndefinedInstruction => "undefined-instruction",
            Self::CacheFlush => "cache-flush",
            Self::Unsupported => "unsupported",
            Self::InvalidState => "invalid-state",
        }
    }
}

impl Exit {
    /// The kind under which it is counted.
    #[must_use]
    pub const fn kind(&self) -> ExitKind {
        match self {
            Self::Io(_) => ExitKind::Io,
            Self::Cpuid => ExitKind::Cpuid,
            Self::Msr { .. } => ExitKind::Msr,
            Self::NestedFault(_) => ExitKind::NestedFault,
            Self::Hlt => ExitKind::Hlt,
            Self::ExternalInterrupt => ExitKind::ExternalInterrupt,
            Self::Nmi => ExitKind::Nmi,
            Self::MachineCheck => ExitKind::MachineCheck,
            Self::InterruptWindow => ExitKind::InterruptWindow,
            Self::Shutdown => ExitKind::Shutdown,
            Self::Init => ExitKind::Init,
            Self::Exception { .. } => ExitKind::Exception,
            Self::Hypercall => ExitKind::Hypercall,
            Self::UndefinedInstruction => ExitKind::UndefinedInstruction,
            Self::CacheFlush => ExitKind::CacheFlush,
            Self::Unsupported { .. } => ExitKind::Unsupported,
            Self::InvalidState => ExitKind::InvalidState,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_in_discriminant_order() {
        for (index, kind) in ExitKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
        }
    }
}
