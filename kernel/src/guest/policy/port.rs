//! The table of I/O ports.

use cohort_abi::exit;
use core::ops::RangeInclusive;

/// What stands behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortAction {
    /// The console's register at this offset.
    Console(u8),
    /// The exit port.
    Exit,
    /// Nothing is there, but software that also runs on a PC writes to it to find out or to turn it off: writes
    /// are dropped, reads are all ones.
    Absent,
}

/// First port of the guest's console.
const CONSOLE: u16 = 0x3f8;

const TABLE: &[(RangeInclusive<u16>, PortAction)] = &[
    // The 8259 pair, to mask it.
    (0x20..=0x21, PortAction::Absent),
    (0xa0..=0xa1, PortAction::Absent),
    // The POST code port, written as a delay.
    (0x80..=0x80, PortAction::Absent),
    (exit::PORT..=exit::PORT, PortAction::Exit),
    (CONSOLE..=CONSOLE + 7, PortAction::Console(0)),
];

/// What a port is, or `None` where it is denied.
#[must_use]
pub fn port(port: u16) -> Option<PortAction> {
    let (range, action) = TABLE.iter().find(|(range, _)| range.contains(&port))?;
    Some(match action {
        PortAction::Console(_) => PortAction::Console((port - range.start()) as u8),
        other => *other,
    })
}

/// The ports that a guest reaches without an exit: none.
pub fn direct_ports() -> impl Iterator<Item = u16> {
    core::iter::empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_row_names_is_denied() {
        assert_eq!(port(0x3fd), Some(PortAction::Console(5)));
        assert_eq!(port(exit::PORT), Some(PortAction::Exit));
        for denied in [0, 0xcf8, 0xcfc, 0x70, 0x604, 0x3f7, 0x400, 0xffff] {
            assert_eq!(port(denied), None);
        }
        assert_eq!((0..=u16::MAX).filter(|p| port(*p).is_some()).count(), 14);
        assert_eq!(direct_ports().count(), 0);
    }
}
