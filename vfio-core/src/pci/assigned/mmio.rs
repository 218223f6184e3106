//! Accesses to BARs, in the widths that a bus has.

use crate::pci::config::Width;

/// Size of one access to a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BarWidth {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits; the widest for I/O ports.
    Dword,
    /// 64 bits.
    Qword,
}

impl BarWidth {
    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u8 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
            Self::Qword => 8,
        }
    }

    /// The widest access that is aligned at `offset`, not longer than `left`, and not wider than `most`.
    pub(super) const fn at(offset: u64, left: usize, most: Self) -> Self {
        if left >= 8 && offset.is_multiple_of(8) && matches!(most, Self::Qword) {
            Self::Qword
        } else if left >= 4 && offset.is_multiple_of(4) {
            Self::Dword
        } else if left >= 2 && offset.is_multiple_of(2) {
            Self::Word
        } else {
            Self::Byte
        }
    }

    /// As an access to configuration space, which has no wider one than 32 bits.
    pub(super) const fn config(self) -> Width {
        match self {
            Self::Byte => Width::Byte,
            Self::Word => Width::Word,
            Self::Dword | Self::Qword => Width::Dword,
        }
    }
}

/// `data` as a number.
pub(super) fn number(data: &[u8]) -> u64 {
    data.iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}
