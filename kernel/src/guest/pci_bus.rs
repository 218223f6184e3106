//! The guest's PCI bus 0: which slot an assigned function has, and accesses to its configuration space and its
//! trapped registers.

use super::DeviceBackend;
use super::bars::{self, BarWindowFull};
use super::config_space::config_space;
use super::msix::{TrappedRange, split};
use super::virtual_function::VirtualFunction;
use crate::addr::GuestPhys;
use crate::pci::{ConfigAccess, Function, Width};
use alloc::vec::Vec;
use vfio_core::device::AccessError;
use vfio_core::pci::Bdf;

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

impl From<AccessError> for Refused {
    fn from(_: AccessError) -> Self {
        Self
    }
}

/// A trapped range of a BAR, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trapped {
    pub(super) function: usize,
    pub(super) range: TrappedRange,
}

/// The functions of a guest.
#[derive(Debug)]
pub(super) struct PciBus {
    functions: Vec<VirtualFunction>,
}

/// Where a function is for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// In the host.
    pub physical: Bdf,
    /// In the guest.
    pub guest: Bdf,
}

/// A bus, and what of it always traps.
#[derive(Debug)]
pub(super) struct BusPlan {
    pub(super) bus: PciBus,
    pub(super) trapped: Vec<Trapped>,
}

impl PciBus {
    /// Puts `functions` on a bus: functions of one host slot stay one slot, in order, from function 0 on.
    pub(super) fn plan(
        config: &dyn ConfigAccess,
        functions: &[&Function],
        cpus: u8,
    ) -> Result<BusPlan, BusError> {
        let mut functions = Vec::from(functions);
        functions.sort_by_key(|function| function.bdf);
        let assigned = bars::assign(&functions)?;
        let slot_of = |bdf: Bdf| (bdf.segment(), bdf.bus(), bdf.device());
        let mut plan = BusPlan {
            bus: Self {
                functions: Vec::new(),
            },
            trapped: Vec::new(),
        };
        let (mut slot, mut number, mut last) = (0u8, 0u8, None);
        for (at, (function, bars)) in functions.iter().zip(assigned).enumerate() {
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
            let mut direct = Vec::new();
            for bar in &bars {
                let split = split(bar, function.msix.as_ref());
                direct.extend(split.direct);
                plan.trapped.extend(
                    split
                        .trapped
                        .into_iter()
                        .map(|range| Trapped { function: at, range }),
                );
            }
            let siblings = functions
                .iter()
                .filter(|other| slot_of(other.bdf) == host)
                .count();
            let devfn = slot << 3 | number & 7;
            plan.bus.functions.push(VirtualFunction::new(
                devfn,
                config_space(config, function, &bars, devfn, siblings > 1),
                function.msix.map(|msix| msix.vectors),
                direct,
                cpus,
            ));
        }
        Ok(plan)
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
        &self,
        config: &dyn ConfigAccess,
        offset: u64,
        bytes: u8,
    ) -> Result<u32, Refused> {
        let width = width(offset, bytes)?;
        match self.at(offset).and_then(|at| self.functions.get(at)) {
            Some(function) => function.config_read(config, (offset & 0xfff) as u16, width),
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
        match self.at(offset).and_then(|at| self.functions.get_mut(at)) {
            Some(function) => function.config_write(backend, (offset & 0xfff) as u16, width, value),
            None => Ok(()),
        }
    }

    /// Maps what answers from the start.
    pub(super) fn show(&mut self, backend: &mut impl DeviceBackend) {
        self.functions
            .iter_mut()
            .for_each(|function| function.show(backend));
    }

    /// The pages that are mapped while they answer, by the page at `gpa`: where they do not, or could not be mapped, they trap.
    pub(super) fn unmapped(&self, gpa: GuestPhys) -> Option<Trapped> {
        self.functions.iter().enumerate().find_map(|(function, found)| {
            let mut regions = found.direct().iter();
            let region = regions.find(|region| gpa.0.wrapping_sub(region.gpa.0) < region.size)?;
            let range = TrappedRange {
                gpa: region.gpa,
                hpa: region.hpa,
                size: region.size,
                table: None,
                pending: None,
            };
            Some(Trapped { function, range })
        })
    }

    /// Takes every route back, as when a function is reset.
    pub(super) fn release(&mut self, backend: &mut impl DeviceBackend) {
        self.functions
            .iter_mut()
            .for_each(|function| function.release(backend));
    }

    /// Reads `bytes` at `offset` of a trapped range.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn trapped_read(
        &self,
        backend: &mut impl DeviceBackend,
        trapped: &Trapped,
        offset: u64,
        bytes: u8,
    ) -> Result<u64, Refused> {
        aligned(offset, bytes, trapped.range.size)?;
        let function = self.functions.get(trapped.function).ok_or(Refused)?;
        function.trapped_read(backend, &trapped.range, offset, bytes)
    }

    /// Writes `bytes` at `offset` of a trapped range.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn trapped_write(
        &mut self,
        backend: &mut impl DeviceBackend,
        trapped: &Trapped,
        offset: u64,
        bytes: u8,
        value: u64,
    ) -> Result<(), Refused> {
        aligned(offset, bytes, trapped.range.size)?;
        let function = self.functions.get_mut(trapped.function).ok_or(Refused)?;
        function.trapped_write(backend, &trapped.range, offset, bytes, value)
    }

    fn at(&self, offset: u64) -> Option<usize> {
        let devfn = (offset >> 12) as u8;
        self.functions.iter().position(|function| function.devfn == devfn)
    }
}

fn aligned(offset: u64, bytes: u8, size: u64) -> Result<(), Refused> {
    let fits = offset.checked_add(bytes.into()).is_some_and(|end| end <= size);
    (fits && offset.is_multiple_of(bytes.into()))
        .then_some(())
        .ok_or(Refused)
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
