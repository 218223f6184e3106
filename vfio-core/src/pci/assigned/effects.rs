//! What a write to configuration space means beyond bits, carried out in the order in which it is said.

use super::mmio::{BarWidth, number};
use super::{Hardware, OpenFunction};
use crate::clock::MILLISECOND;
use crate::device::AccessError;
use crate::fault::Fault;
use crate::pci::config::{Registers, Width};
use crate::pci::device::PowerState;
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

impl OpenFunction {
    /// Writes configuration space, in aligned pieces, each with what it means. Mappings are gone before memory is turned
    /// off, and there again as soon as it is on.
    pub(super) fn write_config<H: Hardware>(
        &mut self,
        hardware: &mut H,
        offset: u64,
        data: &[u8],
    ) -> Result<(), AccessError> {
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
            result = result.and(self.write_register(hardware, at, width.config(), value));
            at = at.saturating_add(width.bytes().into());
            rest = later;
        }
        result
    }

    /// Reads one register of configuration space.
    ///
    /// # Errors
    /// [`AccessError::Outside`] or [`AccessError::Shape`].
    pub fn read_register<H: Hardware>(
        &self,
        hardware: &H,
        offset: u16,
        width: Width,
    ) -> Result<u32, AccessError> {
        Ok(self.config.read(hardware.config(), offset, width)?)
    }

    /// Writes one register of configuration space, with all that this means. If mappings cannot be taken away that must be gone before,
    /// it is not written. What else fails does not keep the rest from being done.
    ///
    /// # Errors
    /// [`AccessError::Outside`] or [`AccessError::Shape`], by the owner's mistake; [`AccessError::Fault`], by the hardware's.
    pub fn write_register<H: Hardware>(
        &mut self,
        hardware: &mut H,
        offset: u16,
        width: Width,
        value: u32,
    ) -> Result<(), AccessError> {
        if self.config.turns_memory_off(offset, width, value) {
            self.hide(hardware)?;
        }
        let effects = self.config.write(hardware.config(), offset, width, value)?;
        let mut result = Ok(());
        for effect in effects {
            result = result.and(self.carry_out(hardware, effect));
        }
        result.and(Ok(self.show(hardware)?))
    }

    fn carry_out<H: Hardware>(&mut self, hardware: &mut H, effect: Effect) -> Result<(), AccessError> {
        match effect {
            // The hardware was told, and mappings follow after the last effect.
            Effect::Decode { .. } | Effect::BusMaster(_) | Effect::BarMoved { .. } => Ok(()),
            Effect::LineDisabled(disabled) => {
                let (irqs, mut wired) = self.wired(hardware);
                irqs.line_disabled(disabled, &mut wired);
                Ok(())
            }
            Effect::Power(state) => Ok(self.set_power(hardware, state)?),
            Effect::Reset => Ok(self.reset(hardware)?),
            // What a sleeping function is to send is looked at when it wakes up.
            Effect::Msi(_) | Effect::Msix { .. } if self.power != PowerState::D0 => Ok(()),
            Effect::Msi(registers) => self.msi_changed(hardware, registers),
            Effect::Msix { enabled, masked } => self.msix_changed(hardware, enabled, masked),
            Effect::Vpd(access) => {
                if let Some(data) = self.read_vpd(hardware, access) {
                    self.config.vpd_done(access, data);
                }
                Ok(())
            }
            Effect::Restored => {
                hardware.restored();
                self.program_again(hardware)
            }
            Effect::Gone => Err(Fault::Gone.into()),
        }
    }

    /// Looks whether the function was reset behind our back, by its owner through a register of its own or by firmware, and puts
    /// it back to work if so. A write that turns memory on looks by itself; a hypervisor may look whenever it pleases.
    /// Whether there was something to put back.
    ///
    /// # Errors
    /// The function does not answer, or its interrupts could not be set up again.
    pub fn check_reset<H: Hardware>(&mut self, hardware: &mut H) -> Result<bool, Fault> {
        match self.config.check_reset(hardware.config()) {
            None => Ok(false),
            Some(Effect::Gone) => Err(Fault::Gone),
            Some(_) => match self.program_again(hardware) {
                Err(AccessError::Fault(fault)) => Err(fault),
                Err(_) => Err(Fault::Rejected),
                Ok(()) => Ok(true),
            },
        }
    }

    /// Reads vital product data. A write is not done: it would change the function for its next owner as well.
    fn read_vpd<H: Hardware>(&self, hardware: &H, access: VpdAccess) -> Option<u32> {
        let at = self.vpd.filter(|_| access.write.is_none())?;
        let registers = Registers::new(hardware.config(), self.config.bdf());
        registers.set_u16(at + 2, access.address);
        for _ in 0..VPD_TIME {
            let address = registers.u16(at + 2);
            if address == u16::MAX {
                return None;
            }
            if address & VPD_DONE != 0 {
                return Some(registers.u32(at + 4));
            }
            hardware.wait(MILLISECOND);
        }
        None
    }
}
