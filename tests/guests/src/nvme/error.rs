//! What goes wrong with a controller.

use crate::pci::{BarError, MsiXError};

/// The controller did not do what the driver asked.
#[derive(Debug, thiserror::Error)]
pub enum NvmeError {
    /// It did not change its state in the time that CAP.TO gives.
    #[error("the controller did not become {0} in time (status {1:#x})")]
    State(&'static str, u32),
    /// It reports a fatal error.
    #[error("the controller reports a fatal error (status {0:#x})")]
    Fatal(u32),
    /// Smallest page or queue size do not fit this driver.
    #[error("the controller's capabilities {0:#x} do not fit this driver")]
    Capabilities(u64),
    /// No completion came.
    #[error("no completion of command {opcode:#x} on queue {queue} in {milliseconds} ms")]
    Timeout {
        /// Of the command.
        opcode: u8,
        /// Its queue.
        queue: u16,
        /// How long the driver waited.
        milliseconds: u32,
    },
    /// The completion came, its interrupt did not.
    #[error("command {opcode:#x} on queue {queue} completed, but no interrupt came on vector {vector:#x}")]
    NoInterrupt {
        /// Of the command.
        opcode: u8,
        /// Its queue.
        queue: u16,
        /// Where the interrupt was expected.
        vector: u8,
    },
    /// The completion is for another command.
    #[error("queue {queue} completed command {found}, not {expected}")]
    Mismatch {
        /// The queue.
        queue: u16,
        /// Command identifier in the completion.
        found: u16,
        /// Command identifier that was submitted.
        expected: u16,
    },
    /// The command failed.
    #[error("command {opcode:#x} on queue {queue} failed with status {status:#x}")]
    Status {
        /// Of the command.
        opcode: u8,
        /// Its queue.
        queue: u16,
        /// Status code type and status code.
        status: u16,
    },
    /// The namespace does not have sectors of 512 bytes, or not enough.
    #[error("the namespace has {sectors} sectors of 2^{shift} bytes; this guest needs {needed} of 512")]
    Namespace {
        /// Sectors.
        sectors: u64,
        /// Log2 of their size.
        shift: u8,
        /// Sectors that are needed.
        needed: u64,
    },
    /// A transfer is longer than controller or driver can do, or empty.
    #[error("a transfer of {0} bytes cannot be described, or is beyond the controller's limit")]
    Transfer(usize),
    /// It has no function level reset.
    #[error("the controller has no function level reset")]
    NoReset,
    /// It was not reset, or answers although nothing decodes.
    #[error(
        "the controller was not reset (configuration {0:#x}), or shows its registers while nothing decodes"
    )]
    NotReset(u32),
    /// It does not sleep, or does not come back as it was.
    #[error(
        "the controller does not sleep and come back, or its registers are shown while nothing decodes ({0:#x})"
    )]
    NoSleep(u32),
    /// Its registers.
    #[error(transparent)]
    Bar(#[from] BarError),
    /// Its interrupts.
    #[error(transparent)]
    MsiX(#[from] MsiXError),
}
