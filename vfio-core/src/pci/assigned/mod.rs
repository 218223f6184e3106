//! A PCI function that is open for an owner: configuration space, regions, interrupts and life in one.
//!
//! [`OpenFunction`] ties together what this crate has of a function: its [`VirtualConfig`], its [`Irqs`], its
//! [regions](crate::pci::region). What a write to configuration space means it carries out: decoding, BARs that move, power states,
//! function resets, MSI and MSI-X, INTx. The BARs answer the owner exactly while memory is decoded, the function is in D0, and nothing
//! resets it, and where the owner has put them; accesses that trap are made one by one, but for the MSI-X table and its pending bits,
//! which are a model and never the hardware's. It touches the machine through one trait, [`Hardware`], and allocates no memory once it
//! is made.
//!
//! [`PciDevice`] is one over a [`FunctionTable`](super::device::FunctionTable), which has the function's life, as a
//! [`Device`](crate::device::Device). A hypervisor whose [leases](crate::lease) open and reset functions implements [`Hardware`] with
//! them instead. [`AddressMap`] says for all functions of an owner which BAR answers where, and lets no two overlap.
//!
//! | file | what |
//! |---|---|
//! | `hardware` | what it needs of the machine |
//! | `mmio` | accesses to BARs, by width |
//! | `regions` | reads and writes of BARs and the ROM |
//! | `effects` | what a write to configuration space means |
//! | `interrupts` | what the guest programs, brought to the hardware |
//! | `life` | reset, power, and when and where the BARs answer |
//! | `address_map` | which BAR answers at an address |
//! | `device` | the whole as a device |

mod address_map;
mod device;
mod effects;
mod hardware;
mod interrupts;
mod life;
mod mmio;
mod regions;
#[cfg(all(test, not(loom)))]
mod tests;

pub use address_map::{AddressMap, Answer, Overlap};
pub use device::{BarAccess, BarView, Machine, PciDevice};
pub use hardware::Hardware;
pub use mmio::BarWidth;

use super::config::{ConfigAccess, Function, MsiX};
use super::device::PowerState;
use super::irq::{IrqKind, Irqs, MsiVectors, MsixTable};
use super::region::index;
use super::spec::capability;
use super::vconfig::{Offer, Options, VirtualConfig};
use crate::device::AccessError;

/// An open function, without the machine: every call gets its [`Hardware`], which must be the same function's each time.
///
/// It is not closed by itself: whoever opened the function [hides](Self::hide) it, [drops](Self::drop_interrupts) its interrupts and
/// disables it, as [`PciDevice`] does.
#[derive(Clone, Debug)]
pub struct OpenFunction {
    config: VirtualConfig,
    irqs: Irqs,
    /// What the guest programs.
    msix: Option<MsixTable>,
    msi: MsiVectors,
    /// Where the MSI-X table and the pending bits are.
    tables: Option<MsiX>,
    /// Vital product data.
    vpd: Option<u16>,
    /// The kind that the guest has set up by programming it.
    programmed: Option<IrqKind>,
    /// The owner's INTx makes way for MSI while the guest has that on.
    line_waits: bool,
    power: PowerState,
    /// Where each BAR of the configuration space answers the owner.
    placed: [Option<u64>; 7],
}

impl OpenFunction {
    /// Builds what the owner of `function` sees; the hardware is read through `config` and not changed. `grows` says whether MSI-X
    /// vectors can be added while some are in use. [`Offer::LINE`] in `options` means that INTx can be routed to the owner.
    #[must_use]
    pub fn new<C: ConfigAccess + ?Sized>(
        config: &C,
        function: &Function,
        options: &Options<'_>,
        grows: bool,
    ) -> Self {
        Self {
            config: VirtualConfig::new(config, function, options),
            irqs: Irqs::new(function, options.offer.contains(Offer::LINE), grows),
            msix: function.msix.map(|found| MsixTable::new(found.vectors)),
            msi: MsiVectors::default(),
            tables: function.msix,
            vpd: function.capability(capability::VPD),
            programmed: None,
            line_waits: false,
            power: PowerState::D0,
            placed: [None; 7],
        }
    }

    /// Configuration space as its owner sees it.
    #[must_use]
    pub const fn config(&self) -> &VirtualConfig {
        &self.config
    }

    /// The interrupts that are set up.
    #[must_use]
    pub const fn irqs(&self) -> &Irqs {
        &self.irqs
    }

    /// Whether the owner sees any of its BARs now.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.placed.iter().any(Option::is_some)
    }

    /// Reads `data.len()` bytes at `offset` of a region, by the numbers of [`region::index`](crate::pci::region::index).
    ///
    /// # Errors
    /// [`AccessError`]; `data` may have been written in part.
    pub fn read<H: Hardware>(
        &self,
        hardware: &mut H,
        region: u32,
        offset: u64,
        data: &mut [u8],
    ) -> Result<(), AccessError> {
        match region {
            ..=index::ROM => self.read_bar(hardware, region, offset, data),
            index::CONFIG => Ok(self.config.read_bytes(hardware.config(), offset, data)?),
            index::VGA => Err(AccessError::Denied),
            _ => Err(AccessError::NoRegion(region)),
        }
    }

    /// Writes `data` at `offset` of a region.
    ///
    /// # Errors
    /// [`AccessError`]; the device may have seen a part.
    pub fn write<H: Hardware>(
        &mut self,
        hardware: &mut H,
        region: u32,
        offset: u64,
        data: &[u8],
    ) -> Result<(), AccessError> {
        match region {
            ..=index::BAR5 => self.write_bar(hardware, region, offset, data),
            index::CONFIG => self.write_config(hardware, offset, data),
            index::ROM | index::VGA => Err(AccessError::Denied),
            _ => Err(AccessError::NoRegion(region)),
        }
    }
}
