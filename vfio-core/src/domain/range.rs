//! Ranges of I/O virtual addresses, with their last address and not their end: the last page of the address space has
//! a last address, and no end that 64 bits can hold.

use core::fmt;

use crate::addr::Iova;

/// Addresses from `first` to `last`, both included: never empty, and all 2^64 of them at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IovaRange {
    first: Iova,
    last: Iova,
}

/// Why a start and a size are no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RangeError {
    /// It has no bytes.
    #[error("the range at {0} is empty")]
    Empty(Iova),
    /// It goes past the last address that there is.
    #[error("{size:#x} bytes at {start} go past the end of the address space; {} fit there at most", most(.start))]
    Wraps {
        /// First address.
        start: Iova,
        /// Bytes.
        size: u64,
    },
}

/// How many bytes there are from `start` on, for people.
fn most(start: &Iova) -> impl fmt::Display + use<> {
    let above = u64::MAX - start.0;
    core::fmt::from_fn(move |f| match above.checked_add(1) {
        Some(bytes) => write!(f, "{bytes:#x}"),
        None => f.write_str("2^64"),
    })
}

impl IovaRange {
    /// Every address.
    pub const ALL: Self = Self {
        first: Iova(0),
        last: Iova(u64::MAX),
    };

    /// `size` bytes at `start`.
    ///
    /// # Errors
    /// [`RangeError`].
    pub const fn new(start: Iova, size: u64) -> Result<Self, RangeError> {
        let Some(above) = size.checked_sub(1) else {
            return Err(RangeError::Empty(start));
        };
        match start.checked_add(above) {
            Some(last) => Ok(Self { first: start, last }),
            None => Err(RangeError::Wraps { start, size }),
        }
    }

    /// From `first` to `last`, included; `None` if it ends before it begins.
    #[must_use]
    pub const fn inclusive(first: Iova, last: Iova) -> Option<Self> {
        if first.0 <= last.0 {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// The first address.
    #[must_use]
    pub const fn first(self) -> Iova {
        self.first
    }

    /// The last address.
    #[must_use]
    pub const fn last(self) -> Iova {
        self.last
    }

    /// Bytes; one too few for all 2^64 addresses, which 64 bits cannot count.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        (self.last.0 - self.first.0).saturating_add(1)
    }

    /// Whether `address` is in it.
    #[must_use]
    pub const fn contains(self, address: Iova) -> bool {
        self.first.0 <= address.0 && address.0 <= self.last.0
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn holds(self, other: Self) -> bool {
        self.contains(other.first) && self.contains(other.last)
    }

    /// Whether an address is in both.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.first.0 <= other.last.0 && other.first.0 <= self.last.0
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Option<Self> {
        Self::inclusive(self.first.max(other.first), self.last.min(other.last))
    }

    /// What is in it and not in `hole`: what lies before, and what lies behind.
    pub(super) fn without(self, hole: Self) -> [Option<Self>; 2] {
        if !self.meets(hole) {
            return [Some(self), None];
        }
        let before = hole.first.0.checked_sub(1).map(Iova);
        let behind = hole.last.checked_add(1);
        [
            before.and_then(|last| Self::inclusive(self.first, last)),
            behind.and_then(|first| Self::inclusive(first, self.last)),
        ]
    }
}

impl fmt::Display for IovaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first, self.last)
    }
}
