//! Registers in memory: bounded windows, accessed by single `mov` instructions of the width that the name says.
//!
//! Not by volatile reads and writes: those may become `test [mem], imm` and the like, and a hypervisor that
//! emulates a register decodes the instruction.
#![expect(unsafe_code, reason = "accesses device registers")]

use core::arch::asm;

/// A window of registers. An access outside of it is a mistake of this program, and panics.
#[derive(Clone, Copy, Debug)]
pub struct Mmio {
    base: usize,
    len: usize,
}

macro_rules! access {
    ($read:ident, $write:ident, $type:ty, $class:ident, $load:literal, $store:literal) => {
        /// Reads the register at `offset` bytes.
        #[must_use]
        pub fn $read(&self, offset: usize) -> $type {
            let address = self.address(offset, size_of::<$type>());
            let value: $type;
            // SAFETY: the address lies in the window, which `new`'s caller vouched for.
            unsafe { asm!($load, out($class) value, in(reg) address, options(nostack, preserves_flags)) };
            value
        }

        /// Writes the register at `offset` bytes.
        pub fn $write(&self, offset: usize, value: $type) {
            let address = self.address(offset, size_of::<$type>());
            // SAFETY: as for reading.
            unsafe { asm!($store, in($class) value, in(reg) address, options(nostack, preserves_flags)) };
        }
    };
}

impl Mmio {
    /// The window of `len` bytes at `base`.
    ///
    /// # Safety
    /// The range is mapped, and holds registers of a device that the caller drives, no memory of Rust's.
    #[must_use]
    pub const unsafe fn new(base: usize, len: usize) -> Self {
        Self { base, len }
    }

    /// The part of `len` bytes at `offset`, or `None` where it reaches beyond.
    #[must_use]
    pub fn part(&self, offset: usize, len: usize) -> Option<Self> {
        (offset.checked_add(len)? <= self.len).then_some(Self {
            base: self.base + offset,
            len,
        })
    }

    /// Where the window is.
    #[must_use]
    pub const fn base(&self) -> usize {
        self.base
    }

    /// Bytes of the window.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// `true` for a window without registers.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn address(&self, offset: usize, size: usize) -> usize {
        assert!(
            offset.is_multiple_of(size) && offset.checked_add(size).is_some_and(|end| end <= self.len),
            "register {offset:#x} of {size} bytes in a window of {:#x} bytes",
            self.len
        );
        self.base + offset
    }

    access!(read8, write8, u8, reg_byte, "mov {0}, [{1}]", "mov [{1}], {0}");
    access!(read16, write16, u16, reg, "mov {0:x}, [{1}]", "mov [{1}], {0:x}");
    access!(read32, write32, u32, reg, "mov {0:e}, [{1}]", "mov [{1}], {0:e}");
    access!(read64, write64, u64, reg, "mov {0}, [{1}]", "mov [{1}], {0}");
}
