//! Events: what the unit says of accesses that it blocked, of commands, and of itself (section 2.5).

use crate::addr::Iova;
use spec::amdvi::event::{self as wire, Flags, code};

/// What kind of access an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A write to where interrupts are.
    Interrupt,
    /// A request for a translation (ATS).
    Translation,
    /// The event does not say.
    Unknown,
}

impl Attempt {
    const fn of(flags: Flags) -> Self {
        if flags.contains(Flags::INTERRUPT) {
            Self::Interrupt
        } else if flags.contains(Flags::TRANSLATION) {
            Self::Translation
        } else if flags.contains(Flags::WRITE) {
            Self::Write
        } else {
            Self::Read
        }
    }
}

/// Why an access was blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// ILLEGAL_DEV_TABLE_ENTRY: the requester's entry makes no sense. It is ours.
    IllegalEntry,
    /// IO_PAGE_FAULT: nothing is mapped there, or no interrupt routed.
    NotPresent,
    /// IO_PAGE_FAULT: what is there does not allow it.
    Permission,
    /// IO_PAGE_FAULT: what is there has reserved bits set. It is ours.
    Reserved,
    /// DEV_TAB_HARDWARE_ERROR: the unit could not read the requester's entry.
    DeviceTable,
    /// PAGE_TAB_HARDWARE_ERROR: it could not read the page table.
    PageTable,
    /// INVALID_DEVICE_REQUEST: the access is of a kind that is never allowed here, such as one with an address that the device
    /// has translated by itself; the number is the event's type.
    Request(u8),
    /// INVALID_PPR_REQUEST: the device asked for a page.
    PageRequest,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An access was blocked.
    Access {
        /// Whose: a requester id.
        requester: u16,
        /// Where, if the event says so: that of a hardware error is in a table.
        address: Option<Iova>,
        /// What.
        attempt: Attempt,
        /// Why.
        blocked: Blocked,
    },
    /// ILLEGAL_COMMAND_ERROR.
    IllegalCommand {
        /// Host physical address of the command.
        at: u64,
    },
    /// COMMAND_HARDWARE_ERROR.
    CommandHardware {
        /// Host physical address of the attempt.
        at: u64,
        /// 1 master abort, 2 target abort, 3 data error.
        kind: u8,
    },
    /// IOTLB_INV_TIMEOUT: a device did not forget translations. None is told to keep any.
    DeviceTimeout {
        /// Whose: a requester id.
        requester: u16,
    },
    /// An event of something that Cohort does not turn on, or that does not exist.
    Other {
        /// Its code.
        code: u8,
    },
}

impl Event {
    /// Decodes two words; `None` while the unit has not written them: code 0 does not exist, and the driver clears what it has read.
    #[must_use]
    pub fn decode([first, second]: [u64; 2]) -> Option<Self> {
        let flags = Flags::from_bits_truncate(first);
        let requester = (first & wire::REQUESTER) as u16;
        let kind = (first >> wire::HARDWARE_TYPE_SHIFT & wire::HARDWARE_TYPE_MASK) as u8;
        let access = |address, attempt, blocked| Self::Access {
            requester,
            address,
            attempt,
            blocked,
        };
        let (at, attempt) = (Some(Iova(second)), Attempt::of(flags));
        Some(match (first >> wire::CODE_SHIFT) as u8 {
            0 => return None,
            code::ILLEGAL_DEV_TABLE_ENTRY => access(at, attempt, Blocked::IllegalEntry),
            code::IO_PAGE_FAULT => {
                // RZ and PE count only where something is present.
                let blocked = if !flags.contains(Flags::PRESENT) {
                    Blocked::NotPresent
                } else if flags.contains(Flags::RESERVED) {
                    Blocked::Reserved
                } else {
                    Blocked::Permission
                };
                access(at, attempt, blocked)
            }
            code::DEV_TAB_HARDWARE_ERROR => access(None, attempt, Blocked::DeviceTable),
            code::PAGE_TAB_HARDWARE_ERROR => access(None, attempt, Blocked::PageTable),
            code::ILLEGAL_COMMAND_ERROR => Self::IllegalCommand { at: second },
            code::COMMAND_HARDWARE_ERROR => Self::CommandHardware { at: second, kind },
            code::IOTLB_INV_TIMEOUT => Self::DeviceTimeout { requester },
            code::INVALID_DEVICE_REQUEST => {
                let kind = (first >> wire::REQUEST_TYPE_SHIFT & wire::REQUEST_TYPE_MASK) as u8;
                let attempt = if flags.contains(Flags::TRANSLATION) {
                    Attempt::Translation
                } else {
                    Attempt::Unknown
                };
                access(at, attempt, Blocked::Request(kind))
            }
            code::INVALID_PPR_REQUEST => access(at, Attempt::Unknown, Blocked::PageRequest),
            other => Self::Other { code: other },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn first(code: u64, requester: u64, rest: u64) -> u64 {
        code << 60 | requester | rest
    }

    /// Each event of the manual's tables, by plain numbers.
    #[test]
    fn every_event_is_decoded() {
        let access = |address: Option<u64>, attempt, blocked| Event::Access {
            requester: 0x0108,
            address: address.map(Iova),
            attempt,
            blocked,
        };
        let at = Some(0xdead_b000);
        let table = [
            (1, 1 << 53, access(at, Attempt::Write, Blocked::IllegalEntry)),
            (1, 1 << 55, access(at, Attempt::Read, Blocked::IllegalEntry)),
            (2, 0, access(at, Attempt::Read, Blocked::NotPresent)),
            (
                2,
                1 << 53 | 1 << 54,
                access(at, Attempt::Write, Blocked::NotPresent),
            ),
            (
                2,
                1 << 52 | 1 << 53 | 1 << 54,
                access(at, Attempt::Write, Blocked::Permission),
            ),
            (2, 1 << 52 | 1 << 55, access(at, Attempt::Read, Blocked::Reserved)),
            (2, 1 << 51, access(at, Attempt::Interrupt, Blocked::NotPresent)),
            (2, 1 << 56, access(at, Attempt::Translation, Blocked::NotPresent)),
            (
                3,
                1 << 53 | 2 << 57,
                access(None, Attempt::Write, Blocked::DeviceTable),
            ),
            (4, 3 << 57, access(None, Attempt::Read, Blocked::PageTable)),
            (5, 0, Event::IllegalCommand { at: 0xdead_b000 }),
            (
                6,
                2 << 57,
                Event::CommandHardware {
                    at: 0xdead_b000,
                    kind: 2,
                },
            ),
            (7, 0, Event::DeviceTimeout { requester: 0x0108 }),
            (8, 5 << 57, access(at, Attempt::Unknown, Blocked::Request(5))),
            (
                8,
                1 << 56 | 1 << 57,
                access(at, Attempt::Translation, Blocked::Request(1)),
            ),
            (9, 0, access(at, Attempt::Unknown, Blocked::PageRequest)),
            (0xa, 0, Event::Other { code: 0xa }),
            (0xf, 0, Event::Other { code: 0xf }),
        ];
        for (code, rest, expected) in table {
            let event = Event::decode([first(code, 0x0108, rest), 0xdead_b000]);
            assert_eq!(event, Some(expected), "{code:#x} {rest:#x}");
        }
        assert_eq!(Event::decode([first(0, 0x0108, 1 << 53), 1]), None);
    }

    proptest! {
        #[test]
        fn no_words_are_too_odd(words in any::<[u64; 2]>()) {
            prop_assert_eq!(Event::decode(words).is_none(), words[0] >> 60 == 0);
        }
    }
}
