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
    /// ACPI's sleep control register.
    Sleep,
    /// ACPI's sleep status register.
    SleepStatus,
    /// The reset register.
    Reset,
    /// The command register of the keyboard controller, of which nothing is there but the line that resets the machine.
    Keyboard,
    /// Where a kernel that panics says so.
    Panic,
    /// Nothing is there, but software that also runs on a PC writes to it to find out or to turn it off: writes
    /// are dropped, reads are all ones.
    Absent,
}

/// First port of the guest's console.
pub const CONSOLE: u16 = 0x3f8;
/// Sleep control register of hardware-reduced ACPI (ACPI 6.4, section 4.8.3.7).
pub const SLEEP_CONTROL: u16 = 0x600;
/// Sleep status register of the same.
pub const SLEEP_STATUS: u16 = 0x601;
/// The panic device (QEMU, `docs/specs/pvpanic.txt`), where QEMU has it. A driver reads which events there are, and
/// writes the one that happened.
pub const PANIC: u16 = 0x505;
/// Panic device: the kernel panicked, and nothing of it goes on.
pub const PANICKED: u8 = 1;
/// Reset register, where PCs have it.
pub const RESET: u16 = 0xcf9;
/// Command register of the keyboard controller, where PCs have it.
pub const KEYBOARD: u16 = 0x64;
/// What resets the machine: full reset, requested.
pub const RESET_VALUE: u8 = 6;
/// Sleep control: go to the state in bits 4:2.
pub const SLEEP_ENABLE: u8 = 1 << 5;
/// Sleep control: the value of bits 4:2 that turns the power off.
pub const SLEEP_SOFT_OFF: u8 = 5;

const TABLE: &[(RangeInclusive<u16>, PortAction)] = &[
    // The 8259 pair, to mask it.
    (0x20..=0x21, PortAction::Absent),
    (0xa0..=0xa1, PortAction::Absent),
    // The POST code port, written as a delay.
    (0x80..=0x80, PortAction::Absent),
    (exit::PORT..=exit::PORT, PortAction::Exit),
    (SLEEP_CONTROL..=SLEEP_CONTROL, PortAction::Sleep),
    (SLEEP_STATUS..=SLEEP_STATUS, PortAction::SleepStatus),
    (PANIC..=PANIC, PortAction::Panic),
    (RESET..=RESET, PortAction::Reset),
    (KEYBOARD..=KEYBOARD, PortAction::Keyboard),
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

/// What a read finds at a port where no table has anything, for guests that are told what a PC without it says.
#[must_use]
pub const fn absent(port: u16) -> u64 {
    match port {
        // The interval timer. One that seems to stand at all ones is read 50,000 times by systems that wait for it to
        // count; one that stands at zero is given up at once.
        0x40..=0x43 => 0,
        // The clock's data. At all ones it seems to be in the middle of an update, for whose end Linux waits a second.
        0x71 => 0,
        _ => u64::MAX,
    }
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
        assert_eq!((0..=u16::MAX).filter(|p| port(*p).is_some()).count(), 19);
        assert_eq!((absent(0x40), absent(0x71), absent(0x61)), (0, 0, u64::MAX));
        assert_eq!(direct_ports().count(), 0);
    }
}
