//! Extended capabilities, from 0x100 on, by id.

use super::super::row::Bits::{HardwareClear, HardwareWritable, Snapshot, Zero};
use super::super::row::{Layout, Length, row};
use crate::pci::spec::extended;

/// Uncorrectable errors: the bits that are defined for a function (7.8.4.2), but for reserved ones and newer ones.
const UNCORRECTABLE: u32 = 0x03ff_f031;
/// Correctable errors (7.8.4.5).
const CORRECTABLE: u32 = 0x0000_f1c1;
/// Generate and check ECRC (7.8.4.7).
const ECRC: u32 = 1 << 6 | 1 << 8;

/// The table.
pub(in super::super) const EXTENDED: &[Layout] = &[
    Layout {
        id: extended::AER,
        // An endpoint's ends after the header log, or after the log of prefixes.
        length: Length::Range(0x2c, 0x48),
        rows: &[
            row(0x04, UNCORRECTABLE, HardwareClear),
            row(0x08, UNCORRECTABLE, HardwareWritable),
            row(0x0c, UNCORRECTABLE, HardwareWritable),
            row(0x10, CORRECTABLE, HardwareClear),
            row(0x14, CORRECTABLE, HardwareWritable),
            row(0x18, ECRC, HardwareWritable),
        ],
        traps: &[],
    },
    Layout::read(extended::VC, Length::Channels),
    // The builder puts another number in; Linux shows the host's.
    Layout {
        id: extended::SERIAL,
        length: Length::Exactly(12),
        rows: &[row(4, u32::MAX, Snapshot), row(8, u32::MAX, Snapshot)],
        traps: &[],
    },
    Layout {
        id: extended::POWER_BUDGET,
        length: Length::Exactly(16),
        // Selects what the next register shows.
        rows: &[row(4, 0xff, HardwareWritable)],
        traps: &[],
    },
    Layout::hidden(extended::RC_LINK),
    Layout::hidden(extended::RC_INTERNAL_LINK),
    Layout::hidden(extended::RC_EVENTS),
    Layout::read(extended::MFVC, Length::Channels),
    Layout::read(extended::VC_WITH_MFVC, Length::Channels),
    Layout::hidden(extended::RC_REGISTERS),
    Layout::read(extended::VENDOR, Length::VendorExtended),
    Layout::hidden(extended::CORRELATION),
    Layout::read(extended::ACS, Length::AccessControl),
    Layout::read(extended::ARI, Length::Exactly(8)),
    Layout::read(extended::ATS, Length::Exactly(8)),
    Layout {
        id: extended::SRIOV,
        length: Length::Exactly(0x40),
        // Stricter than Linux: where the host has put the virtual functions is none of a guest's business.
        rows: &[
            row(0x24, u32::MAX, Zero),
            row(0x28, u32::MAX, Zero),
            row(0x2c, u32::MAX, Zero),
            row(0x30, u32::MAX, Zero),
            row(0x34, u32::MAX, Zero),
            row(0x38, u32::MAX, Zero),
        ],
        traps: &[],
    },
    Layout::hidden(extended::MRIOV),
    // Stricter than Linux, which shows it: nobody could set it up.
    Layout::hidden(extended::MULTICAST),
    Layout::read(extended::PRI, Length::Exactly(16)),
    Layout::hidden(extended::AMD),
    Layout::read(extended::RESIZABLE_BAR, Length::ResizableBar),
    Layout::read(extended::POWER_ALLOCATION, Length::PowerAllocation),
    Layout::read(extended::TPH, Length::Hints),
    Layout::read(extended::LTR, Length::Exactly(8)),
    Layout::hidden(extended::SECONDARY_EXPRESS),
    Layout::hidden(extended::PROTOCOL_MUX),
    Layout::hidden(extended::PASID),
    Layout::read(extended::DESIGNATED_VENDOR, Length::VendorExtended),
];
