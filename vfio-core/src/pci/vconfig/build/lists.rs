//! The lists of capabilities: which are shown, how far, and what points to what.

use super::super::row::{Bits, Layout, Length, row};
use super::super::{length, table};
use super::{Builder, CONVENTIONAL, EXPRESS, Offer};
use crate::pci::config::ConfigAccess;
use crate::pci::spec::{STATUS_CAPABILITIES, capability, extended, header};
use alloc::vec::Vec;

impl<C: ConfigAccess + ?Sized> Builder<'_, C> {
    pub(super) fn capabilities(&mut self) {
        let function = self.function;
        let valid = |at: u16| (header::END..CONVENTIONAL).contains(&at) && at.is_multiple_of(4);
        let found: Vec<(u16, u16)> = function
            .capabilities
            .iter()
            .filter(|found| valid(found.offset))
            .map(|found| (found.id.into(), found.offset))
            .collect();
        let mut link = None;
        for (index, &(id, at)) in found.iter().enumerate() {
            let hidden = self.options.hide.iter().any(|hide| u16::from(*hide) == id);
            // Which of two the device means would be a guess: the first, as discovery has it.
            let before = &found[..index];
            let again = before.iter().any(|(_, place)| *place == at) || self.is_second(id, at, before);
            let end = room_end(&found, at, CONVENTIONAL);
            let shown = !hidden && !again && self.capability(table::STANDARD, id, at, end - at);
            if shown {
                self.fix(at, 0xffff, id.into());
                match link {
                    None => self.fix(header::CAPABILITIES, 0xff, at.into()),
                    Some(before) => self.fix(before, 0xff00, u32::from(at) << 8),
                }
                link = Some(at);
            }
        }
        if link.is_some() {
            self.fix(
                header::STATUS,
                STATUS_CAPABILITIES.into(),
                STATUS_CAPABILITIES.into(),
            );
        }
    }

    /// Whether a capability that there can be only one of is another than the one that discovery decoded.
    pub(super) fn is_second(&self, id: u16, at: u16, before: &[(u16, u16)]) -> bool {
        let function = self.function;
        let decoded = match u8::try_from(id) {
            Ok(capability::MSI) => function.msi.map(|found| found.offset),
            Ok(capability::MSIX) => function.msix.map(|found| found.offset),
            Ok(capability::EXPRESS) => function.express.map(|found| found.offset),
            // Vendors and HyperTransport have as many as they like.
            Ok(capability::VENDOR | capability::HYPERTRANSPORT) => return false,
            _ => return before.iter().any(|(other, _)| *other == id),
        };
        decoded != Some(at)
    }

    pub(super) fn extended(&mut self) {
        if self.space.size < EXPRESS {
            return;
        }
        let valid = |at: u16| (extended::FIRST..EXPRESS).contains(&at) && at.is_multiple_of(4);
        let list: Vec<_> = self
            .function
            .extended
            .iter()
            .filter(|found| valid(found.offset))
            .collect();
        let found: Vec<(u16, u16)> = list.iter().map(|found| (found.id, found.offset)).collect();
        let mut link = None;
        for (index, one) in list.into_iter().enumerate() {
            let (id, at) = (one.id, one.offset);
            let repeats = matches!(id, extended::VENDOR | extended::DESIGNATED_VENDOR);
            let mut before = found[..index].iter();
            let again = before.any(|(other, place)| *place == at || *other == id && !repeats);
            let serial = id == extended::SERIAL && self.options.serial.is_none();
            let hidden = self.options.hide_extended.contains(&id) || serial;
            let end = room_end(&found, at, EXPRESS);
            let shown = !hidden && !again && self.capability(table::EXTENDED, id, at, end - at);
            if !shown {
                continue;
            }
            self.fix(at, 0xf_ffff, u32::from(one.version & 0xf) << 16 | u32::from(id));
            match link {
                // The list starts at 0x100, come what may: a header without a capability leads on.
                None if at != extended::FIRST => self.fix(extended::FIRST, u32::MAX, u32::from(at) << 20),
                None => {}
                Some(before) => self.fix(before, 0xfff0_0000, u32::from(at) << 20),
            }
            link = Some(at);
        }
    }

    /// Shows one capability with `room` bytes up to the next, header excepted. Whether it is shown.
    pub(super) fn capability(&mut self, table: &'static [Layout], id: u16, at: u16, room: u16) -> bool {
        let Some(layout) = Layout::of(table, id) else {
            return false;
        };
        if layout.length == Length::Msi && self.options.msi_vectors == 0 {
            return false;
        }
        let Some(bytes) = length::shown(layout.length, self.config, self.function, at, room) else {
            return false;
        };
        let standard = at < CONVENTIONAL;
        // What no row of the capability names is the hardware's; ids and pointers are not.
        let body = at + if standard { 2 } else { 4 };
        let mut offset = body;
        while offset < at + bytes {
            let end = (offset / 4 * 4 + 4).min(at + bytes);
            let mask = u32::MAX >> (32 - 8 * u32::from(end - offset));
            self.row(0, &row(offset, mask, Bits::Hardware));
            offset = end;
        }
        self.rows(at, bytes, layout.rows);
        for (offset, trap) in layout.traps.iter().filter(|(offset, _)| *offset < bytes) {
            self.trap(at + offset, *trap);
        }
        if standard {
            self.special(id as u8, at);
        } else if id == extended::SERIAL {
            let serial = self.options.serial.unwrap_or(0);
            self.fix(at + 4, u32::MAX, serial as u32);
            self.fix(at + 8, u32::MAX, (serial >> 32) as u32);
        }
        let vendor = matches!(layout.length, Length::Vendor | Length::VendorExtended);
        if vendor && self.options.offer.contains(Offer::VENDOR_WRITES) {
            // Behind the length byte, or behind the vendor's own header.
            let start = at + if standard { 4 } else { 8 };
            for offset in (start..at + bytes).step_by(4) {
                let bytes = (at + bytes - offset).min(4);
                self.row(
                    0,
                    &row(
                        offset,
                        u32::MAX >> (32 - 8 * u32::from(bytes)),
                        Bits::HardwareWritable,
                    ),
                );
            }
        }
        true
    }
}

/// Where the room of the capability at `at` ends: at the next one of the list, known or not.
fn room_end(found: &[(u16, u16)], at: u16, end: u16) -> u16 {
    let after = found.iter().map(|(_, start)| *start).filter(|start| *start > at);
    after.min().unwrap_or(end)
}
