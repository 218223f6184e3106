//! The guest's PCI bus 0: which slot an assigned function has, and accesses to its configuration space and its
//! trapped registers.

use super::bars::{self, BarWindowFull};
use super::config_space::config_space;
use super::layout::MemoryRegion;
use super::msix::{TrappedRange, route, split};
use super::{DeviceBackend, Messages, NoRoute, Source};
use crate::addr::HostPhys;
use crate::pci::{ConfigAccess, Function, TableLocation, Width};
use alloc::vec::Vec;
use vfio_core::device::AccessError;
use vfio_core::pci::Bdf;
use vfio_core::pci::irq::{MsiVectors, MsixTable, VectorAction};
use vfio_core::pci::vconfig::{ConfigError, Effect, VirtualConfig};

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

#[derive(Debug)]
struct VirtualFunction {
    /// Slot in bits 7:3, function in bits 2:0.
    devfn: u8,
    config: VirtualConfig,
    msix: Option<MsixTable>,
    msi: MsiVectors,
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
    cpus: u8,
}

/// Where a function is for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// In the host.
    pub physical: Bdf,
    /// In the guest.
    pub guest: Bdf,
}

/// A bus with what has to be mapped and what traps.
#[derive(Debug)]
pub(super) struct BusPlan {
    pub(super) bus: PciBus,
    pub(super) direct: Vec<MemoryRegion>,
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
                cpus,
            },
            direct: Vec::new(),
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
            for bar in &bars {
                let split = split(bar, function.msix.as_ref());
                plan.direct.extend(split.direct);
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
            plan.bus.functions.push(VirtualFunction {
                devfn,
                config: config_space(config, function, &bars, devfn, siblings > 1),
                msix: function.msix.map(|msix| MsixTable::new(msix.vectors)),
                msi: MsiVectors::default(),
            });
        }
        Ok(plan)
    }

    /// Where each function is, for messages.
    pub(super) fn placements(&self) -> impl Iterator<Item = Placement> {
        self.functions.iter().map(|function| Placement {
            physical: function.config.bdf(),
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
        let nothing = u32::MAX >> (32 - 8 * u32::from(bytes));
        let Some(function) = self.at(offset).and_then(|at| self.functions.get(at)) else {
            return Ok(nothing);
        };
        match function.config.read(config, (offset & 0xfff) as u16, width) {
            Ok(value) => Ok(value),
            // Beyond what a conventional function has, as on the bus.
            Err(ConfigError::Outside { .. }) => Ok(nothing),
            Err(ConfigError::Unaligned { .. }) => Err(Refused),
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
        let cpus = self.cpus;
        let Some(function) = self.at(offset).and_then(|at| self.functions.get_mut(at)) else {
            return Ok(());
        };
        let effects = match function
            .config
            .write(backend.config(), (offset & 0xfff) as u16, width, value)
        {
            Ok(effects) => effects,
            Err(ConfigError::Outside { .. }) => return Ok(()),
            Err(ConfigError::Unaligned { .. }) => return Err(Refused),
        };
        let mut result = Ok(());
        for effect in effects {
            if carry_out(backend, function, cpus, effect).is_err() {
                result = Err(Refused);
            }
        }
        result
    }

    /// Takes every route back, as when a function is reset.
    pub(super) fn release(&mut self, backend: &mut impl DeviceBackend) {
        for function in &mut self.functions {
            let (physical, cpus) = (function.config.bdf(), self.cpus);
            // Taking back cannot be refused.
            if let Some(table) = &mut function.msix {
                let _ = act(backend, physical, Messages::MsiX, cpus, |act| table.reset(act));
                backend.enable(physical, Messages::MsiX, false);
            }
            if function.config.msi().is_some() {
                let _ = act(backend, physical, Messages::Msi, cpus, |act| {
                    function.msi.reset(act)
                });
                backend.enable(physical, Messages::Msi, false);
            }
        }
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
        let table = self
            .functions
            .get(trapped.function)
            .and_then(|function| function.msix.as_ref());
        match (inside(trapped.range.table, offset), table) {
            (Some(at), Some(table)) => Ok(table.read(at, bytes)?),
            _ => Ok(backend.mmio_read(HostPhys(trapped.range.hpa.0 + offset), bytes)),
        }
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
        let function = self.functions.get_mut(trapped.function);
        match (inside(trapped.range.table, offset), function) {
            (Some(at), Some(function)) => {
                let physical = function.config.bdf();
                let Some(table) = &mut function.msix else {
                    return Ok(());
                };
                let mut written = Ok(());
                let routed = act(backend, physical, Messages::MsiX, self.cpus, |act| {
                    written = table.write(at, bytes, value, act);
                });
                written?;
                routed
            }
            _ if inside(trapped.range.pending, offset).is_some() => Ok(()),
            _ => {
                backend.mmio_write(HostPhys(trapped.range.hpa.0 + offset), bytes, value);
                Ok(())
            }
        }
    }

    fn at(&self, offset: u64) -> Option<usize> {
        let devfn = (offset >> 12) as u8;
        self.functions.iter().position(|function| function.devfn == devfn)
    }
}

/// Carries out what a write to configuration space asks for.
fn carry_out(
    backend: &mut impl DeviceBackend,
    function: &mut VirtualFunction,
    cpus: u8,
    effect: Effect,
) -> Result<(), Refused> {
    let physical = function.config.bdf();
    match effect {
        Effect::Msix { enabled, masked } => {
            let Some(table) = &mut function.msix else {
                return Ok(());
            };
            if enabled {
                backend.enable(physical, Messages::MsiX, true);
            }
            let routed = act(backend, physical, Messages::MsiX, cpus, |act| {
                table.control(enabled, masked, act);
            });
            if !enabled {
                backend.enable(physical, Messages::MsiX, false);
            }
            routed
        }
        Effect::Msi(registers) => {
            let routed = act(backend, physical, Messages::Msi, cpus, |act| {
                function.msi.update(registers, act);
            });
            if !registers.enabled {
                backend.enable(physical, Messages::Msi, false);
            }
            routed
        }
        Effect::Restored => {
            log::warn!("{physical} was reset behind the hypervisor's back; its BARs are restored");
            Ok(())
        }
        Effect::Gone => {
            log::warn!("{physical} does not respond any more");
            Ok(())
        }
        // The hardware has it already; mappings stay, and read as ones while nothing decodes.
        Effect::Decode { .. } | Effect::BusMaster(_) => Ok(()),
        // Not offered.
        Effect::LineDisabled(_)
        | Effect::BarMoved { .. }
        | Effect::Power(_)
        | Effect::Reset
        | Effect::Vpd(_) => Ok(()),
    }
}

/// Carries out what a model of interrupts asks for, and remembers whether a route could not be made.
fn act(
    backend: &mut impl DeviceBackend,
    physical: Bdf,
    kind: Messages,
    cpus: u8,
    change: impl FnOnce(&mut dyn FnMut(VectorAction)),
) -> Result<(), Refused> {
    let mut result = Ok(());
    change(&mut |action| match action {
        VectorAction::Connect { vector, message } => {
            let source = Source { kind, vector };
            match route(message, cpus) {
                None => backend.unroute(physical, source),
                Some(route) => {
                    if let Err(NoRoute) = backend.route(physical, source, route) {
                        result = Err(Refused);
                    }
                }
            }
        }
        VectorAction::Disconnect { vector } => backend.unroute(physical, Source { kind, vector }),
        // Only for signals that the model kept; here the hardware keeps its own while it is masked.
        VectorAction::Deliver { .. } => {}
    });
    result
}

fn inside(location: Option<TableLocation>, offset: u64) -> Option<u32> {
    let location = location?;
    let at = u32::try_from(offset).ok()?.checked_sub(location.offset)?;
    (at < location.length).then_some(at)
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
