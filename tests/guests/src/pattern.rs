//! Memory contents that say where they belong: what guests put where nobody else may write.
//!
//! Each 64-bit word depends on its own address and on a tag, so that a word that was overwritten, moved, or
//! copied from another guest shows. [`classify`] says what a device brought back from an attack.

/// Bytes of a word.
pub const WORD: usize = 8;

/// Tag of memory that is watched for writes, see `canary`.
pub const CANARY: u64 = 0x6361_6e61_7279_0001;

/// The word of `tag` that belongs to `address` (bytes).
#[must_use]
pub const fn word(tag: u64, address: u64) -> u64 {
    // The mixing steps of SplitMix64 (Steele, Lea, Flood 2014).
    let mut x = address.wrapping_add(tag.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Fills `bytes` with the pattern of `tag`, counted from address 0. A rest shorter than a word stays.
pub fn fill(bytes: &mut [u8], tag: u64) {
    for (at, chunk) in (0..).step_by(WORD).zip(bytes.chunks_exact_mut(WORD)) {
        chunk.copy_from_slice(&word(tag, at).to_le_bytes());
    }
}

/// What stands in a buffer after something should not have reached it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// What was there before.
    Unchanged,
    /// Zeros: the answer of QEMU to a read that the IOMMU denies.
    Zeros,
    /// Ones: what a PCIe read that nobody completes gives.
    Ones,
    /// Anything else: data from somewhere.
    Foreign,
}

/// Compares `bytes` with what was there `before`. A part that changed to zeros or ones beside a part that is
/// unchanged is as blocked as a whole.
#[must_use]
pub fn classify(bytes: &[u8], before: &[u8]) -> Found {
    if bytes == before {
        return Found::Unchanged;
    }
    let all = |value: u8| {
        bytes
            .iter()
            .zip(before)
            .all(|(now, was)| *now == value || now == was)
    };
    if bytes.len() != before.len() {
        Found::Foreign
    } else if all(0) {
        Found::Zeros
    } else if all(0xff) {
        Found::Ones
    } else {
        Found::Foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_differ_by_tag_and_address() {
        let mut words: Vec<u64> = (0..64)
            .flat_map(|at| [word(1, at * 8), word(2, at * 8)])
            .collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 128);
    }

    #[test]
    fn foreign_data_is_told_from_blocked_reads() {
        let mut before = [0; 64];
        fill(&mut before, 7);
        assert_eq!(classify(&before, &before), Found::Unchanged);
        assert_eq!(classify(&[0; 64], &before), Found::Zeros);
        assert_eq!(classify(&[0xff; 64], &before), Found::Ones);
        let mut partly = before;
        partly[8..16].fill(0);
        assert_eq!(classify(&partly, &before), Found::Zeros);
        for at in 0..64 {
            let mut foreign = [0; 64];
            foreign[at] = !before[at] & 0x7f | 1;
            if foreign[at] != before[at] {
                assert_eq!(classify(&foreign, &before), Found::Foreign, "byte {at}");
            }
        }
        assert_eq!(classify(&before[..32], &before), Found::Foreign);
    }
}
