//! The guest's PCI bus 0: which slot an assigned function has, and accesses to its configuration space and its
//! trapped registers.

use super::DeviceBackend;
use super::bars::{self, BarWindowFull};
use super::config_space::open_function;
use super::layout::{BAR_WINDOW, BAR_WINDOW_END, HIGH_BAR_WINDOW, HIGH_BAR_WINDOW_END};
use super::virtual_function::{Access, VirtualFunction};
use crate::addr::GuestPhys;
use crate::pci::{ConfigAccess, Function, Width};
use alloc::vec::Vec;
use vfio_core::pci::Bdf;
use vfio_core::pci::assigned::AddressMap;

/// Slots for assigned devices: 1 to 31. Slot 0 is left empty, as where a host bridge would be.
pub const SLOTS: usize = 31;

/// Why the assigned functions do not make a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// More host slots than guest slots.
    #[error("the guest's devices are in more than {SLOTS} slots; assign fewer")]
    Slots,
    /// The BARs do not fit.
    #[error(transparent)]
    Bars(#[from] BarWindowFull),
}

/// The access is not one that the registers take: too wide, not aligned, or an interrupt that cannot be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// The functions of a guest.
#[derive(Debug)]
pub(super) struct PciBus {
    functions: Vec<VirtualFunction>,
    /// Which BAR answers where; functions by their place in `functions`.
    map: AddressMap,
}

/// Where a guest's interrupts can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wiring {
    /// vCPUs, with local APIC ids from 0 on.
    pub cpus: u8,
    /// It has an I/O APIC for INTx.
    pub lines: bool,
}

/// The INTx line of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The function on the guest's bus 0: slot in bits 7:3, function in bits 2:0.
    pub devfn: u8,
    /// 1 (INTA) to 4 (INTD).
    pub pin: u8,
}

/// Where a function is for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// In the host.
    pub physical: Bdf,
    /// In the guest.
    pub guest: Bdf,
}

impl PciBus {
    /// Puts `functions` on a bus: functions of one host slot stay one slot, in order, from function 0 on.
    pub(super) fn plan(
        config: &dyn ConfigAccess,
        functions: &[&Function],
        wiring: Wiring,
    ) -> Result<Self, BusError> {
        let mut functions = Vec::from(functions);
        functions.sort_by_key(|function| function.bdf);
        let assigned = bars::assign(&functions)?;
        let slot_of = |bdf: Bdf| (bdf.segment(), bdf.bus(), bdf.device());
        let mut bus = Self {
            functions: Vec::with_capacity(functions.len()),
            map: AddressMap::new(assigned.iter().map(Vec::len).sum()),
        };
        let (mut slot, mut number, mut last) = (0u8, 0u8, None);
        for (function, bars) in functions.iter().zip(assigned) {
            let host = slot_of(function.bdf);
            (slot, number) = if last == Some(host) {
                (slot, number + 1)
            } else {
                (slot + 1, 0)
            };
            last = Some(host);
            if usize::from(slot) > SLOTS {
                return Err(BusError::Slots);
            }
            let siblings = functions
                .iter()
                .filter(|other| slot_of(other.bdf) == host)
                .count();
            let devfn = slot << 3 | number & 7;
            let open = open_function(config, function, &bars, devfn, siblings > 1, wiring.lines);
            bus.functions
                .push(VirtualFunction::new(devfn, open, function, wiring.cpus));
        }
        Ok(bus)
    }

    /// Where each function is, for messages.
    pub(super) fn placements(&self) -> impl Iterator<Item = Placement> {
        self.functions.iter().map(|function| Placement {
            physical: function.physical(),
            guest: Bdf::from_devfn(0, 0, function.devfn),
        })
    }

    /// Reads configuration space at `offset` of the ECAM window.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn config_read(
        &mut self,
        backend: &mut impl DeviceBackend,
        offset: u64,
        bytes: u8,
    ) -> Result<u32, Refused> {
        let width = width(offset, bytes)?;
        match self.at(offset).and_then(|at| self.access(backend, at)) {
            Some(function) => function.config_read((offset & 0xfff) as u16, width),
            None => Ok(u32::MAX >> (32 - 8 * u32::from(bytes))),
        }
    }

    /// Writes configuration space at `offset` of the ECAM window.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn config_write(
        &mut self,
        backend: &mut impl DeviceBackend,
        offset: u64,
        bytes: u8,
        value: u32,
    ) -> Result<(), Refused> {
        let width = width(offset, bytes)?;
        let Some(mut function) = self.at(offset).and_then(|at| self.access(backend, at)) else {
            return Ok(());
        };
        if function.config_write((offset & 0xfff) as u16, width, value)? {
            self.show(backend);
        }
        Ok(())
    }

    /// Has all BARs answer that are to, and that nothing is in the way of.
    pub(super) fn show(&mut self, backend: &mut impl DeviceBackend) {
        for at in 0..self.functions.len() {
            if let Some(mut function) = self.access(backend, at) {
                function.show();
            }
        }
    }

    /// Takes every route back: the guest has ended.
    pub(super) fn release(&mut self, backend: &mut impl DeviceBackend) {
        for at in 0..self.functions.len() {
            if let Some(mut function) = self.access(backend, at) {
                function.release();
            }
        }
    }

    /// From now on lines that functions raise are seen.
    pub(super) fn listen(&mut self, backend: &mut impl DeviceBackend) {
        for at in 0..self.functions.len() {
            if let Some(mut function) = self.access(backend, at) {
                function.listen();
            }
        }
    }

    /// Looks at all lines that are not held back, and says which came since the last time.
    pub(super) fn poll_lines(&mut self, backend: &mut impl DeviceBackend, came: &mut dyn FnMut(Line)) {
        for at in 0..self.functions.len() {
            let waiting = |found: &VirtualFunction| found.awaits_line() || found.has_line_news();
            if !self.functions.get(at).is_some_and(waiting) {
                continue;
            }
            if let Some(mut function) = self.access(backend, at) {
                function.poll_line();
            }
            if let Some(line) = self.functions.get_mut(at).and_then(VirtualFunction::take_line) {
                came(line);
            }
        }
    }

    /// The guest has seen to the interrupt of the lines that are `concerned`. Those that are still raised come again.
    pub(super) fn end_of_interrupt(
        &mut self,
        backend: &mut impl DeviceBackend,
        concerned: &dyn Fn(Line) -> bool,
        came: &mut dyn FnMut(Line),
    ) {
        for at in 0..self.functions.len() {
            let line = self.functions.get(at).and_then(VirtualFunction::line);
            if !line.is_some_and(concerned) {
                continue;
            }
            if let Some(mut function) = self.access(backend, at) {
                function.unmask_line();
            }
            if let Some(line) = self.functions.get_mut(at).and_then(VirtualFunction::take_line) {
                came(line);
            }
        }
    }

    /// Whether BARs may be at `gpa`.
    pub(super) fn spans(&self, gpa: GuestPhys) -> bool {
        let low = (BAR_WINDOW..BAR_WINDOW_END).contains(&gpa.0);
        let high = (HIGH_BAR_WINDOW..HIGH_BAR_WINDOW_END).contains(&gpa.0);
        !self.functions.is_empty() && (low || high)
    }

    /// Reads `bytes` at `gpa` of a window for BARs. Where nothing answers the bus reads as ones.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn bar_read(
        &mut self,
        backend: &mut impl DeviceBackend,
        gpa: GuestPhys,
        bytes: u8,
    ) -> Result<u64, Refused> {
        aligned(gpa.0, bytes)?;
        let Some(answer) = self.map.find(gpa.0) else {
            return Ok(u64::MAX >> (64 - 8 * u32::from(bytes)));
        };
        let mut function = self.access(backend, answer.function).ok_or(Refused)?;
        function.bar_read(answer.bar, answer.offset, bytes)
    }

    /// Writes `bytes` at `gpa` of a window for BARs. Where nothing answers they are lost.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn bar_write(
        &mut self,
        backend: &mut impl DeviceBackend,
        gpa: GuestPhys,
        bytes: u8,
        value: u64,
    ) -> Result<(), Refused> {
        aligned(gpa.0, bytes)?;
        let Some(answer) = self.map.find(gpa.0) else {
            return Ok(());
        };
        let mut function = self.access(backend, answer.function).ok_or(Refused)?;
        function.bar_write(answer.bar, answer.offset, bytes, value)
    }

    fn access<'a, B: DeviceBackend>(&'a mut self, backend: &'a mut B, at: usize) -> Option<Access<'a, B>> {
        let function = self.functions.get_mut(at)?;
        Some(function.with(at, &mut self.map, backend))
    }

    fn at(&self, offset: u64) -> Option<usize> {
        let devfn = (offset >> 12) as u8;
        self.functions.iter().position(|function| function.devfn == devfn)
    }
}

fn aligned(gpa: u64, bytes: u8) -> Result<(), Refused> {
    gpa.is_multiple_of(bytes.into()).then_some(()).ok_or(Refused)
}

fn width(offset: u64, bytes: u8) -> Result<Width, Refused> {
    let width = match bytes {
        1 => Width::Byte,
        2 => Width::Word,
        4 => Width::Dword,
        _ => return Err(Refused),
    };
    offset
        .is_multiple_of(bytes.into())
        .then_some(width)
        .ok_or(Refused)
}

#[cfg(test)]
#[path = "pci_bus_tests.rs"]
mod tests;
