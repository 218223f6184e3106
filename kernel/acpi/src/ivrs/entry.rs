//! Device entries of an IVHD: from pairs that begin and end a range to ranges.

use super::super::table::Table;
use super::super::{Error, Fault};
use super::MAX_ENTRIES;
use alloc::string::String;
use alloc::vec::Vec;
use spec::ivrs::{self as wire, entry_type, special, uid_format};

/// What a unit has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IvhdEntry {
    /// Which devices.
    pub target: IvhdTarget,
    /// `spec::ivrs::Settings`: what must pass.
    pub settings: u8,
}

/// Which devices an entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IvhdTarget {
    /// Every requester id of the segment.
    All,
    /// Requester ids from the first to the last, inclusive.
    Range {
        /// First.
        first: u16,
        /// Last.
        last: u16,
        /// The id that the unit sees instead.
        alias: Option<u16>,
        /// Extended settings.
        extended: Option<u32>,
    },
    /// An I/O APIC.
    IoApic {
        /// Its id.
        id: u8,
        /// The requester id that it uses.
        requester: u16,
    },
    /// An HPET.
    Hpet {
        /// Its number.
        number: u8,
        /// The requester id that it uses.
        requester: u16,
    },
    /// A special device of a variety that Cohort does not know.
    OtherSpecial {
        /// Which.
        variety: u8,
        /// Its handle.
        handle: u8,
        /// The requester id that it uses.
        requester: u16,
    },
    /// A device that ACPI names.
    Acpi {
        /// Hardware id; bytes that are not printable are escaped.
        hid: String,
        /// Compatible id, empty where there is none.
        cid: String,
        /// Unique id.
        uid: Uid,
        /// The requester id that it uses.
        requester: u16,
    },
}

/// Tells devices with the same hardware id apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uid {
    /// There is none.
    None,
    /// A number.
    Number(u64),
    /// Text; bytes that are not printable are escaped.
    Text(String),
}

impl IvhdEntry {
    /// Whether both claim a requester id. Special and ACPI devices only say which id theirs is.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let range = |entry: &Self| match entry.target {
            IvhdTarget::All => Some((0, u16::MAX)),
            IvhdTarget::Range { first, last, .. } => Some((first, last)),
            _ => None,
        };
        match (range(self), range(other)) {
            (Some(a), Some(b)) => a.0 <= b.1 && b.0 <= a.1,
            _ => false,
        }
    }
}

/// Bytes of an entry whose length its type tells (48882, section 5.2, IVHD device entries).
const fn fixed_length(kind: u8) -> usize {
    4 << (kind >> 6)
}

/// A range that was begun.
struct Begun {
    offset: usize,
    first: u16,
    settings: u8,
    alias: Option<u16>,
    extended: Option<u32>,
}

/// The entries between `offset` and `end`.
pub(super) fn parse(table: &Table<'_>, mut offset: usize, end: usize) -> Result<Vec<IvhdEntry>, Error> {
    let within = table.until(end);
    let mut entries = Vec::new();
    let mut begun: Option<Begun> = None;
    while offset < end {
        if entries.len() == MAX_ENTRIES {
            return Err(table.error(offset, Fault::TooMany { most: MAX_ENTRIES }));
        }
        let first: wire::Entry4 = within.read(offset)?;
        let mut length = fixed_length(first.kind);
        if first.kind == entry_type::ACPI {
            let acpi: wire::EntryAcpi = within.read(offset)?;
            length = size_of::<wire::EntryAcpi>() + usize::from(acpi.uid_length);
        }
        let next = within.end_of(offset, length, size_of::<wire::Entry4>())?;
        let (device, settings) = (first.device.get(), first.settings);
        let eight = || within.read::<wire::Entry8>(offset);
        let extended = || {
            let [_, _, _, _, data @ ..]: [u8; 8] = within.read(offset)?;
            Ok::<_, Error>(u32::from_le_bytes(data))
        };
        let start = |alias, extended| Begun {
            offset,
            first: device,
            settings,
            alias,
            extended,
        };
        let single = |alias, extended| IvhdTarget::Range {
            first: device,
            last: device,
            alias,
            extended,
        };
        // Nothing but its end, and padding, may follow the start of a range.
        let open = begun.is_some() && !matches!(first.kind, entry_type::END | entry_type::PADDING);
        if let Some(range) = begun.as_ref().filter(|_| open) {
            return Err(table.error(range.offset, Fault::NoEnd));
        }
        let target = match first.kind {
            entry_type::ALL => IvhdTarget::All,
            entry_type::SELECT => single(None, None),
            entry_type::ALIAS_SELECT => single(Some(eight()?.other.get()), None),
            entry_type::EXTENDED_SELECT => single(None, Some(extended()?)),
            entry_type::START | entry_type::ALIAS_START | entry_type::EXTENDED_START => {
                begun = Some(match first.kind {
                    entry_type::START => start(None, None),
                    entry_type::ALIAS_START => start(Some(eight()?.other.get()), None),
                    _ => start(None, Some(extended()?)),
                });
                offset = next;
                continue;
            }
            entry_type::END => {
                let range = begun.take().ok_or(table.error(offset, Fault::NoStart))?;
                if device < range.first {
                    let fault = Fault::EmptyRange {
                        start: range.first.into(),
                        end: device.into(),
                    };
                    return Err(table.error(range.offset, fault));
                }
                entries.push(IvhdEntry {
                    target: IvhdTarget::Range {
                        first: range.first,
                        last: device,
                        alias: range.alias,
                        extended: range.extended,
                    },
                    settings: range.settings,
                });
                offset = next;
                continue;
            }
            entry_type::SPECIAL => special_device(&eight()?),
            entry_type::ACPI => acpi_device(&within, offset, next)?,
            // Padding, and what Cohort does not know: its type tells its length.
            _ => {
                offset = next;
                continue;
            }
        };
        entries.push(IvhdEntry { target, settings });
        offset = next;
    }
    match begun {
        Some(range) => Err(table.error(range.offset, Fault::NoEnd)),
        None => Ok(entries),
    }
}

fn special_device(entry: &wire::Entry8) -> IvhdTarget {
    let requester = entry.other.get();
    match entry.variety {
        special::IOAPIC => IvhdTarget::IoApic {
            id: entry.handle,
            requester,
        },
        special::HPET => IvhdTarget::Hpet {
            number: entry.handle,
            requester,
        },
        variety => IvhdTarget::OtherSpecial {
            variety,
            handle: entry.handle,
            requester,
        },
    }
}

fn acpi_device(table: &Table<'_>, offset: usize, end: usize) -> Result<IvhdTarget, Error> {
    let entry: wire::EntryAcpi = table.read(offset)?;
    let uid_at = offset + size_of::<wire::EntryAcpi>();
    let bytes = table.bytes.get(uid_at..end).unwrap_or_default();
    let uid = match entry.uid_format {
        uid_format::NONE => Uid::None,
        uid_format::NUMBER => match bytes.try_into() {
            Ok(number) => Uid::Number(u64::from_le_bytes(number)),
            Err(_) => {
                let fault = Fault::Length {
                    found: bytes.len(),
                    least: 8,
                    most: 8,
                };
                return Err(table.error(uid_at, fault));
            }
        },
        // A format that is not known is shown as its bytes.
        _ => Uid::Text(text(bytes)),
    };
    Ok(IvhdTarget::Acpi {
        hid: text(&entry.hid),
        cid: text(&entry.cid),
        uid,
        requester: entry.first.device.get(),
    })
}

/// Text up to its first zero.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    alloc::format!("{}", text.escape_ascii())
}
