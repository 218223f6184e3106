//! Base address registers: where a function's registers are, and how many (PCI 3.0, section 6.2.5.1).
#![expect(unsafe_code, reason = "turns base addresses into register windows")]

use super::{Address, Function};
use crate::rt::mmio::Mmio;

const FIRST: usize = 0x10;
const COUNT: usize = 6;

/// A base address register does not lead to registers.
#[derive(Debug, thiserror::Error)]
pub enum BarError {
    /// It is an I/O BAR, of a reserved type, or there is no such register.
    #[error("{function}: BAR {index} is no memory BAR ({value:#010x})")]
    Kind {
        /// Whose.
        function: Address,
        /// Which.
        index: usize,
        /// What it holds.
        value: u32,
    },
    /// Nobody assigned an address, or one that this program does not map.
    #[error("{function}: BAR {index} is at {base:#x} with {len:#x} bytes, which is not in the mapped 4 GiB")]
    Place {
        /// Whose.
        function: Address,
        /// Which.
        index: usize,
        /// Its address.
        base: u64,
        /// Its length.
        len: u64,
    },
}

impl Function {
    /// The registers behind memory BAR `index`. Its size is found as the standard says, by writing ones while
    /// memory decode is off.
    ///
    /// # Errors
    /// There is no such BAR, or it lies where nothing is mapped.
    pub fn bar(&self, index: usize) -> Result<Mmio, BarError> {
        let at = FIRST + 4 * index;
        let kind = |value| BarError::Kind {
            function: self.address,
            index,
            value,
        };
        if index >= COUNT {
            return Err(kind(0));
        }
        let low = self.config.read32(at);
        let wide = match low & 0b111 {
            0b000 => false,
            0b100 if index + 1 < COUNT => true,
            _ => return Err(kind(low)),
        };
        let (base, mask) = self.without_memory(|| {
            let (low, low_mask) = self.probe(at);
            let (high, high_mask) = if wide { self.probe(at + 4) } else { (0, u32::MAX) };
            let join = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low & !0xf);
            (join(low, high), join(low_mask, high_mask))
        });
        let len = (!mask).wrapping_add(1);
        let end = base.checked_add(len);
        if base == 0 || len == 0 || end.is_none_or(|end| end > 1 << 32) {
            return Err(BarError::Place {
                function: self.address,
                index,
                base,
                len,
            });
        }
        // SAFETY: mapped uncached, and the registers of this function, which the program drives.
        Ok(unsafe { Mmio::new(base as usize, len as usize) })
    }

    /// The value of the register at `at`, and what it reads after ones were written; the value is put back.
    fn probe(&self, at: usize) -> (u32, u32) {
        let value = self.config.read32(at);
        self.config.write32(at, u32::MAX);
        let mask = self.config.read32(at);
        self.config.write32(at, value);
        (value, mask)
    }
}
