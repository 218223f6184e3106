//! What a guest can learn of its own running: how often its CPU left it, and why.
//!
//! CPUID leaf [`LEAF`] answers in EAX and EBX (low and high half) with the counter whose number is in ECX, and in ECX
//! with the number of counters; past the last one all are 0. A guest sees its own counters only, and could count most of
//! them itself.

/// The leaf, among those that are a hypervisor's own.
pub const LEAF: u32 = 0x4000_0001;

/// What [`LEAF`]'s neighbour below says in EBX, ECX and EDX, where all this holds.
pub const SIGNATURE: &[u8; 12] = b"CohortCohort";

/// What the counters are, in their order: the time-stamp counter at the guest's first instruction, interrupts of devices,
/// then exits by reason.
pub const NAMES: [&str; 19] = [
    "started",
    "device-interrupts",
    "io",
    "cpuid",
    "msr",
    "mmio",
    "hlt",
    "interrupt",
    "nmi",
    "machine-check",
    "interrupt-window",
    "shutdown",
    "init",
    "exception",
    "hypercall",
    "undefined-instruction",
    "cache-flush",
    "unsupported",
    "invalid-state",
];

/// The counter with the guest's start.
pub const STARTED: usize = 0;

/// The first counter of exits.
pub const EXITS: usize = 2;

/// The counter of this leaf's own exits.
pub const CPUID: usize = 3;
