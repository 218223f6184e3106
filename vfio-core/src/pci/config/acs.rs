//! Access control services: turning on what keeps peers apart, before anybody reads whether they are.

use super::{ConfigAccess, Registers};
use crate::pci::spec::{AcsFlags, acs};
use crate::pci::{Acs, AcsCapability, Bdf};

/// What the capability at `offset` says.
pub(super) fn read(config: &impl ConfigAccess, bdf: Bdf, offset: u16) -> AcsCapability {
    let registers = Registers::new(config, bdf);
    AcsCapability {
        able: Acs::from_bits_truncate(registers.u16(offset + acs::CAPABILITY)),
        enabled: Acs::from_bits_truncate(registers.u16(offset + acs::CONTROL)),
    }
}

/// Turns on what isolation needs of what `function` can, and notes in it what is in force afterwards.
///
/// Direct translated peer-to-peer is turned off: with it, a device that claims to have asked an IOMMU reaches its
/// peers past it.
pub fn enable_acs(config: &impl ConfigAccess, function: &mut super::Function) {
    let Some((offset, capability)) = &mut function.acs else {
        return;
    };
    let registers = Registers::new(config, function.bdf);
    let able = AcsFlags::from_bits_retain(registers.u16(*offset + acs::CAPABILITY));
    let control = AcsFlags::from_bits_retain(registers.u16(*offset + acs::CONTROL));
    let wanted = (control | able & AcsFlags::ISOLATION) - AcsFlags::DIRECT_TRANSLATED;
    if wanted != control {
        registers.set_u16(*offset + acs::CONTROL, wanted.bits());
    }
    *capability = read(config, function.bdf, *offset);
}
