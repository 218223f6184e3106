//! How a command ended.

/// The status byte of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Done.
    Ok,
    /// Not done yet: what the sender writes.
    Ready,
    /// Not done, and why.
    Refused(Refused),
}

impl Status {
    /// The status with this code.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Ok,
            1 => Self::Ready,
            _ => Self::Refused(Refused::from_code(code)),
        }
    }

    /// Its code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Ready => 1,
            Self::Refused(why) => why.code(),
        }
    }
}

/// Why the Management Complex did not carry out a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// 3.
    #[error("the token is not valid in this portal")]
    Authentication,
    /// 4.
    #[error("the portal may not do that")]
    NoPrivilege,
    /// 5.
    #[error("its DMA failed")]
    Dma,
    /// 6.
    #[error("the parameters do not fit the object")]
    Configuration,
    /// 7.
    #[error("the operation timed out in the complex")]
    TimedOut,
    /// 8.
    #[error("out of resources")]
    NoResource,
    /// 9.
    #[error("out of memory")]
    NoMemory,
    /// 10.
    #[error("the object is busy")]
    Busy,
    /// 11.
    #[error("the firmware does not know the operation")]
    Unsupported,
    /// 12.
    #[error("the object is in no state for that")]
    InvalidState,
    /// Any other code.
    #[error("status {0:#x}")]
    Other(u8),
}

impl Refused {
    const fn from_code(code: u8) -> Self {
        match code {
            3 => Self::Authentication,
            4 => Self::NoPrivilege,
            5 => Self::Dma,
            6 => Self::Configuration,
            7 => Self::TimedOut,
            8 => Self::NoResource,
            9 => Self::NoMemory,
            0xa => Self::Busy,
            0xb => Self::Unsupported,
            0xc => Self::InvalidState,
            other => Self::Other(other),
        }
    }

    /// Its code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Authentication => 3,
            Self::NoPrivilege => 4,
            Self::Dma => 5,
            Self::Configuration => 6,
            Self::TimedOut => 7,
            Self::NoResource => 8,
            Self::NoMemory => 9,
            Self::Busy => 0xa,
            Self::Unsupported => 0xb,
            Self::InvalidState => 0xc,
            Self::Other(code) => code,
        }
    }
}
