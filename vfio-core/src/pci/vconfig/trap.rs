//! Registers whose writes mean more than bits.

use super::bars::{self, BarPolicy, ROM, ROM_ENABLE};
use super::row::Trap;
use super::space::Place;
use super::{Effect, Effects, PowerState, VirtualConfig, VpdAccess};
use crate::pci::config::{ConfigAccess, Registers};
use crate::pci::irq::MsiRegisters;
use crate::pci::spec::{Command, af, express, header, msi, msix, pm};

const VPD_FLAG: u32 = 1 << 31;
/// The largest read request that is defined: 4096 bytes.
const LARGEST_REQUEST: u16 = 5;

impl VirtualConfig {
    /// A write of `value` to a register with a trap; virtual bits are written already, and were `before`.
    pub(super) fn trapped<C: ConfigAccess + ?Sized>(
        &mut self,
        config: &C,
        trap: Trap,
        place: Place,
        value: u32,
        before: u32,
        effects: &mut Effects,
    ) {
        match trap {
            Trap::Command => self.write_command(config, place, value, before, effects),
            Trap::Bar(index) => self.write_bar(index, place.register, before, effects),
            Trap::Power => self.write_power(place, value, effects),
            Trap::VpdAddress => self.write_vpd(place, effects),
            Trap::Msi => self.write_msi(place.register, before, effects),
            Trap::Msix => {
                let (was, now) = (msix_control(before), msix_control(self.shadow(place.register)));
                if was != now {
                    let (enabled, masked) = now;
                    effects.push(Effect::Msix { enabled, masked });
                }
            }
            Trap::DeviceControl => self.write_device_control(config, place, value, effects),
            Trap::AdvancedFeatures => {
                if value & 1 << (8 * (af::CONTROL % 4)) != 0 && self.resets {
                    effects.push(Effect::Reset);
                }
            }
        }
    }

    fn write_command<C: ConfigAccess + ?Sized>(
        &mut self,
        config: &C,
        place: Place,
        value: u32,
        before: u32,
        effects: &mut Effects,
    ) {
        // Nothing of the status register can be written.
        if place.mask & 0xffff == 0 {
            return;
        }
        let hardware = Registers::new(config, self.bdf);
        let after = self.shadow(header::COMMAND);
        let (was, now) = (command(before), command(after));
        let decode = Command::MEMORY | Command::IO;
        if now.intersects(decode) {
            effects.extend(self.repair(config, was));
        }
        let physical = hardware.command();
        if physical.bits() == u16::MAX {
            if !effects.contains(&Effect::Gone) {
                effects.push(Effect::Gone);
            }
        } else {
            let through = self.register(header::COMMAND).map_or(0, |register| {
                !register.virtual_bits & register.writable & place.mask
            });
            let mut wanted = self.wanted_command(physical);
            wanted = command(u32::from(wanted.bits()) & !through | value & through);
            hardware.set_command(wanted);
            let master = wanted.contains(Command::BUS_MASTER);
            if master != physical.contains(Command::BUS_MASTER) {
                effects.push(Effect::BusMaster(master));
            }
        }
        let changed = was ^ now;
        if changed.contains(Command::INTX_DISABLE) {
            effects.push(Effect::LineDisabled(now.contains(Command::INTX_DISABLE)));
        }
        if changed.intersects(decode) {
            effects.push(Effect::Decode {
                memory: now.contains(Command::MEMORY),
                io: now.contains(Command::IO),
            });
            if matches!(self.policy, BarPolicy::Movable(_)) {
                self.report_moved(changed, before, effects);
            }
        }
    }

    /// Says where BARs are whose decoding changed.
    fn report_moved(&mut self, changed: Command, before: u32, effects: &mut Effects) {
        let after = self.shadow(header::COMMAND);
        for bar in self.bars.clone() {
            let kind = if bar.host.is_memory() {
                Command::MEMORY
            } else {
                Command::IO
            };
            if !changed.contains(kind) {
                continue;
            }
            let to = self.bar_address(bar.host.index);
            self.set_shadow(header::COMMAND, u32::MAX, before);
            let from = self.bar_address(bar.host.index);
            self.set_shadow(header::COMMAND, u32::MAX, after);
            if from != to {
                effects.push(Effect::BarMoved {
                    bar: bar.host.index,
                    to,
                });
            }
        }
    }

    /// The command register that the hardware should have: decoding as the guest has it, INTx as the caller has it.
    pub(super) fn wanted_command(&self, physical: Command) -> Command {
        let mut wanted = physical;
        wanted.set(Command::INTX_DISABLE, self.line_masked);
        if !self.virtual_function {
            let (memory, io) = self.decode();
            wanted.set(Command::MEMORY, memory);
            wanted.set(Command::IO, io);
        }
        wanted
    }

    fn write_bar(&mut self, index: u8, register: u16, before: u32, effects: &mut Effects) {
        let Some(bar) = self.bars.iter().find(|bar| bar.host.index == index).copied() else {
            return;
        };
        let after = self.shadow(register);
        match self.policy {
            BarPolicy::Fixed => {
                let low = register == bars::register(index);
                let mask = if low {
                    bars::low_bits(&bar.host).0
                } else {
                    bars::high_bits(&bar.host)
                };
                let mask = if index == ROM { mask & !ROM_ENABLE } else { mask };
                let assigned = if low {
                    bar.address as u32
                } else {
                    (bar.address >> 32) as u32
                };
                if after & mask != mask {
                    self.set_shadow(register, mask, assigned);
                }
            }
            BarPolicy::Movable(_) => {
                self.set_shadow(register, u32::MAX, before);
                let from = self.bar_address(index);
                self.set_shadow(register, u32::MAX, after);
                let to = self.bar_address(index);
                if from != to {
                    effects.push(Effect::BarMoved { bar: index, to });
                }
            }
        }
    }

    fn write_power(&self, place: Place, value: u32, effects: &mut Effects) {
        let (Some(at), mask) = (self.power, u32::from(pm::STATE_MASK)) else {
            return;
        };
        if place.mask & mask != mask {
            return;
        }
        let now = self.shadow(place.register) & mask;
        let wanted = value & mask;
        let capable = self.shadow(at) >> 16;
        let able = match wanted {
            1 => capable & u32::from(pm::CAPABLE_D1) != 0,
            2 => capable & u32::from(pm::CAPABLE_D2) != 0,
            _ => true,
        };
        if wanted != now && able {
            effects.push(Effect::Power(PowerState::from_bits(wanted as u16)));
        }
    }

    fn write_vpd(&self, place: Place, effects: &mut Effects) {
        let Some(at) = self.vpd.filter(|_| place.mask & VPD_FLAG != 0) else {
            return;
        };
        let head = self.shadow(at);
        effects.push(Effect::Vpd(VpdAccess {
            address: (head >> 16) as u16 & 0x7ffc,
            write: (head & VPD_FLAG != 0).then(|| self.shadow(at + 4)),
        }));
    }

    fn write_device_control<C: ConfigAccess + ?Sized>(
        &mut self,
        config: &C,
        place: Place,
        value: u32,
        effects: &mut Effects,
    ) {
        let through = self.register(place.register).map_or(0, |register| {
            !register.virtual_bits & register.writable & place.mask
        }) as u16;
        let asked = self.shadow(place.register) as u16;
        let sizes = place.mask as u16 & express::DEVICE_CONTROL_READ_REQUEST;
        if through | sizes != 0 {
            let hardware = Registers::new(config, self.bdf);
            let now = hardware.u16(place.register) & !express::DEVICE_CONTROL_FLR;
            let mut wanted = now & !through | value as u16 & through;
            if sizes != 0 {
                // Some guests ask for less than a payload, which some devices take badly.
                let request = (asked >> 12 & 7).min(LARGEST_REQUEST).max(now >> 5 & 7);
                wanted = wanted & !express::DEVICE_CONTROL_READ_REQUEST | request << 12;
            }
            hardware.set_u16(place.register, wanted);
        }
        if asked & express::DEVICE_CONTROL_FLR != 0 {
            self.set_shadow(place.register, express::DEVICE_CONTROL_FLR.into(), 0);
            if self.resets {
                effects.push(Effect::Reset);
            }
        }
    }

    fn write_msi(&mut self, register: u16, before: u32, effects: &mut Effects) {
        let Some(found) = self.msi else { return };
        if register == found.offset {
            // No more vectors than there are.
            let control = (self.shadow(register) >> 16) as u16;
            let count = (control >> msi::ENABLED_SHIFT & msi::COUNT_MASK).min(self.msi_limit);
            let field = u32::from(msi::COUNT_MASK << msi::ENABLED_SHIFT) << 16;
            self.set_shadow(register, field, u32::from(count << msi::ENABLED_SHIFT) << 16);
        }
        if self.shadow(register) != before
            && let Some(registers) = self.msi()
        {
            effects.push(Effect::Msi(registers));
        }
    }

    /// MSI as the guest has programmed it; `None` if it has none.
    #[must_use]
    pub fn msi(&self) -> Option<MsiRegisters> {
        let found = self.msi?;
        let control = (self.shadow(found.offset) >> 16) as u16;
        let (data, mask) = (found.data(), found.mask());
        let upper = if found.address_64 {
            self.shadow(found.offset + msi::ADDRESS_UPPER)
        } else {
            0
        };
        Some(MsiRegisters {
            enabled: control & msi::ENABLE != 0,
            vectors: 1 << (control >> msi::ENABLED_SHIFT & msi::COUNT_MASK).min(self.msi_limit),
            address: u64::from(upper) << 32 | u64::from(self.shadow(found.offset + msi::ADDRESS)),
            data: self.shadow(found.offset + data) as u16,
            mask: mask.map_or(0, |mask| self.shadow(found.offset + mask)),
        })
    }

    /// Whether MSI-X is enabled, and whether all of it is masked; `None` if the guest has none.
    #[must_use]
    pub fn msix(&self) -> Option<(bool, bool)> {
        Some(msix_control(self.shadow(self.msix?)))
    }

    /// Turns the guest's MSI off: it could not be set up.
    pub fn clear_msi(&mut self) {
        if let Some(found) = self.msi {
            self.set_shadow(found.offset, u32::from(msi::ENABLE) << 16, 0);
        }
    }

    /// Turns the guest's MSI-X off: it could not be set up.
    pub fn clear_msix(&mut self) {
        if let Some(at) = self.msix {
            self.set_shadow(at, u32::from(msix::ENABLE) << 16, 0);
        }
    }

    /// The function is in this power state now.
    pub fn set_power_state(&mut self, state: PowerState) {
        if let Some(at) = self.power {
            self.set_shadow(at + pm::CONTROL, pm::STATE_MASK.into(), state as u32);
        }
    }

    /// An access to vital product data is done; `data` is what was read. One that failed is never done, as on hardware.
    pub fn vpd_done(&mut self, access: VpdAccess, data: u32) {
        let Some(at) = self.vpd else { return };
        if access.write.is_some() {
            self.set_shadow(at, VPD_FLAG, 0);
        } else {
            self.set_shadow(at + 4, u32::MAX, data);
            self.set_shadow(at, VPD_FLAG, VPD_FLAG);
        }
    }

    /// Holds the hardware's INTx back, or lets it through. Returns whether the function obeyed.
    pub fn mask_line<C: ConfigAccess + ?Sized>(&mut self, config: &C, masked: bool) -> bool {
        self.line_masked = masked;
        let hardware = Registers::new(config, self.bdf);
        let mut wanted = hardware.command();
        if wanted.bits() == u16::MAX {
            return false;
        }
        wanted.set(Command::INTX_DISABLE, masked);
        hardware.set_command(wanted);
        hardware.command().contains(Command::INTX_DISABLE) == masked
    }

    /// The function was reset on the guest's behalf, by whom its hardware was restored: everything virtual is as at first, but the
    /// BARs, which are where the guest has put them. The ROM does not answer.
    pub fn reset(&mut self) {
        for register in &mut self.registers {
            match register.trap {
                Some(Trap::Bar(ROM)) => register.shadow &= !ROM_ENABLE,
                Some(Trap::Bar(_)) => {}
                _ => register.shadow = register.initial,
            }
        }
    }
}

const fn command(bits: u32) -> Command {
    Command::from_bits_retain(bits as u16)
}

const fn msix_control(register: u32) -> (bool, bool) {
    let control = (register >> 16) as u16;
    (control & msix::ENABLE != 0, control & msix::FUNCTION_MASK != 0)
}
