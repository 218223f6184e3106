//! The I/O APIC's registers (Intel 82093AA datasheet, section 3; the end of interrupt register is that of version 20h).

use bitfield_struct::bitfield;

/// Physical address of the registers of the first one.
pub const BASE: u64 = 0xfec0_0000;
/// Bytes of the page they are in.
pub const SIZE: u64 = 0x1000;

/// Offsets in memory. Each register is 32 bits wide.
pub mod register {
    /// Which register the window shows.
    pub const SELECT: u64 = 0;
    /// The window.
    pub const WINDOW: u64 = 0x10;
    /// End of interrupt: the vector; write only.
    pub const END: u64 = 0x40;
}

/// Registers behind the window.
pub mod index {
    /// Id in bits 27:24.
    pub const ID: u8 = 0;
    /// Version in bits 7:0, the last input's number in bits 23:16.
    pub const VERSION: u8 = 1;
    /// Arbitration id: a copy of the id.
    pub const ARBITRATION: u8 = 2;
    /// First half of the first [`super::Redirection`], two for each input.
    pub const TABLE: u8 = 0x10;
}

/// An entry of the redirection table.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Redirection {
    /// Vector.
    pub vector: u8,
    /// [`delivery`](crate::lapic::delivery) mode.
    #[bits(3)]
    pub delivery: u8,
    /// Logical destination.
    pub logical: bool,
    /// Delivery is pending; read only.
    pub pending: bool,
    /// Low is asserted.
    pub active_low: bool,
    /// A local APIC has the level-triggered interrupt in hand; read only.
    pub remote_irr: bool,
    /// Level-triggered.
    pub level: bool,
    /// Masked.
    #[bits(default = true)]
    pub masked: bool,
    #[bits(39)]
    __: u64,
    /// Destination.
    pub destination: u8,
}
