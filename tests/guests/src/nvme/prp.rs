//! Physical region pages: how a command says where its data lies (NVM Express Base 2.0, section 4.1.1).

/// Bytes of a page, as CC.MPS = 0 sets it.
pub const PAGE: u64 = 4096;

/// Entries of a list that fills one page.
pub const LIST: usize = (PAGE / 8) as usize;

/// The two entries of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prp {
    /// The first page, with the offset into it.
    pub first: u64,
    /// 0 for one page, the second page for two, the list's address for more.
    pub second: u64,
}

/// Describes `len` contiguous bytes at physical `start`; where that takes more than two pages, `list` (which lies
/// at physical `list_address`, on a page) receives the pages from the second on.
///
/// `None` where `len` is 0, `start` is not a multiple of 4, or the list is too short.
#[must_use]
pub fn describe(start: u64, len: u64, list_address: u64, list: &mut [u64]) -> Option<Prp> {
    let end = start.checked_add(len)?;
    if len == 0 || !start.is_multiple_of(4) {
        return None;
    }
    let second = (start - start % PAGE).checked_add(PAGE)?;
    let more = end.saturating_sub(second).div_ceil(PAGE);
    let entry = match more {
        0 => 0,
        1 => second,
        _ => {
            let entries = list.get_mut(..usize::try_from(more).ok()?)?;
            for (entry, page) in entries.iter_mut().zip((second..).step_by(PAGE as usize)) {
                *entry = page;
            }
            list_address
        }
    };
    Some(Prp {
        first: start,
        second: entry,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(start: u64, len: u64) -> Option<(Prp, Vec<u64>)> {
        let mut list = [0; 8];
        let prp = describe(start, len, 0x9000, &mut list)?;
        Some((prp, list.into_iter().take_while(|entry| *entry != 0).collect()))
    }

    #[test]
    fn one_two_and_more_pages() {
        let prp = |first, second| Prp { first, second };
        assert_eq!(described(0x2000, 4096), Some((prp(0x2000, 0), vec![])));
        assert_eq!(described(0x2000, 4097), Some((prp(0x2000, 0x3000), vec![])));
        assert_eq!(described(0x2800, 4096), Some((prp(0x2800, 0x3000), vec![])));
        assert_eq!(
            described(0x2000, 3 * 4096),
            Some((prp(0x2000, 0x9000), vec![0x3000, 0x4000]))
        );
        assert_eq!(
            described(0x2ffc, 4096 + 8),
            Some((prp(0x2ffc, 0x9000), vec![0x3000, 0x4000]))
        );
    }

    #[test]
    fn what_cannot_be_described() {
        assert_eq!(described(0x2000, 0), None);
        assert_eq!(described(0x2001, 512), None);
        assert!(described(0x2000, 9 * 4096).is_some());
        assert_eq!(described(0x2000, 9 * 4096 + 1), None);
        assert_eq!(described(u64::MAX - 3, 512), None);
    }
}
