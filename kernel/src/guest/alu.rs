//! Arithmetic of emulated instructions, with the flags they leave (AMD64 Architecture Programmer's Manual, volume 1,
//! section 3.1.4).

use crate::virt::rflags::{AF, CF, OF, PF, SF, ZF};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alu {
    And,
    Or,
    Xor,
    Add,
    Sub,
}

/// The low `bytes` (1, 2, 4 or 8) of `value`.
pub(super) const fn truncate(value: u64, bytes: u8) -> u64 {
    if bytes >= 8 {
        value
    } else {
        value & ((1 << (8 * bytes)) - 1)
    }
}

impl Alu {
    /// The result of `left op right` in `bytes`, and the flags after it.
    pub(super) const fn apply(self, left: u64, right: u64, bytes: u8, flags: u64) -> (u64, u64) {
        let (left, right) = (truncate(left, bytes), truncate(right, bytes));
        let sign = 1u64 << (8 * bytes as u32 - 1);
        let (result, carry, overflow, auxiliary) = match self {
            Self::And => (left & right, false, 0, 0),
            Self::Or => (left | right, false, 0, 0),
            Self::Xor => (left ^ right, false, 0, 0),
            Self::Add => {
                let sum = truncate(left.wrapping_add(right), bytes);
                (
                    sum,
                    sum < left,
                    !(left ^ right) & (left ^ sum),
                    left ^ right ^ sum,
                )
            }
            Self::Sub => {
                let difference = truncate(left.wrapping_sub(right), bytes);
                let overflow = (left ^ right) & (left ^ difference);
                (difference, left < right, overflow, left ^ right ^ difference)
            }
        };
        let mut after = flags & !(CF | PF | AF | ZF | SF | OF);
        after |= if carry { CF } else { 0 };
        after |= if overflow & sign != 0 { OF } else { 0 };
        after |= auxiliary & AF;
        after |= if result == 0 { ZF } else { 0 };
        after |= if result & sign != 0 { SF } else { 0 };
        after |= if (result as u8).count_ones().is_multiple_of(2) {
            PF
        } else {
            0
        };
        (result, after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn flags_of_known_sums() {
        let flags = |alu: Alu, left, right, bytes| alu.apply(left, right, bytes, 0);
        assert_eq!(flags(Alu::Add, 0x7f, 1, 1), (0x80, OF | SF | AF));
        assert_eq!(flags(Alu::Add, 0xff, 1, 1), (0, CF | ZF | PF | AF));
        assert_eq!(flags(Alu::Sub, 0, 1, 4), (0xffff_ffff, CF | SF | PF | AF));
        assert_eq!(flags(Alu::Sub, 0x8000, 1, 2), (0x7fff, OF | PF | AF));
        assert_eq!(flags(Alu::And, 0xf0, 0x0f, 8), (0, ZF | PF));
    }

    proptest! {
        #[test]
        fn sums_agree_with_wider_integers(left: u32, right: u32, other: u64) {
            let other = other & !0x8d5;
            let (sum, flags) = Alu::Add.apply(left.into(), right.into(), 4, other);
            prop_assert_eq!(sum, u64::from(left.wrapping_add(right)));
            prop_assert_eq!(flags & CF != 0, left.checked_add(right).is_none());
            prop_assert_eq!(flags & OF != 0, (left as i32).checked_add(right as i32).is_none());
            prop_assert_eq!(flags & !0x8d5, other);
            let (difference, flags) = Alu::Sub.apply(left.into(), right.into(), 4, other);
            prop_assert_eq!(difference, u64::from(left.wrapping_sub(right)));
            prop_assert_eq!(flags & CF != 0, left < right);
            prop_assert_eq!(flags & OF != 0, (left as i32).checked_sub(right as i32).is_none());
            prop_assert_eq!(flags & ZF != 0, left == right);
        }
    }
}
