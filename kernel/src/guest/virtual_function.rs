//! One assigned function as its guest meets it: configuration space, interrupts, which of its BARs answer, and what the guest's
//! writes ask for.
//!
//! As on hardware, BARs answer in D0 with memory decoding on, and read as ones otherwise: their pages are mapped only then.

use super::layout::MemoryRegion;
use super::msix::{TrappedRange, route};
use super::pci_bus::Refused;
use super::{DeviceBackend, Messages, NoRoute, Source};
use crate::addr::HostPhys;
use crate::pci::{ConfigAccess, TableLocation, Width};
use alloc::vec::Vec;
use vfio_core::pci::Bdf;
use vfio_core::pci::device::PowerState;
use vfio_core::pci::irq::{MsiVectors, MsixTable, VectorAction};
use vfio_core::pci::spec::header;
use vfio_core::pci::vconfig::{ConfigError, Effect, VirtualConfig};

/// One function of a guest.
#[derive(Debug)]
pub(super) struct VirtualFunction {
    /// Slot in bits 7:3, function in bits 2:0.
    pub(super) devfn: u8,
    config: VirtualConfig,
    msix: Option<MsixTable>,
    msi: MsiVectors,
    /// Whole pages of its BARs that need no trap.
    direct: Vec<MemoryRegion>,
    /// Whether these are mapped.
    mapped: bool,
    /// It is in D0.
    awake: bool,
    /// The guest's vCPUs, which interrupts can go to.
    cpus: u8,
}

impl VirtualFunction {
    /// A function whose BARs are mapped nowhere yet; see [`show`](Self::show).
    pub(super) fn new(
        devfn: u8,
        config: VirtualConfig,
        vectors: Option<u16>,
        direct: Vec<MemoryRegion>,
        cpus: u8,
    ) -> Self {
        Self {
            devfn,
            config,
            msix: vectors.map(MsixTable::new),
            msi: MsiVectors::default(),
            direct,
            mapped: false,
            awake: true,
            cpus,
        }
    }

    /// Its address in the host.
    pub(super) const fn physical(&self) -> Bdf {
        self.config.bdf()
    }

    /// Pages of its BARs that are mapped while it answers.
    pub(super) fn direct(&self) -> &[MemoryRegion] {
        &self.direct
    }

    /// Whether its BARs answer the guest.
    fn answers(&self) -> bool {
        self.awake && self.config.decode().0
    }

    /// Maps its pages if they are to answer and are not mapped.
    pub(super) fn show(&mut self, backend: &mut impl DeviceBackend) {
        if self.answers() && !self.mapped {
            self.direct.iter().for_each(|region| backend.map(*region));
            self.mapped = true;
        }
    }

    fn hide(&mut self, backend: &mut impl DeviceBackend) {
        if self.mapped {
            self.direct.iter().for_each(|region| backend.unmap(*region));
            self.mapped = false;
        }
    }

    /// Reads configuration space.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn config_read(
        &self,
        config: &dyn ConfigAccess,
        offset: u16,
        width: Width,
    ) -> Result<u32, Refused> {
        match self.config.read(config, offset, width) {
            Ok(value) => Ok(value),
            // Beyond what a conventional function has, as on the bus.
            Err(ConfigError::Outside { .. }) => Ok(u32::MAX >> (32 - 8 * u32::from(width.bytes()))),
            Err(ConfigError::Unaligned { .. }) => Err(Refused),
        }
    }

    /// Writes configuration space, and carries out what that asks for.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn config_write(
        &mut self,
        backend: &mut impl DeviceBackend,
        offset: u16,
        width: Width,
        value: u32,
    ) -> Result<(), Refused> {
        if self.config.turns_memory_off(offset, width, value) {
            self.hide(backend);
        }
        let effects = match self.config.write(backend.config(), offset, width, value) {
            Ok(effects) => effects,
            Err(ConfigError::Outside { .. }) => return Ok(()),
            Err(ConfigError::Unaligned { .. }) => return Err(Refused),
        };
        let mut result = Ok(());
        for effect in effects {
            if self.carry_out(backend, effect).is_err() {
                result = Err(Refused);
            }
        }
        result
    }

    /// Reads `bytes` at `offset` of `range`, which is aligned and inside.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn trapped_read(
        &self,
        backend: &mut impl DeviceBackend,
        range: &TrappedRange,
        offset: u64,
        bytes: u8,
    ) -> Result<u64, Refused> {
        if !self.answers() {
            return Ok(u64::MAX >> (64 - 8 * u32::from(bytes)));
        }
        match (inside(range.table, offset), &self.msix) {
            (Some(at), Some(table)) => Ok(table.read(at, bytes)?),
            _ => Ok(backend.mmio_read(HostPhys(range.hpa.0 + offset), bytes)),
        }
    }

    /// Writes `bytes` at `offset` of `range`, which is aligned and inside.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn trapped_write(
        &mut self,
        backend: &mut impl DeviceBackend,
        range: &TrappedRange,
        offset: u64,
        bytes: u8,
        value: u64,
    ) -> Result<(), Refused> {
        if !self.answers() {
            return Ok(());
        }
        let (physical, cpus) = (self.physical(), self.cpus);
        match (inside(range.table, offset), &mut self.msix) {
            (Some(at), Some(table)) => {
                let mut written = Ok(());
                let routed = act(backend, physical, Messages::MsiX, cpus, |act| {
                    written = table.write(at, bytes, value, act);
                });
                written?;
                routed
            }
            (Some(_), None) => Ok(()),
            _ if inside(range.pending, offset).is_some() => Ok(()),
            _ => {
                backend.mmio_write(HostPhys(range.hpa.0 + offset), bytes, value);
                Ok(())
            }
        }
    }

    /// Takes every route back, and forgets what the guest programmed: the function is reset, or its guest has ended.
    pub(super) fn release(&mut self, backend: &mut impl DeviceBackend) {
        let (physical, cpus) = (self.physical(), self.cpus);
        // Taking back cannot be refused.
        if let Some(table) = &mut self.msix {
            let _ = act(backend, physical, Messages::MsiX, cpus, |act| table.reset(act));
            backend.enable(physical, Messages::MsiX, false);
        }
        if self.config.msi().is_some() {
            let msi = &mut self.msi;
            let _ = act(backend, physical, Messages::Msi, cpus, |act| msi.reset(act));
            backend.enable(physical, Messages::Msi, false);
        }
    }

    /// Carries out what a write to configuration space asks for.
    fn carry_out(&mut self, backend: &mut impl DeviceBackend, effect: Effect) -> Result<(), Refused> {
        let physical = self.physical();
        match effect {
            // What a sleeping function is to send is looked at when it wakes up.
            Effect::Msix { .. } | Effect::Msi(_) if !self.awake => Ok(()),
            Effect::Msix { enabled, masked } => self.route_msix(backend, enabled, masked),
            Effect::Msi(_) => self.route_msi(backend),
            Effect::Decode { .. } => {
                self.show(backend);
                Ok(())
            }
            Effect::Reset => {
                self.reset(backend);
                Ok(())
            }
            Effect::Power(state) => self.set_power_state(backend, state),
            Effect::Restored => {
                log::warn!("{physical} was reset behind the hypervisor's back; its BARs are restored");
                self.silence(backend);
                if let Err(fault) = backend.restore(physical) {
                    log::warn!("the interrupts of {physical} cannot be restored: {fault}");
                    return Ok(());
                }
                self.resume(backend)
            }
            Effect::Gone => {
                log::warn!("{physical} does not respond any more");
                Ok(())
            }
            // The hardware has it already.
            Effect::BusMaster(_) => Ok(()),
            // Not offered.
            Effect::LineDisabled(_) | Effect::BarMoved { .. } | Effect::Vpd(_) => Ok(()),
        }
    }

    fn route_msix(
        &mut self,
        backend: &mut impl DeviceBackend,
        enabled: bool,
        masked: bool,
    ) -> Result<(), Refused> {
        let (physical, cpus) = (self.physical(), self.cpus);
        let Some(table) = &mut self.msix else {
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

    fn route_msi(&mut self, backend: &mut impl DeviceBackend) -> Result<(), Refused> {
        let (physical, cpus) = (self.physical(), self.cpus);
        let Some(registers) = self.config.msi() else {
            return Ok(());
        };
        let msi = &mut self.msi;
        let routed = act(backend, physical, Messages::Msi, cpus, |act| {
            msi.update(registers, act);
        });
        if !registers.enabled {
            backend.enable(physical, Messages::Msi, false);
        }
        routed
    }

    /// Takes every route back; what the guest programmed stays.
    fn silence(&mut self, backend: &mut impl DeviceBackend) {
        let (physical, cpus) = (self.physical(), self.cpus);
        // Taking back cannot be refused.
        if let Some(table) = &mut self.msix {
            let _ = act(backend, physical, Messages::MsiX, cpus, |act| {
                table.control(false, false, act);
            });
        }
        let msi = &mut self.msi;
        let _ = act(backend, physical, Messages::Msi, cpus, |act| msi.reset(act));
    }

    /// Routes what the guest has programmed.
    fn resume(&mut self, backend: &mut impl DeviceBackend) -> Result<(), Refused> {
        let msix = match self.config.msix() {
            Some((true, masked)) => self.route_msix(backend, true, masked),
            _ => Ok(()),
        };
        msix.and(match self.config.msi() {
            Some(registers) if registers.enabled => self.route_msi(backend),
            _ => Ok(()),
        })
    }

    /// Function level reset. One that fails leaves the guest with a function that answers as far as it does.
    fn reset(&mut self, backend: &mut impl DeviceBackend) {
        let physical = self.physical();
        self.hide(backend);
        self.release(backend);
        match backend.reset(physical) {
            Ok(()) => log::info!("{physical} was reset by its guest"),
            Err(fault) => log::warn!("the reset of {physical} that its guest asked for failed: {fault}"),
        }
        self.start_anew(backend);
    }

    /// As the guest finds it after a reset: nothing decodes, the hardware included; BARs are where they were.
    fn start_anew(&mut self, backend: &mut impl DeviceBackend) {
        self.awake = true;
        self.config.reset();
        let gone = |effects: &[Effect]| effects.contains(&Effect::Gone);
        let written = self
            .config
            .write(backend.config(), header::COMMAND, Width::Word, 0);
        if written.is_ok_and(|effects| gone(&effects)) {
            log::warn!("{} does not respond any more", self.physical());
        }
    }

    fn set_power_state(
        &mut self,
        backend: &mut impl DeviceBackend,
        state: PowerState,
    ) -> Result<(), Refused> {
        let physical = self.physical();
        self.hide(backend);
        self.silence(backend);
        match backend.set_power_state(physical, state) {
            Ok(true) => {
                self.release(backend);
                self.start_anew(backend);
            }
            Ok(false) => {
                self.config.set_power_state(state);
                self.awake = state == PowerState::D0;
            }
            // The guest reads that it did not work.
            Err(fault) => log::warn!("{physical} does not go to {state:?}: {fault}"),
        }
        if !self.awake {
            return Ok(());
        }
        self.show(backend);
        self.resume(backend)
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
