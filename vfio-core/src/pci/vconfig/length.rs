//! How long a capability is. The device says so, and is believed only as far as there is room.

use super::row::Length;
use crate::pci::config::{ConfigAccess, Function, Registers};
use crate::pci::spec::{express, msi};
use crate::pci::{Bdf, PortKind};

/// HyperTransport: bits 7:5 of the upper command byte, then bits 7:3 (section 7.2).
const HT_SHORT_TYPE: u8 = 0xe0;
const HT_HOST: u8 = 0x20;
const HT_INTERRUPTS: u8 = 0x80;
const HT_MSI_MAPPING: u8 = 0xa8;

/// Bytes of a capability of `function` at `at` that are shown, `room` at most; `None` if it cannot be shown.
pub(super) fn shown<C: ConfigAccess + ?Sized>(
    length: Length,
    config: &C,
    function: &Function,
    at: u16,
    room: u16,
) -> Option<u16> {
    let (least, most) = bounds(length, config, function, at, room)?;
    (least <= room && least >= 4).then_some(most.min(room))
}

/// What must be there, and what there is at most.
fn bounds<C: ConfigAccess + ?Sized>(
    length: Length,
    config: &C,
    function: &Function,
    at: u16,
    room: u16,
) -> Option<(u16, u16)> {
    let read = |offset: u16, least: u16| (least <= room).then(|| dword(config, function.bdf, at + offset));
    let exactly = |length: u16| Some((length, length));
    match length {
        Length::Hidden => None,
        Length::Exactly(length) => exactly(length),
        Length::Range(least, most) => Some((least, most)),
        Length::Express => {
            let version = function.express.map_or(1, |found| found.version);
            // Devices with a short list of registers end before the link's, or before the slot's.
            let link = function.kind != PortKind::RootComplexEndpoint;
            Some(match (version, link) {
                (0 | 1, true) => (express::LINK_CAPABILITIES, express::SLOT_CONTROL - 4),
                (0 | 1, false) => (express::LINK_CAPABILITIES, express::LINK_CAPABILITIES),
                (_, true) => (express::LINK_CAPABILITIES, express::SIZE),
                (_, false) => (express::LINK_CAPABILITIES, 0x2c),
            })
        }
        Length::Msi => exactly(function.msi.filter(|found| found.offset == at)?.bytes()),
        Length::PciX => {
            // Bits 13:12 of the command register: the version; 1 and 2 have ECC.
            let version = read(0, 8)? >> 28 & 3;
            Some((8, if version == 0 { 8 } else { 24 }))
        }
        Length::HyperTransport => {
            let kind = (read(0, 4)? >> 24) as u8;
            Some(match (kind & HT_SHORT_TYPE, kind & 0xf8) {
                (0, _) => (4, 28),
                (HT_HOST, _) => (4, 24),
                (_, HT_INTERRUPTS) => (4, 8),
                // Bit 1 of the lower command byte: the address is fixed, and not there.
                (_, HT_MSI_MAPPING) if kind_is_fixed(read(0, 4)?) => (4, 4),
                (_, HT_MSI_MAPPING) => (4, 12),
                _ => (4, 4),
            })
        }
        Length::Vendor => Some((4, (read(0, 4)? >> 16) as u16 & 0xff)),
        Length::Sata => {
            // The low four bits of the second register: 15 says that index and data follow.
            let inline = read(4, 8)? & 0xf == 0xf;
            Some((8, if inline { 16 } else { 8 }))
        }
        Length::AccessControl => {
            let able = read(4, 8)?;
            let bits = match able >> 8 & 0xff {
                0 => 256,
                bits => bits as u16,
            };
            let vector = if able & 1 << 5 == 0 {
                0
            } else {
                bits.div_ceil(32) * 4
            };
            Some((8, 8 + vector))
        }
        Length::Channels => {
            let channels = (read(4, 16)? & 7) as u16 + 1;
            let arbitration = read(8, 16)?;
            // The widest arbitration that the function can do, half a byte each phase.
            let phases = match arbitration & 0xe {
                0 => 0,
                able if able & 8 != 0 => 128,
                able if able & 4 != 0 => 64,
                _ => 32,
            };
            let table = (arbitration >> 24) as u16 * 16;
            let end = if table == 0 || phases == 0 {
                0
            } else {
                table + phases / 2
            };
            Some((16, end.max(16 + channels * 12)))
        }
        Length::ResizableBar => Some((12, 4 + (read(8, 12)? >> 5 & 7) as u16 * 8)),
        Length::PowerAllocation => Some((16, 17 + (read(4, 16)? & 0x1f) as u16)),
        Length::Hints => {
            let able = read(4, 12)?;
            let here = able >> 9 & 3 == 1;
            Some((
                12,
                if here {
                    14 + (able >> 16 & 0x7ff) as u16 * 2
                } else {
                    12
                },
            ))
        }
        Length::VendorExtended => Some((8, (read(4, 8)? >> 20) as u16)),
    }
    .map(|(least, most)| (least, most.max(least)))
}

const fn kind_is_fixed(head: u32) -> bool {
    head & 1 << 17 != 0
}

fn dword<C: ConfigAccess + ?Sized>(config: &C, bdf: Bdf, offset: u16) -> u32 {
    Registers::new(config, bdf).u32(offset & !3)
}

/// Where in an MSI capability the data is, and the mask if there is one.
pub(super) const fn msi_data(found: &crate::pci::config::Msi) -> (u16, Option<u16>) {
    let data = msi::ADDRESS + if found.address_64 { 8 } else { 4 };
    (data, if found.maskable { Some(data + 4) } else { None })
}
