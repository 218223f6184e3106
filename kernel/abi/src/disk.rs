//! Sectors whose contents prove themselves: how host tool and guest check disk I/O end to end.
//!
//! The host tool fills a disk image with [`Kind::Supplied`] sectors before a run. A guest that owns the
//! disk's controller reads [`SUPPLIED`], checks each sector with [`check`], takes the seed from the first
//! one ([`seed_of`]; the host picks it anew for each run, so a guest that read nothing cannot guess it) and
//! writes [`Kind::Written`] sectors with that seed to [`WRITTEN`]. After the run the host checks that these
//! changed and that all others did not.
//!
//! ```text
//! 0    magic     8 bytes, by kind
//! 8    index     u64, little endian: the sector's own number, so that a misplaced sector shows
//! 16   seed      u64, little endian
//! 24   fill      480 bytes of xorshift64*, started from kind, index and seed
//! 504  checksum  u64, little endian: FNV-1a (64 bit) of bytes 0 to 503
//! ```

use core::ops::Range;

/// Bytes of a sector.
pub const SECTOR_SIZE: usize = 512;

/// Sectors that the guest reads and checks. The host fills the rest of the disk in the same way.
pub const SUPPLIED: Range<u64> = 0..256;

/// Sectors that the guest overwrites.
pub const WRITTEN: Range<u64> = 256..512;

/// One sector.
pub type Sector = [u8; SECTOR_SIZE];

const INDEX: usize = 8;
const SEED: usize = 16;
const FILL: usize = 24;
const CHECKSUM: usize = SECTOR_SIZE - 8;

/// Who wrote a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The host, before the run.
    Supplied,
    /// The guest.
    Written,
}

impl Kind {
    const fn magic(self) -> [u8; 8] {
        match self {
            Self::Supplied => *b"COHORTs1",
            Self::Written => *b"COHORTw1",
        }
    }
}

/// What is wrong with a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SectorError {
    /// It is not a sector of the expected kind.
    #[error("sector {index} does not start with the expected magic")]
    Magic {
        /// Where the sector was read.
        index: u64,
    },
    /// It belongs elsewhere.
    #[error("sector {index} holds the contents of sector {found}")]
    Index {
        /// Where the sector was read.
        index: u64,
        /// The number that it bears.
        found: u64,
    },
    /// It comes from another run.
    #[error("sector {index} has seed {found:#018x}, not that of this run")]
    Seed {
        /// Where the sector was read.
        index: u64,
        /// The seed that it bears.
        found: u64,
    },
    /// Its contents changed.
    #[error("sector {index} is corrupt: its checksum or its fill does not hold")]
    Contents {
        /// Where the sector was read.
        index: u64,
    },
}

/// Writes the sector with number `index` of `kind` and `seed` into `sector`.
pub fn fill(sector: &mut Sector, kind: Kind, index: u64, seed: u64) {
    sector[..INDEX].copy_from_slice(&kind.magic());
    sector[INDEX..SEED].copy_from_slice(&index.to_le_bytes());
    sector[SEED..FILL].copy_from_slice(&seed.to_le_bytes());
    let mut state = fnv1a(&sector[..FILL]) | 1;
    for word in sector[FILL..CHECKSUM].chunks_exact_mut(8) {
        word.copy_from_slice(&xorshift(&mut state).to_le_bytes());
    }
    let checksum = fnv1a(&sector[..CHECKSUM]);
    sector[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
}

/// Checks that `sector`, read at `index`, is whole and of `kind` and `seed`.
///
/// # Errors
/// The first thing that does not hold.
pub fn check(sector: &Sector, kind: Kind, index: u64, seed: u64) -> Result<(), SectorError> {
    if sector[..INDEX] != kind.magic() {
        return Err(SectorError::Magic { index });
    }
    let found = word(sector, INDEX);
    if found != index {
        return Err(SectorError::Index { index, found });
    }
    let found = seed_of(sector);
    if found != seed {
        return Err(SectorError::Seed { index, found });
    }
    let mut expected = [0; SECTOR_SIZE];
    fill(&mut expected, kind, index, seed);
    if *sector == expected {
        Ok(())
    } else {
        Err(SectorError::Contents { index })
    }
}

/// The seed that a sector bears; only [`check`] says whether to believe it.
#[must_use]
pub fn seed_of(sector: &Sector) -> u64 {
    word(sector, SEED)
}

fn word(sector: &Sector, at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&sector[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// FNV-1a, 64 bit (Fowler, Noll, Vo; RFC 9923).
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// xorshift64* (Vigna 2016). `state` is never 0.
fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(kind: Kind, index: u64, seed: u64) -> Sector {
        let mut sector = [0; SECTOR_SIZE];
        fill(&mut sector, kind, index, seed);
        sector
    }

    #[test]
    fn what_is_filled_checks() {
        for index in [0, 1, 255, u64::MAX] {
            for seed in [0, 1, u64::MAX] {
                for kind in [Kind::Supplied, Kind::Written] {
                    let sector = sector(kind, index, seed);
                    assert_eq!(check(&sector, kind, index, seed), Ok(()));
                    assert_eq!(seed_of(&sector), seed);
                }
            }
        }
    }

    #[test]
    fn every_changed_bit_shows() {
        for at in 0..SECTOR_SIZE {
            let mut changed = sector(Kind::Supplied, 7, 9);
            changed[at] ^= 1 << (at % 8);
            assert!(check(&changed, Kind::Supplied, 7, 9).is_err(), "byte {at}");
        }
    }

    #[test]
    fn each_mistake_has_its_name() {
        let good = sector(Kind::Supplied, 7, 9);
        assert_eq!(
            check(&good, Kind::Written, 7, 9),
            Err(SectorError::Magic { index: 7 })
        );
        assert_eq!(
            check(&good, Kind::Supplied, 8, 9),
            Err(SectorError::Index { index: 8, found: 7 })
        );
        assert_eq!(
            check(&good, Kind::Supplied, 7, 8),
            Err(SectorError::Seed { index: 7, found: 9 })
        );
        let mut forged = good;
        forged[100] ^= 1;
        let checksum = fnv1a(&forged[..CHECKSUM]);
        forged[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(
            check(&forged, Kind::Supplied, 7, 9),
            Err(SectorError::Contents { index: 7 })
        );
    }
}
