//! Capabilities that depend on the function and on what its guest is offered.

use super::super::row::{Bits, Trap, row};
use super::{Builder, Offer};
use crate::pci::config::{ConfigAccess, Msi, Registers};
use crate::pci::spec::{af, capability, express, msi, msix, pm};

impl<C: ConfigAccess + ?Sized> Builder<'_, C> {
    /// What depends on the function and on what its guest is offered.
    pub(super) fn special(&mut self, id: u8, at: u16) {
        let offer = self.options.offer;
        let now = |offset: u16| Registers::new(self.config, self.function.bdf).u32(at + offset);
        match id {
            capability::PM => {
                let sleep = u32::from(pm::CAPABLE_D1 | pm::CAPABLE_D2) << 16;
                let able = if offer.contains(Offer::POWER) {
                    now(0) & sleep
                } else {
                    0
                };
                self.fix(at, sleep, able);
                self.space.power = offer.contains(Offer::POWER).then_some(at);
            }
            capability::VPD => self.space.vpd = Some(at),
            capability::EXPRESS => {
                let bit = express::DEVICE_CAPABILITIES_FLR;
                if offer.contains(Offer::RESET) {
                    let able = now(express::DEVICE_CAPABILITIES) & bit;
                    self.fix(at + express::DEVICE_CAPABILITIES, bit, able);
                }
            }
            capability::AF => {
                let bits = af::CAPABILITIES_FLR | af::CAPABILITIES_TP;
                let able = self
                    .function
                    .af
                    .is_some_and(|found| found.flr && found.offset == at);
                if offer.contains(Offer::RESET) && able {
                    self.fix(at + af::CAPABILITIES, bits.into(), bits.into());
                }
            }
            capability::MSIX => {
                if let Some(found) = self.function.msix {
                    let place =
                        |place: crate::pci::config::TableLocation| place.offset | u32::from(place.bar);
                    self.fix(
                        at + 2,
                        msix::SIZE_MASK.into(),
                        u32::from(found.vectors.saturating_sub(1)),
                    );
                    self.fix(at + msix::TABLE, u32::MAX, place(found.table));
                    self.fix(at + msix::PBA, u32::MAX, place(found.pending));
                    self.space.msix = Some(at);
                }
            }
            capability::MSI => {
                if let Some(found) = self.function.msi {
                    self.message(&found);
                }
            }
            _ => {}
        }
    }

    /// MSI: everything is kept for the guest but the pending bits.
    pub(super) fn message(&mut self, found: &Msi) {
        let at = found.offset;
        let vectors = found.vectors.min(self.options.msi_vectors).clamp(1, 32);
        let limit = vectors.ilog2() as u16;
        let able = limit << msi::CAPABLE_SHIFT
            | if found.address_64 { msi::ADDRESS_64 } else { 0 }
            | if found.maskable { msi::MASKING } else { 0 };
        self.fix(at + msi::CONTROL, 0xffff, able.into());
        let control = msi::ENABLE | msi::COUNT_MASK << msi::ENABLED_SHIFT;
        self.row(0, &row(at + msi::CONTROL, control.into(), Bits::Virtual));
        self.row(0, &row(at + msi::ADDRESS, !3, Bits::Virtual));
        self.row(0, &row(at + msi::ADDRESS, 3, Bits::Zero));
        let (data, mask) = (found.data(), found.mask());
        if found.address_64 {
            self.row(0, &row(at + msi::ADDRESS_UPPER, u32::MAX, Bits::Virtual));
        }
        self.row(0, &row(at + data, 0xffff, Bits::Virtual));
        let mut last = data;
        if let Some(mask) = mask {
            self.row(0, &row(at + data + 2, 0xffff, Bits::Zero));
            let each = u32::MAX >> (32 - (1u32 << limit));
            self.row(0, &row(at + mask, u32::MAX, Bits::Zero));
            self.row(0, &row(at + mask, each, Bits::Virtual));
            // A bit for each vector; those that the guest cannot have never are pending.
            self.row(0, &row(at + mask + 4, !each, Bits::Zero));
            last = mask;
        }
        for offset in (0..=last).step_by(4) {
            self.trap(at + offset, Trap::Msi);
        }
        self.space.msi = Some(*found);
        self.space.msi_limit = limit;
    }
}
