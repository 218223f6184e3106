//! What a write to configuration space means beyond bits, carried out in the order in which it is said.

use super::mmio::{BarWidth, number};
use super::{BarAccess, PciDevice};
use crate::clock::MILLISECOND;
use crate::device::AccessError;
use crate::fault::Fault;
use crate::pci::config::{Registers, Width};
use crate::pci::device::Exposure;
use crate::pci::irq::IrqBackend;
use crate::pci::reset::Host;
use crate::pci::spec::capability;
use crate::pci::vconfig::{ConfigError, Effect, VpdAccess};

/// How long a function may take for four bytes of vital product data.
const VPD_TIME: u64 = 125;
/// Bit of the address register: a read is done.
const VPD_DONE: u16 = 1 << 15;

impl From<ConfigError> for AccessError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Outside { offset, size } => Self::Outside {
                offset,
                size: size.into(),
            },
            ConfigError::Unaligned { offset, width } => Self::Shape {
                offset: offset.into(),
                len: width.into(),
            },
        }
    }
}

impl<H: Host, M: BarAccess, E: Exposure, B: IrqBackend> PciDevice<'_, H, M, E, B> {
    /// Writes configuration space, in aligned pieces, each with what it means. Mappings are gone before memory is turned
    /// off, and there again as soon as it is on.
    pub(super) fn write_config(&mut self, offset: u64, data: &[u8]) -> Result<(), AccessError> {
        let size = u64::from(self.config.size());
        let outside = AccessError::Outside { offset, size };
        let end = u64::try_from(data.len())
            .ok()
            .and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > size) {
            return Err(outside);
        }
        let mut result = Ok(());
        let mut at = u16::try_from(offset).map_err(|_| outside)?;
        let mut rest = data;
        while !rest.is_empty() {
            let width = BarWidth::at(at.into(), rest.len(), BarWidth::Dword);
            let (now, later) = rest.split_at_checked(width.bytes().into()).unwrap_or_default();
            let value = number(now) as u32;
            result = result.and(self.write_register(at, width.config(), value));
            at = at.saturating_add(width.bytes().into());
            rest = later;
        }
        result
    }

    /// One register. If the mappings cannot be taken away, it is not written. What else fails does not keep the rest from
    /// being done.
    pub(super) fn write_register(&mut self, at: u16, width: Width, value: u32) -> Result<(), AccessError> {
        if self.config.turns_memory_off(at, width, value) {
            self.hide()?;
        }
        let effects = self.config.write(self.machine.host, at, width, value)?;
        let mut result = Ok(());
        for effect in effects {
            result = result.and(self.carry_out(effect));
        }
        self.show();
        result
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), AccessError> {
        match effect {
            // The hardware was told, and mappings follow after the last effect.
            Effect::Decode { .. } | Effect::BusMaster(_) => Ok(()),
            Effect::LineDisabled(disabled) => {
                let (irqs, mut wired) = self.wired();
                irqs.line_disabled(disabled, &mut wired);
                Ok(())
            }
            // Where it was mapped, it is no more.
            Effect::BarMoved { .. } => Ok(self.hide()?),
            Effect::Power(state) => Ok(self.set_power(state)?),
            Effect::Reset => Ok(self.reset_function()?),
            Effect::Msi(registers) => self.msi_changed(registers),
            Effect::Msix { enabled, masked } => self.msix_changed(enabled, masked),
            Effect::Vpd(access) => {
                if let Some(data) = self.read_vpd(access) {
                    self.config.vpd_done(access, data);
                }
                Ok(())
            }
            Effect::Restored => self.program_again(),
            Effect::Gone => Err(Fault::Gone.into()),
        }
    }

    /// Looks whether the function was reset behind our back, by its owner through a register of its own or by firmware, and puts
    /// it back to work if so. A write that turns memory on looks by itself; a hypervisor may look whenever it pleases.
    /// Whether there was something to put back.
    ///
    /// # Errors
    /// The function does not answer, or its interrupts could not be set up again.
    pub fn check_reset(&mut self) -> Result<bool, Fault> {
        match self.config.check_reset(self.machine.host) {
            None => Ok(false),
            Some(Effect::Gone) => Err(Fault::Gone),
            Some(_) => match self.program_again() {
                Err(AccessError::Fault(fault)) => Err(fault),
                Err(_) => Err(Fault::Rejected),
                Ok(()) => Ok(true),
            },
        }
    }

    /// Reads vital product data. A write is not done: it would change the function for its next owner as well.
    fn read_vpd(&self, access: VpdAccess) -> Option<u32> {
        let at = self
            .function
            .capability(capability::VPD)
            .filter(|_| access.write.is_none())?;
        let registers = Registers::new(self.machine.host, self.function.bdf);
        registers.set_u16(at + 2, access.address);
        for _ in 0..VPD_TIME {
            let address = registers.u16(at + 2);
            if address == u16::MAX {
                return None;
            }
            if address & VPD_DONE != 0 {
                return Some(registers.u32(at + 4));
            }
            self.machine.host.wait(MILLISECOND);
        }
        None
    }
}
