//! What of the machine's memory is free, and who gets it: ranges, from an untrusted memory map.
//!
//! Guests take whole 2 MiB pieces. Whatever any entry of the map calls reserved is never handed out, also where
//! another entry calls it usable.

use alloc::vec::Vec;

/// What a region of the memory map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RAM that nobody holds.
    Usable,
    /// Everything else.
    Reserved,
}

/// A range of host physical memory, `end` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// What it is.
    pub kind: Kind,
}

/// Granule of what guests get, in bytes: the large page of nested paging and of IOMMUs.
pub const LARGE: u64 = 2 << 20;

/// Why no memory was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// Not a multiple of 2 MiB, or zero.
    #[error("{bytes:#x} bytes at {at:#x} are not whole 2 MiB pieces; write a multiple of 2M")]
    Alignment {
        /// Address asked for.
        at: u64,
        /// Length asked for.
        bytes: u64,
    },
    /// The range that was asked for is not free.
    #[error(
        "memory {at:#x} to {end:#x} is not free RAM of this machine; free are {free:#x} bytes, leave out `memory-at` to have a place chosen"
    )]
    NotFree {
        /// First byte asked for.
        at: u64,
        /// One past the last byte asked for.
        end: u64,
        /// Bytes free in whole 2 MiB pieces.
        free: u64,
    },
    /// There is no free range that large.
    #[error(
        "no {bytes:#x} bytes of RAM in one piece: {free:#x} are free in all, {largest:#x} in the largest piece"
    )]
    Exhausted {
        /// Length asked for.
        bytes: u64,
        /// Bytes free in whole 2 MiB pieces.
        free: u64,
        /// Largest piece.
        largest: u64,
    },
}

/// Free memory: sorted ranges that do not touch, cut to whole 2 MiB pieces.
#[derive(Debug, Default)]
pub struct FreeMemory {
    ranges: Vec<(u64, u64)>,
}

impl FreeMemory {
    /// Everything that `map` calls usable and neither `map` nor `held` calls otherwise.
    #[must_use]
    pub fn new(map: &[Region], held: &[Region]) -> Self {
        let mut free = Self::default();
        for region in map.iter().filter(|region| region.kind == Kind::Usable) {
            let start = region.start.checked_next_multiple_of(LARGE).unwrap_or(u64::MAX);
            free.insert(start, region.end & !(LARGE - 1));
        }
        for region in map
            .iter()
            .filter(|region| region.kind == Kind::Reserved)
            .chain(held)
        {
            if region.start >= region.end {
                continue;
            }
            free.remove(
                region.start & !(LARGE - 1),
                region.end.checked_next_multiple_of(LARGE).unwrap_or(u64::MAX),
            );
        }
        free
    }

    /// Bytes that are free.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    /// Takes `bytes` at exactly `at`.
    ///
    /// # Errors
    /// [`MemoryError::Alignment`] or [`MemoryError::NotFree`]; nothing is taken then.
    pub fn take_at(&mut self, at: u64, bytes: u64) -> Result<u64, MemoryError> {
        let end = at
            .checked_add(bytes)
            .ok_or(MemoryError::Alignment { at, bytes })?;
        if bytes == 0 || !at.is_multiple_of(LARGE) || !bytes.is_multiple_of(LARGE) {
            return Err(MemoryError::Alignment { at, bytes });
        }
        if !self
            .ranges
            .iter()
            .any(|&(start, stop)| start <= at && end <= stop)
        {
            return Err(MemoryError::NotFree {
                at,
                end,
                free: self.bytes(),
            });
        }
        self.remove(at, end);
        Ok(at)
    }

    /// Takes `bytes` from the lowest range that has them, aligned to the largest page that serves (1 GiB for
    /// sizes of at least 1 GiB where there is such a place).
    ///
    /// # Errors
    /// [`MemoryError::Alignment`] or [`MemoryError::Exhausted`]; nothing is taken then.
    pub fn take(&mut self, bytes: u64) -> Result<u64, MemoryError> {
        if bytes == 0 || !bytes.is_multiple_of(LARGE) {
            return Err(MemoryError::Alignment { at: 0, bytes });
        }
        let huge = if bytes >= 1 << 30 { 1 << 30 } else { LARGE };
        let fits = |align: u64| {
            self.ranges.iter().find_map(|&(start, end)| {
                let at = start.checked_next_multiple_of(align)?;
                (at.checked_add(bytes)? <= end).then_some(at)
            })
        };
        match fits(huge).or_else(|| fits(LARGE)) {
            Some(at) => self.take_at(at, bytes),
            None => Err(MemoryError::Exhausted {
                bytes,
                free: self.bytes(),
                largest: self
                    .ranges
                    .iter()
                    .map(|(start, end)| end - start)
                    .max()
                    .unwrap_or(0),
            }),
        }
    }

    fn insert(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        // Entries of the map may overlap: what is there already goes first, so that ranges stay apart.
        self.remove(start, end);
        let at = self.ranges.partition_point(|range| range.0 < start);
        self.ranges.insert(at, (start, end));
        self.ranges.dedup_by(|next, last| {
            let joined = last.1 == next.0;
            if joined {
                last.1 = next.1;
            }
            joined
        });
    }

    fn remove(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let cut = |range: &(u64, u64)| [(range.0, range.1.min(start)), (range.0.max(end), range.1)];
        self.ranges = self
            .ranges
            .iter()
            .flat_map(cut)
            .filter(|range| range.0 < range.1)
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn region(start: u64, end: u64, kind: Kind) -> Region {
        Region {
            start: start * LARGE,
            end: end * LARGE,
            kind,
        }
    }

    proptest! {
        #[test]
        fn only_memory_that_nobody_reserved_is_given(
            map in prop::collection::vec((0u64..40, 0u64..12, any::<bool>()), 0..12),
            asks in prop::collection::vec((any::<bool>(), 0u64..50, 1u64..6), 0..12),
        ) {
            let map: Vec<_> = map.iter().map(|&(start, len, usable)| {
                region(start, start + len, if usable { Kind::Usable } else { Kind::Reserved })
            }).collect();
            let covers = |kind, piece: u64| map.iter().any(|r| r.kind == kind && r.start <= piece * LARGE && piece * LARGE < r.end);
            let mut model: Vec<bool> = (0..64).map(|p| covers(Kind::Usable, p) && !covers(Kind::Reserved, p)).collect();
            let mut free = FreeMemory::new(&map, &[]);
            for (fixed, at, len) in asks {
                let given = if fixed { free.take_at(at * LARGE, len * LARGE) } else { free.take(len * LARGE) };
                if let Ok(start) = given {
                    for piece in start / LARGE..start / LARGE + len {
                        prop_assert!(model[piece as usize], "piece {} given twice or reserved", piece);
                        model[piece as usize] = false;
                    }
                } else if fixed {
                    prop_assert!((at..at + len).any(|p| !model[p as usize]));
                } else {
                    prop_assert!(!model.windows(len as usize).any(|w| w.iter().all(|f| *f)));
                }
                prop_assert_eq!(free.bytes(), model.iter().filter(|f| **f).count() as u64 * LARGE);
            }
        }
    }

    #[test]
    fn hostile_entries_are_survived() {
        let top = Region {
            start: 1,
            end: u64::MAX,
            kind: Kind::Usable,
        };
        let empty = Region {
            start: 9,
            end: 3,
            kind: Kind::Usable,
        };
        let mut free = FreeMemory::new(&[top, empty], &[]);
        assert!(free.take(!(LARGE - 1)).is_err());
        assert!(free.take_at(u64::MAX - LARGE + 1, LARGE * 2).is_err());
        assert!(free.take_at(LARGE + 5, LARGE).is_err());
    }
}
