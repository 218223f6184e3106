//! 256 bits, one a vector.

/// A set of vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Vectors(pub(super) [u32; 8]);

impl Vectors {
    pub(super) fn set(&mut self, vector: u8, on: bool) {
        let bit = 1 << (vector % 32);
        let word = &mut self.0[usize::from(vector / 32)];
        *word = if on { *word | bit } else { *word & !bit };
    }

    pub(super) fn has(&self, vector: u8) -> bool {
        self.0[usize::from(vector / 32)] >> (vector % 32) & 1 != 0
    }

    pub(super) fn highest(&self) -> Option<u8> {
        let (at, word) = self.0.iter().enumerate().rev().find(|(_, word)| **word != 0)?;
        Some(at as u8 * 32 + (31 - word.leading_zeros()) as u8)
    }

    /// The 32 bits behind the register at `offset` of a bank of eight.
    pub(super) fn bank(&self, offset: u16) -> u32 {
        self.0[usize::from(offset / 16 % 8)]
    }
}
