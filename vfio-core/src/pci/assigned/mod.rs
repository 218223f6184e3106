//! A PCI function that is open for an owner, as a [`Device`]: configuration space, regions, interrupts and life in one.
//!
//! [`PciDevice`] ties together what this crate has of a function: its life in the [`FunctionTable`], its
//! [`VirtualConfig`], its [`Irqs`], its [regions](region). What a write to configuration space means it carries out: decoding,
//! power states, function resets, MSI and MSI-X. The BARs are mapped for the owner, as [`Exposure`] says, exactly while memory is
//! decoded, the function is in D0, and nothing resets it; accesses that trap are made through [`BarAccess`], but for the MSI-X
//! table and its pending bits, which are a model and never the hardware's.
//!
//! [`close`](PciDevice::close) leaves nothing of the owner that could act: bus mastering off, INTx masked, no vector, no sink,
//! no mapping, nothing decoded.
//!
//! | file | what |
//! |---|---|
//! | `mmio` | accesses to BARs, by width |
//! | `regions` | reads and writes of BARs and the ROM |
//! | `effects` | what a write to configuration space means |
//! | `interrupts` | what the guest programs, brought to the hardware |
//! | `life` | reset, power, and when the BARs are mapped |

mod effects;
mod interrupts;
mod life;
mod mmio;
mod regions;
#[cfg(all(test, not(loom)))]
mod tests;

pub use mmio::{BarAccess, BarWidth};

use super::Bdf;
use super::config::Function;
use super::device::{
    Disabled, Exposure, FunctionError, FunctionTable, Intx, LastReset, NotExposed, PowerState,
};
use super::irq::{IrqBackend, Irqs, MsiVectors, MsixTable};
use super::region::{self, index};
use super::reset::Host;
use super::vconfig::{Offer, Options, VirtualConfig};
use crate::device::{AccessError, Device, IrqError, IrqInfo, IrqRequest, RegionInfo};
use crate::fault::Fault;
use crate::id::DeviceId;

/// What the hypervisor supplies for its PCI functions.
#[derive(Debug)]
pub struct Machine<'a, H, M, E> {
    /// All functions, and what each went through.
    pub table: &'a FunctionTable,
    /// Configuration space, time, and what is known of odd devices.
    pub host: &'a H,
    /// The BARs.
    pub bars: &'a M,
    /// What owners see of the BARs.
    pub exposure: &'a E,
    /// Bytes of the smallest page.
    pub page: u64,
}

impl<H, M, E> Clone for Machine<'_, H, M, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H, M, E> Copy for Machine<'_, H, M, E> {}

/// An open PCI function. [`close`](Self::close) it: one that is only dropped keeps its vectors and its mappings.
#[must_use = "an open function must be closed"]
pub struct PciDevice<'a, H, M, E, B> {
    machine: Machine<'a, H, M, E>,
    function: &'a Function,
    backend: B,
    config: VirtualConfig,
    irqs: Irqs,
    /// What the guest programs.
    msix: Option<MsixTable>,
    msi: MsiVectors,
    /// The owner's INTx makes way for MSI while the guest has that on.
    line_waits: bool,
    power: PowerState,
    /// The owner sees the BARs.
    shown: bool,
}

impl<'a, H: Host, M: BarAccess, E: Exposure, B: IrqBackend> PciDevice<'a, H, M, E, B> {
    /// Opens the function `bdf`: [enables](FunctionTable::enable) it, and builds what its owner sees. `grows` says whether MSI-X
    /// vectors can be added while some are in use. [`Offer::LINE`] in `options` means that INTx can be routed to the owner; a
    /// function that cannot mask it has the line to itself then.
    ///
    /// # Errors
    /// [`FunctionError`]: it is open already, is not there, or misbehaves.
    pub fn open(
        machine: Machine<'a, H, M, E>,
        bdf: Bdf,
        backend: B,
        options: &Options<'_>,
        grows: bool,
    ) -> Result<Self, FunctionError> {
        let Machine { table, host, .. } = machine;
        let function = table.function(bdf).ok_or(FunctionError::Unknown(bdf))?;
        table.enable(host, bdf)?;
        let mut options = options.clone();
        if table.with(bdf, |function| function.intx()) == Ok(Intx::None) {
            options.offer -= Offer::LINE;
        }
        let line = options.offer.contains(Offer::LINE);
        let mut device = Self {
            machine,
            function,
            backend,
            config: VirtualConfig::new(host, function, &options),
            irqs: Irqs::new(function, line, grows),
            msix: function.msix.map(|found| MsixTable::new(found.vectors)),
            msi: MsiVectors::default(),
            line_waits: false,
            power: PowerState::D0,
            shown: false,
        };
        device.show();
        Ok(device)
    }

    /// What discovery found.
    #[must_use]
    pub const fn function(&self) -> &'a Function {
        self.function
    }

    /// Configuration space as its owner sees it; for where the BARs are in the guest.
    #[must_use]
    pub const fn config(&self) -> &VirtualConfig {
        &self.config
    }

    /// The interrupts that are set up.
    #[must_use]
    pub const fn irqs(&self) -> &Irqs {
        &self.irqs
    }

    /// What touches the hardware's interrupts, and has the sink.
    pub const fn backend(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Whether the owner sees the BARs now.
    #[must_use]
    pub const fn is_shown(&self) -> bool {
        self.shown
    }

    /// Takes the function back: its mappings and interrupts go, sinks are dropped, and it is [disabled](FunctionTable::disable):
    /// not mastering, INTx masked, decoding nothing. All of it is done even if a step fails.
    ///
    /// # Errors
    /// The first step that failed. If somebody resets the function at this moment ([`FunctionError::Busy`]) the function is
    /// without interrupts and mappings, and is to be disabled in its table later.
    pub fn close(mut self, when: LastReset) -> Result<Disabled, FunctionError> {
        let (table, host, bdf) = (self.machine.table, self.machine.host, self.function.bdf);
        // Before anything that it could still do harm with goes. How that went shows again below.
        let _ = table.with(bdf, |function| function.quiesce(host));
        let withdrawn = self.hide();
        self.drop_interrupts();
        let disabled = table.disable(host, bdf, when, &NotExposed)?;
        withdrawn.map_err(|fault| FunctionError::Exposed { function: bdf, fault })?;
        Ok(disabled)
    }
}

impl<H: Host, M: BarAccess, E: Exposure, B: IrqBackend> Device for PciDevice<'_, H, M, E, B> {
    fn id(&self) -> DeviceId {
        self.function.bdf.into()
    }

    fn region(&self, index: u32) -> Option<RegionInfo> {
        region::describe(self.function, &self.config, index, self.machine.page)
    }

    fn irq(&self, index: u32) -> Option<IrqInfo> {
        self.irqs.info(index)
    }

    fn can_reset(&self) -> bool {
        let Machine { table, host, .. } = self.machine;
        table.can_reset(host, self.function.bdf).unwrap_or(false)
    }

    fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), AccessError> {
        match region {
            ..=index::ROM => self.read_bar(region, offset, data),
            index::CONFIG => Ok(self.config.read_bytes(self.machine.host, offset, data)?),
            index::VGA => Err(AccessError::Denied),
            _ => Err(AccessError::NoRegion(region)),
        }
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), AccessError> {
        match region {
            ..=index::BAR5 => self.write_bar(region, offset, data),
            index::CONFIG => self.write_config(offset, data),
            index::ROM | index::VGA => Err(AccessError::Denied),
            _ => Err(AccessError::NoRegion(region)),
        }
    }

    fn set_irqs(&mut self, request: &IrqRequest<'_>) -> Result<(), IrqError> {
        self.request(request)
    }

    fn reset(&mut self) -> Result<(), Fault> {
        self.reset_function()
    }
}
