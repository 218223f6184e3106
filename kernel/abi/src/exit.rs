//! How a run ends: the byte that the hypervisor writes to QEMU's `isa-debug-exit`.
//!
//! QEMU turns a byte `b` into the exit status `b << 1 | 1`. A triple fault under `-no-reboot` ends QEMU
//! with status 0, so no outcome of ours may be 0.

/// I/O port of `isa-debug-exit`, on the host machine and, emulated, in a guest.
pub const PORT: u16 = 0xf4;

/// What the hypervisor (or a guest, in its own machine) says of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// Everything that the configuration expects held.
    Success = 0x10,
    /// The run ended in order, but an expectation did not hold, or the configuration was refused.
    Failure = 0x11,
    /// Our own fault: a panic or an exception in the hypervisor.
    Panic = 0x12,
}

impl Outcome {
    /// The exit status of QEMU for this outcome.
    #[must_use]
    pub const fn qemu_status(self) -> i32 {
        (self as i32) << 1 | 1
    }

    /// The outcome that a byte on the exit port stands for.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x10 => Some(Self::Success),
            0x11 => Some(Self::Failure),
            0x12 => Some(Self::Panic),
            _ => None,
        }
    }
}
