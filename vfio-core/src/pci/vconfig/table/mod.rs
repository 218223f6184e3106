//! The tables: what of each register a guest sees and may write. What stands in none of them does not exist for it.
//!
//! They follow Linux's vfio-pci, and are stricter where a comment says so.

mod extended;
mod header;
mod standard;

pub(super) use extended::EXTENDED;
pub(super) use header::{HEADER, INTX_STATUS};
pub(super) use standard::STANDARD;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::row::{Layout, Length};
    use super::*;

    fn sound(layout: &Layout, header: u32) {
        for row in layout.rows {
            assert!(row.mask != 0 && u32::from(row.offset % 4) * 8 <= row.mask.leading_zeros());
            let head = if row.offset < 4 {
                header >> (8 * row.offset)
            } else {
                0
            };
            assert_eq!(row.mask & head, 0, "id and next pointer are not for rows");
            if let Length::Exactly(length) | Length::Range(_, length) = layout.length {
                let last = u32::BITS - row.mask.leading_zeros();
                assert!(
                    u32::from(row.offset) + last.div_ceil(8) <= length.into(),
                    "{row:x?}"
                );
            }
        }
        for (index, row) in layout.rows.iter().enumerate() {
            let place = |row: &super::super::row::Row| {
                (row.offset & !3, u64::from(row.mask) << (8 * (row.offset & 3)))
            };
            for other in &layout.rows[..index] {
                let ((at, mask), (other_at, other_mask)) = (place(row), place(other));
                assert!(at != other_at || mask & other_mask == 0, "{row:x?} {other:x?}");
            }
        }
        assert!(layout.traps.iter().all(|(at, _)| at % 4 == 0));
    }

    #[test]
    fn rows_do_not_overlap_and_stay_inside() {
        for layout in STANDARD {
            sound(layout, 0xffff);
        }
        for layout in EXTENDED {
            sound(layout, u32::MAX);
        }
    }

    #[test]
    fn every_id_up_to_the_last_known_has_one_row() {
        for (table, last) in [(STANDARD, 0x13), (EXTENDED, 0x1b)] {
            for id in 1..=last {
                assert_eq!(
                    table.iter().filter(|layout| layout.id == id).count(),
                    1,
                    "{id:#x}"
                );
            }
            assert!(Layout::of(table, 0).is_none());
        }
    }
}
