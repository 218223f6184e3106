//! The header: the first quadword of a frame. Writing it to a portal starts the command.

use bitflags::bitflags;
use core::fmt;

use super::status::Status;

bitflags! {
    /// Flags for the hardware.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct HwFlags: u8 {
        /// High priority.
        const HIGH_PRIORITY = 0x80;
    }
}

bitflags! {
    /// Flags for the firmware.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct SwFlags: u8 {
        /// No interrupt when the command completes.
        const NO_INTERRUPT = 0x01;
    }
}

/// The number of a command, without its version: 12 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u16);

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#05x}", self.0)
    }
}

/// A command with its version, as the header has them: the number in bits 15:4, the version in 3:0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandWord(pub u16);

impl CommandWord {
    /// The command `id` in its first version, which nearly all have.
    #[must_use]
    pub const fn standard(id: CommandId) -> Self {
        Self::new(id, 1)
    }

    /// The command `id` in `version`, of which 4 bits count.
    #[must_use]
    pub const fn new(id: CommandId, version: u8) -> Self {
        Self(id.0 << 4 | (version & 0xf) as u16)
    }

    /// The number.
    #[must_use]
    pub const fn id(self) -> CommandId {
        CommandId(self.0 >> 4)
    }

    /// The version.
    #[must_use]
    pub const fn version(self) -> u8 {
        (self.0 & 0xf) as u8
    }
}

impl fmt::Display for CommandWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {}", self.id(), self.version())
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Byte 0: who sends; 0 from software.
    pub source: u8,
    /// Byte 1.
    pub hw_flags: HwFlags,
    /// Byte 2: [`Status::Ready`] in a command.
    pub status: Status,
    /// Byte 3.
    pub sw_flags: SwFlags,
    /// Bytes 4 and 5: what an open gave.
    pub token: u16,
    /// Bytes 6 and 7.
    pub command: CommandWord,
}

impl Header {
    /// The header of a command.
    #[must_use]
    pub const fn request(command: CommandWord, token: u16) -> Self {
        Self {
            source: 0,
            hw_flags: HwFlags::empty(),
            status: Status::Ready,
            sw_flags: SwFlags::NO_INTERRUPT,
            token,
            command,
        }
    }

    /// The header as the first quadword of a frame.
    #[must_use]
    pub const fn into_bits(self) -> u64 {
        self.source as u64
            | (self.hw_flags.bits() as u64) << 8
            | (self.status.code() as u64) << 16
            | (self.sw_flags.bits() as u64) << 24
            | (self.token as u64) << 32
            | (self.command.0 as u64) << 48
    }

    /// The header in the first quadword of a frame. Flags that have no meaning are kept.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            source: bits as u8,
            hw_flags: HwFlags::from_bits_retain((bits >> 8) as u8),
            status: Status::from_code((bits >> 16) as u8),
            sw_flags: SwFlags::from_bits_retain((bits >> 24) as u8),
            token: (bits >> 32) as u16,
            command: CommandWord((bits >> 48) as u16),
        }
    }
}
