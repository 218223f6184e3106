//! Reads and writes of BARs and the ROM that trapped.

use super::mmio::{BarWidth, number};
use super::{Hardware, OpenFunction};
use crate::device::AccessError;
use crate::pci::config::{Bar, Registers, TableLocation};
use crate::pci::device::PowerState;
use crate::pci::region::index;
use crate::pci::spec::header;

/// Bit of the ROM's register: it answers.
const ROM_ENABLE: u32 = 1;

/// What lies at an offset of a BAR. Tables begin and end at multiples of 8, so that no access is in two.
enum Place {
    Device,
    Table(u32),
    Pending(u32),
}

impl OpenFunction {
    /// Reads a BAR or the ROM, in aligned pieces as wide as possible.
    pub(super) fn read_bar<H: Hardware>(
        &self,
        hardware: &mut H,
        region: u32,
        offset: u64,
        data: &mut [u8],
    ) -> Result<(), AccessError> {
        let bar = self.open_bar(region, offset, data.len())?;
        let rom = region == index::ROM;
        if rom {
            self.decode_rom(hardware, &bar, true);
        }
        let result = self.read_pieces(hardware, &bar, offset, data);
        if rom {
            self.decode_rom(hardware, &bar, false);
        }
        result
    }

    fn read_pieces<H: Hardware>(
        &self,
        hardware: &mut H,
        bar: &Bar,
        mut at: u64,
        data: &mut [u8],
    ) -> Result<(), AccessError> {
        let mut rest = data;
        while !rest.is_empty() {
            let width = BarWidth::at(at, rest.len(), widest(bar));
            let value = match (self.place(bar, at), &self.msix) {
                (Place::Table(offset), Some(table)) => table.read(offset, width.bytes())?,
                (Place::Pending(offset), Some(table)) => {
                    let model = table.read_pending(offset, width.bytes())?;
                    model | hardware.read_bar(bar, at, width)
                }
                _ => hardware.read_bar(bar, at, width),
            };
            let (now, later) = rest
                .split_at_mut_checked(width.bytes().into())
                .unwrap_or_default();
            now.iter_mut()
                .zip(value.to_le_bytes())
                .for_each(|(to, from)| *to = from);
            at = at.saturating_add(width.bytes().into());
            rest = later;
        }
        Ok(())
    }

    /// Writes a BAR, in aligned pieces as wide as possible. What the guest programs in the MSI-X table stays in the model;
    /// pending bits cannot be written.
    pub(super) fn write_bar<H: Hardware>(
        &mut self,
        hardware: &mut H,
        region: u32,
        offset: u64,
        data: &[u8],
    ) -> Result<(), AccessError> {
        let bar = self.open_bar(region, offset, data.len())?;
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let width = BarWidth::at(at, rest.len(), widest(&bar));
            let (now, later) = rest.split_at_checked(width.bytes().into()).unwrap_or_default();
            let value = number(now);
            match self.place(&bar, at) {
                Place::Table(offset) => self.write_table(hardware, offset, width.bytes(), value)?,
                Place::Pending(_) => {}
                Place::Device => hardware.write_bar(&bar, at, width, value),
            }
            at = at.saturating_add(width.bytes().into());
            rest = later;
        }
        Ok(())
    }

    /// The BAR of a region, if it answers and the access is inside.
    fn open_bar(&self, region: u32, offset: u64, len: usize) -> Result<Bar, AccessError> {
        let found = self.config.bars().iter().map(|bar| bar.host);
        let size = |bar: Option<&Bar>| bar.map_or(0, |bar| bar.size);
        let bar = found.into_iter().find(|bar| u32::from(bar.index) == region);
        let end = u64::try_from(len).ok().and_then(|len| offset.checked_add(len));
        let size = size(bar.as_ref());
        let outside = AccessError::Outside { offset, size };
        let bar = bar.ok_or(outside)?;
        if end.is_none_or(|end| end > size) {
            return Err(outside);
        }
        let (memory, io) = self.config.decode();
        let on = if bar.is_memory() { memory } else { io };
        if on && self.power == PowerState::D0 && bar.address != 0 {
            Ok(bar)
        } else {
            Err(AccessError::Off)
        }
    }

    fn place(&self, bar: &Bar, at: u64) -> Place {
        let Some(msix) = &self.tables else {
            return Place::Device;
        };
        let within = |location: TableLocation| {
            let offset = at.checked_sub(location.offset.into())?;
            let inside = bar.index == location.bar && offset < u64::from(location.length);
            u32::try_from(offset).ok().filter(|_| inside)
        };
        match (within(msix.table), within(msix.pending)) {
            (Some(offset), _) => Place::Table(offset),
            (None, Some(offset)) => Place::Pending(offset),
            (None, None) => Place::Device,
        }
    }

    /// Lets the ROM answer, or stops it: a device may have one decoder for the ROM and its BARs, so it is on for the read
    /// only (PCI Express 7.5.1.2.4). The register is written whole, since the owner's is virtual.
    fn decode_rom<H: Hardware>(&self, hardware: &H, rom: &Bar, on: bool) {
        let enable = if on { ROM_ENABLE } else { 0 };
        let registers = Registers::new(hardware.config(), self.config.bdf());
        registers.set_u32(header::ROM_ENDPOINT, rom.address as u32 | enable);
    }
}

const fn widest(bar: &Bar) -> BarWidth {
    if bar.is_memory() {
        BarWidth::Qword
    } else {
        BarWidth::Dword
    }
}
