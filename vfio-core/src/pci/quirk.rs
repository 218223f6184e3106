//! Devices that do not do what their configuration space says, as data.
//!
//! After Linux's `drivers/pci/quirks.c` and `drivers/vfio/pci`, which know them from reports. A row is no proof: it says that
//! somebody met a device that behaved so.

use super::config::Function;
use super::reset::ResetQuirks;
use crate::clock::MILLISECOND;
use bitflags::bitflags;

bitflags! {
    /// What is wrong with a device.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Quirk: u16 {
        /// It raises INTx although INTX_DISABLE is set: it has no usable INTx.
        const BROKEN_INTX = 1;
        /// INTX_DISABLE does nothing: INTx can be held back only where it arrives, on a line of its own.
        const NO_INTX_MASK = 1 << 1;
        /// Its interrupt pin is a lie: it reads as none.
        const NO_PIN = 1 << 2;
        /// It must be given to nobody: it is known to get out.
        const DENIED = 1 << 3;
        /// It does not come back from a reset of its bus.
        const NO_BUS_RESET = 1 << 4;
        /// D3hot does not reset it, whatever it says.
        const NO_PM_RESET = 1 << 5;
        /// Its function level reset hangs, or resets nothing.
        const NO_FLR = 1 << 6;
        /// It must be disabled by its own registers before a function level reset.
        const DISABLE_BEFORE_FLR = 1 << 7;
        /// It needs a reset of its own kind; a common one leaves state behind.
        const OWN_RESET = 1 << 8;
    }
}

/// What is known of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// What is wrong.
    pub flags: Quirk,
    /// Nanoseconds to wait after a function level reset, beyond what the specification asks for.
    pub after_flr: u64,
}

impl Quirks {
    /// What is known of `function`.
    #[must_use]
    pub fn of(function: &Function) -> Self {
        quirks(function.vendor, function.device, function.class)
    }

    /// What that says of its resets, for [`ResetHooks::quirks`](super::reset::ResetHooks::quirks). One that needs a reset of its own
    /// kind has no other but that of its bus.
    #[must_use]
    pub fn resets(&self) -> ResetQuirks {
        let own = ResetQuirks::NO_FLR | ResetQuirks::NO_PM;
        [
            (Quirk::NO_FLR, ResetQuirks::NO_FLR),
            (Quirk::NO_PM_RESET, ResetQuirks::NO_PM),
            (Quirk::NO_BUS_RESET, ResetQuirks::NO_BUS),
            (Quirk::DISABLE_BEFORE_FLR, ResetQuirks::DISABLE_BEFORE_FLR),
            (Quirk::OWN_RESET, own),
        ]
        .into_iter()
        .filter(|(flag, _)| self.flags.contains(*flag))
        .fold(ResetQuirks::empty(), |sum, (_, reset)| sum | reset)
    }

    /// Whether its INTx cannot be used, whatever it says.
    #[must_use]
    pub const fn intx_is_broken(&self) -> bool {
        self.flags.intersects(Quirk::BROKEN_INTX.union(Quirk::NO_PIN))
    }
}

/// A row: devices from `first` to `last` of `vendor`, of any class or of those whose upper 16 bits are given.
struct Row {
    vendor: u16,
    first: u16,
    last: u16,
    class: Option<u16>,
    flags: Quirk,
    after_flr: u64,
}

const fn one(vendor: u16, device: u16, flags: Quirk) -> Row {
    many(vendor, device, device, flags)
}

const fn many(vendor: u16, first: u16, last: u16, flags: Quirk) -> Row {
    Row {
        vendor,
        first,
        last,
        class: None,
        flags,
        after_flr: 0,
    }
}

const fn slow(vendor: u16, device: u16, after_flr: u64) -> Row {
    Row {
        after_flr,
        ..one(vendor, device, Quirk::empty())
    }
}

const INTEL: u16 = 0x8086;
const AMD: u16 = 0x1022;
const ATI: u16 = 0x1002;
const ATHEROS: u16 = 0x168c;
/// Class and sub-class: VGA controller.
const VGA: u16 = 0x0300;

const TABLE: &[Row] = &[
    // Intel X710 and its relatives, X550.
    one(INTEL, 0x1563, Quirk::BROKEN_INTX),
    one(INTEL, 0x1572, Quirk::BROKEN_INTX),
    one(INTEL, 0x1574, Quirk::BROKEN_INTX),
    many(INTEL, 0x1580, 0x1581, Quirk::BROKEN_INTX),
    many(INTEL, 0x1583, 0x158b, Quirk::BROKEN_INTX),
    many(INTEL, 0x37d0, 0x37d2, Quirk::BROKEN_INTX),
    // Chelsio T310, Ralink RT2800, Fresco FL1000, Realtek RTL8169.
    one(0x1425, 0x0030, Quirk::NO_INTX_MASK),
    one(0x1814, 0x0601, Quirk::NO_INTX_MASK),
    one(0x1b7c, 0x0004, Quirk::NO_INTX_MASK),
    one(0x10ec, 0x8169, Quirk::NO_INTX_MASK),
    // A virtual function, which can have no pin.
    one(INTEL, 0x270c, Quirk::NO_PIN),
    // QuickAssist: DH895xCC, C62x, C3xxx, each with its virtual function. Data streaming and analytics accelerators.
    one(INTEL, 0x0435, Quirk::DENIED),
    one(INTEL, 0x0443, Quirk::DENIED),
    many(INTEL, 0x37c8, 0x37c9, Quirk::DENIED),
    many(INTEL, 0x19e2, 0x19e3, Quirk::DENIED),
    one(INTEL, 0x0b25, Quirk::DENIED),
    one(INTEL, 0x0cfe, Quirk::DENIED),
    // Atheros AR93xx to QCA988x, Cavium's bridge, TI C667x.
    one(ATHEROS, 0x0030, Quirk::NO_BUS_RESET),
    many(ATHEROS, 0x0032, 0x0034, Quirk::NO_BUS_RESET),
    one(ATHEROS, 0x003c, Quirk::NO_BUS_RESET),
    one(ATHEROS, 0x003e, Quirk::NO_BUS_RESET),
    one(0x177d, 0xa100, Quirk::NO_BUS_RESET),
    one(0x104c, 0xb005, Quirk::NO_BUS_RESET),
    // AMD's graphics cards keep their state.
    Row {
        class: Some(VGA),
        ..many(ATI, 0, u16::MAX, Quirk::NO_PM_RESET)
    },
    // AMD Starship and Matisse: audio, USB; FCH's SATA.
    one(AMD, 0x1487, Quirk::NO_FLR),
    one(AMD, 0x148c, Quirk::NO_FLR),
    one(AMD, 0x149c, Quirk::NO_FLR),
    one(AMD, 0x7901, Quirk::NO_FLR),
    // Intel 82579, I225.
    many(INTEL, 0x1502, 0x1503, Quirk::NO_FLR),
    many(INTEL, 0x15f2, 0x15f3, Quirk::NO_FLR),
    // Samsung SM961.
    one(0x144d, 0xa804, Quirk::DISABLE_BEFORE_FLR),
    // Intel P3700 and P4510.
    slow(INTEL, 0x0953, 250 * MILLISECOND),
    slow(INTEL, 0x0a54, 250 * MILLISECOND),
    // The virtual functions of Intel's 82599 and of HiSilicon's HiNIC, Intel's Ivy Bridge graphics.
    one(INTEL, 0x10ed, Quirk::OWN_RESET),
    one(0x19e5, 0x375e, Quirk::OWN_RESET),
    one(INTEL, 0x0152, Quirk::OWN_RESET),
    one(INTEL, 0x0156, Quirk::OWN_RESET),
    one(INTEL, 0x0166, Quirk::OWN_RESET),
];

/// What is known of `device` of `vendor`, whose class code (24 bits) is `class`. Rows that apply add up.
#[must_use]
pub fn quirks(vendor: u16, device: u16, class: u32) -> Quirks {
    let applies = |row: &&Row| {
        row.vendor == vendor
            && (row.first..=row.last).contains(&device)
            && row.class.is_none_or(|wanted| u32::from(wanted) == class >> 8)
    };
    TABLE
        .iter()
        .filter(applies)
        .fold(Quirks::default(), |sum, row| Quirks {
            flags: sum.flags | row.flags,
            after_flr: sum.after_flr.max(row.after_flr),
        })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_vendor_device_and_class() {
        for (vendor, device, class, flags) in [
            (INTEL, 0x1572, 0x02_0000, Quirk::BROKEN_INTX),
            (INTEL, 0x1582, 0x02_0000, Quirk::empty()),
            (INTEL, 0x158b, 0x02_0000, Quirk::BROKEN_INTX),
            (INTEL, 0x158c, 0x02_0000, Quirk::empty()),
            (ATHEROS, 0x1572, 0x02_0000, Quirk::empty()),
            (INTEL, 0x37c9, 0x0b_4000, Quirk::DENIED),
            (ATI, 0x6863, 0x03_0000, Quirk::NO_PM_RESET),
            (ATI, 0x6863, 0x04_0300, Quirk::empty()),
            (0x144d, 0xa804, 0x01_0802, Quirk::DISABLE_BEFORE_FLR),
        ] {
            assert_eq!(
                quirks(vendor, device, class).flags,
                flags,
                "{vendor:x}:{device:x}"
            );
        }
        assert_eq!(quirks(INTEL, 0x0953, 0x01_0802).after_flr, 250 * MILLISECOND);
        assert_eq!(quirks(0x1b36, 0x0010, 0x01_0802), Quirks::default());
    }

    #[test]
    fn what_forbids_resets_leaves_the_others() {
        use crate::pci::ResetMethods as M;
        let left = |flags| Quirks { flags, after_flr: 0 }.resets().usable(M::all());
        assert_eq!(left(Quirk::BROKEN_INTX | Quirk::DENIED), M::all());
        assert_eq!(left(Quirk::NO_FLR), M::PM | M::BUS | M::SLOT);
        assert_eq!(left(Quirk::NO_PM_RESET), M::all() - M::PM);
        assert_eq!(left(Quirk::NO_BUS_RESET), M::FLR | M::AF_FLR | M::PM);
        assert_eq!(left(Quirk::OWN_RESET), M::BUS | M::SLOT);
        let disable = quirks(0x144d, 0xa804, 0x01_0802).resets();
        assert_eq!(disable, ResetQuirks::DISABLE_BEFORE_FLR);
        assert_eq!(disable.usable(M::all()), M::all());
        assert!(quirks(INTEL, 0x1563, 0x02_0000).intx_is_broken());
        assert!(quirks(INTEL, 0x270c, 0x02_0000).intx_is_broken());
        assert!(
            !quirks(0x1425, 0x0030, 0x02_0000).intx_is_broken(),
            "only its mask is"
        );
    }

    #[test]
    fn every_row_says_something_of_somebody() {
        for row in TABLE {
            assert!(row.first <= row.last);
            assert!(!row.flags.is_empty() || row.after_flr != 0);
            assert!(row.after_flr <= 1000 * MILLISECOND, "a wait has a bound");
        }
    }
}
