//! Access to configuration space, as a trait so that host tests can stand a topology in its place.

use crate::pci::Bdf;

/// Size of one access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits.
    Dword,
}

impl Width {
    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u16 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
        }
    }
}

/// The configuration space of every function of a machine.
///
/// Offsets are 0 to 0xfff and aligned to the width; an access to an absent function, or beyond what the machine
/// has, reads all ones and writes nothing, as on the bus.
pub trait ConfigAccess {
    /// Reads `width` at `offset`, zero-extended.
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32;

    /// Writes the low `width` of `value` at `offset`.
    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32);
}

impl<C: ConfigAccess + ?Sized> ConfigAccess for &C {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        (**self).read(function, offset, width)
    }

    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        (**self).write(function, offset, width, value);
    }
}
