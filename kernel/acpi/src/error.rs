//! What can be wrong with a table: which one, where, and how.

use core::fmt;

/// A table's four letters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 4]);

impl Signature {
    /// Stands for the root pointer, which has eight letters of its own.
    pub const RSDP: Self = Self(*b"RSDP");
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A table that cannot be used. It is the firmware's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ACPI table {table}, offset {offset:#x}: {fault}")]
pub struct Error {
    /// Which table.
    pub table: Signature,
    /// Bytes from its start.
    pub offset: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not there.
    #[error("the table is missing")]
    Missing,
    /// It is there twice.
    #[error("the table is there twice")]
    Duplicate,
    /// Memory that the tables point to cannot be read.
    #[error("it would lie at {address:#x} for {length} bytes, which is not readable memory")]
    Unmapped {
        /// Host physical address.
        address: u64,
        /// Bytes.
        length: usize,
    },
    /// Another table is where this one should be.
    #[error("the signature is {found} instead")]
    Signature {
        /// What stands there.
        found: Signature,
    },
    /// The bytes do not sum to zero.
    #[error("the checksum is wrong: the bytes sum to {sum:#04x} and must sum to 0")]
    Checksum {
        /// What they sum to.
        sum: u8,
    },
    /// A length that the structure cannot have.
    #[error("the length is {found} bytes and must be from {least} to {most}")]
    Length {
        /// What is said.
        found: usize,
        /// The least it can be.
        least: usize,
        /// The most it can be.
        most: usize,
    },
    /// A structure that goes on past the end of the table.
    #[error("a structure of {needed} bytes begins with {left} bytes left")]
    Truncated {
        /// Bytes of the structure.
        needed: usize,
        /// Bytes to the end of the table.
        left: usize,
    },
    /// More entries than Cohort takes.
    #[error("there are more than {most} entries")]
    TooMany {
        /// The most there can be.
        most: usize,
    },
    /// A number of entries that is not what is there.
    #[error("{claimed} nodes are announced and {found} are there")]
    Count {
        /// What the table says.
        claimed: usize,
        /// What there is.
        found: usize,
    },
    /// A range whose end lies before its start.
    #[error("the range {start:#x} to {end:#x} is empty")]
    EmptyRange {
        /// First.
        start: u64,
        /// Last, inclusive.
        end: u64,
    },
    /// Two entries claim the same.
    #[error("the range overlaps an earlier entry's")]
    Overlap,
    /// A range that passes the end of its number space.
    #[error("the range passes the end of the number space")]
    Overflow,
    /// An address that is not aligned as it must be.
    #[error("the address {address:#x} is not aligned to {alignment:#x}")]
    Unaligned {
        /// What is said.
        address: u64,
        /// What it must be a multiple of.
        alignment: u64,
    },
    /// A reference to a node that is not an IOMMU.
    #[error("the output node at {target:#x} is no IOMMU of this table")]
    NoSuchNode {
        /// The reference, bytes from the table's start.
        target: usize,
    },
    /// A unit whose registers would be at address 0.
    #[error("the unit's registers are at address 0, where none can be")]
    NoRegisters,
    /// A path through a device or function that PCI does not have.
    #[error("PCI has no device {device:#x} with a function {function:#x}")]
    NoFunction {
        /// Device number.
        device: u8,
        /// Function number.
        function: u8,
    },
    /// A range of devices that is begun and not ended.
    #[error("a range of devices begins here, and what follows is not its end")]
    NoEnd,
    /// A range of devices that is ended and was not begun.
    #[error("a range of devices ends here that was not begun")]
    NoStart,
}
