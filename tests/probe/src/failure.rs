//! What can go wrong, in one line.

use cohort_abi::disk::SectorError;
use core::fmt;

/// Why a check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The arguments make no sense.
    Usage,
    /// A system call, and the kernel's error number.
    System(&'static str, i32),
    /// A file or stream ends before it may.
    Short(&'static str),
    /// A disk that is too small for the check, or not whole pieces.
    Size(u64),
    /// A sector is not as it must be.
    Sector(SectorError),
    /// The other side does not confirm what it got.
    Refused,
}

impl From<SectorError> for Failure {
    fn from(error: SectorError) -> Self {
        Self::Sector(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage => f.write_str(
                "usage: probe verify DISK | write DISK | exchange ADDRESS PORT | ticks | read DISK BYTES COUNT",
            ),
            Self::System(call, error) => write!(f, "{call} fails with error {error}"),
            Self::Short(what) => write!(f, "{what} ends early"),
            Self::Size(bytes) => write!(f, "a disk of {bytes} bytes cannot be checked so"),
            Self::Sector(error) => error.fmt(f),
            Self::Refused => f.write_str("the host does not confirm what it received"),
        }
    }
}
