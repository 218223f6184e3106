//! An open function as a [`Device`], over the table of functions: for a hypervisor that has no open path of its own.

use super::{BarWidth, Hardware, OpenFunction};
use crate::device::{AccessError, Device, IrqError, IrqInfo, IrqRequest, RegionInfo};
use crate::fault::Fault;
use crate::id::DeviceId;
use crate::pci::Bdf;
use crate::pci::config::{Bar, Function};
use crate::pci::device::{Disabled, FunctionError, FunctionTable, Intx, LastReset, NotExposed, PowerState};
use crate::pci::irq::{IrqBackend, IrqKind, Irqs, Message};
use crate::pci::region;
use crate::pci::reset::Host;
use crate::pci::vconfig::{Offer, Options, VirtualConfig};

/// The BARs of all functions, in the host.
///
/// `offset` is inside the BAR and a multiple of the width; the function decodes it, and is in D0. It may be gone all the same:
/// reads are ones then.
pub trait BarAccess {
    /// Reads at `offset`, zero-extended.
    fn read(&self, bar: &Bar, offset: u64, width: BarWidth) -> u64;

    /// Writes the low `width` of `value` at `offset`.
    fn write(&self, bar: &Bar, offset: u64, width: BarWidth, value: u64);
}

/// What owners see of BARs.
pub trait BarView {
    /// From now on the BAR answers its owner at `address`; see [`Hardware::map`].
    ///
    /// # Errors
    /// Something else is there.
    fn map(&self, function: Bdf, bar: &Bar, address: u64) -> Result<(), Fault>;

    /// Takes it back from there; see [`Hardware::unmap`].
    ///
    /// # Errors
    /// It cannot be taken away; the owner still has it.
    fn unmap(&self, function: Bdf, bar: &Bar, address: u64) -> Result<(), Fault>;
}

/// What the hypervisor supplies for its PCI functions.
#[derive(Debug)]
pub struct Machine<'a, H, M, V> {
    /// All functions, and what each went through.
    pub table: &'a FunctionTable,
    /// Configuration space, time, and what is known of odd devices.
    pub host: &'a H,
    /// The BARs.
    pub bars: &'a M,
    /// What owners see of the BARs.
    pub view: &'a V,
    /// Bytes of the smallest page.
    pub page: u64,
}

impl<H, M, V> Clone for Machine<'_, H, M, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H, M, V> Copy for Machine<'_, H, M, V> {}

/// An open PCI function: one open of one owner. Who gives one owner several handles opens it with the first and closes it with the last,
/// as [`Lease::handle`](crate::lease::Lease::handle) counts them.
///
/// [`close`](Self::close) says how the end went. One that is only dropped is closed all the same, with the last reset left to its table
/// ([`LastReset::Later`]): what failed then shows when the function is opened the next time.
#[must_use = "dropping an open function closes it"]
pub struct PciDevice<'a, H: Host, M: BarAccess, V: BarView, B: IrqBackend> {
    machine: Machine<'a, H, M, V>,
    function: &'a Function,
    backend: B,
    open: OpenFunction,
    closed: bool,
}

/// The function in its table, for the length of one call.
struct Bound<'d, H, M, V, B> {
    machine: Machine<'d, H, M, V>,
    bdf: Bdf,
    backend: &'d mut B,
}

impl<H: Host, M: BarAccess, V: BarView, B: IrqBackend> IrqBackend for Bound<'_, H, M, V, B> {
    fn allocate(&mut self, kind: IrqKind, count: u32) -> Result<u32, Fault> {
        self.backend.allocate(kind, count)
    }

    fn free(&mut self, kind: IrqKind) {
        self.backend.free(kind);
    }

    fn connect(&mut self, kind: IrqKind, vector: u32, message: Option<Message>) -> Result<(), Fault> {
        self.backend.connect(kind, vector, message)
    }

    fn disconnect(&mut self, kind: IrqKind, vector: u32) {
        self.backend.disconnect(kind, vector);
    }

    fn hold_line(&mut self, held: bool) {
        self.backend.hold_line(held);
    }

    fn line_asserted(&mut self) -> bool {
        self.backend.line_asserted()
    }

    fn signal(&mut self, index: u32, number: u32) {
        self.backend.signal(index, number);
    }
}

impl<H: Host, M: BarAccess, V: BarView, B: IrqBackend> Hardware for Bound<'_, H, M, V, B> {
    type Config = H;

    fn config(&self) -> &H {
        self.machine.host
    }

    fn wait(&self, nanoseconds: u64) {
        self.machine.host.wait(nanoseconds);
    }

    fn read_bar(&mut self, bar: &Bar, offset: u64, width: BarWidth) -> u64 {
        self.machine.bars.read(bar, offset, width)
    }

    fn write_bar(&mut self, bar: &Bar, offset: u64, width: BarWidth, value: u64) {
        self.machine.bars.write(bar, offset, width, value);
    }

    fn map(&mut self, bar: &Bar, address: u64) -> Result<(), Fault> {
        self.machine.view.map(self.bdf, bar, address)
    }

    fn unmap(&mut self, bar: &Bar, address: u64) -> Result<(), Fault> {
        self.machine.view.unmap(self.bdf, bar, address)
    }

    fn can_reset(&self) -> bool {
        let Machine { table, host, .. } = self.machine;
        table.can_reset(host, self.bdf).unwrap_or(false)
    }

    fn reset(&mut self) -> Result<(), Fault> {
        let Machine { table, host, .. } = self.machine;
        Ok(table.reset(host, self.bdf, &NotExposed).map(|_| ())?)
    }

    fn set_power_state(&mut self, state: PowerState) -> Result<bool, Fault> {
        let Machine { table, host, .. } = self.machine;
        Ok(table
            .set_power_state(host, self.bdf, state, &NotExposed)?
            .lost_state)
    }

    fn power_state(&mut self) -> Result<PowerState, Fault> {
        let Machine { table, host, .. } = self.machine;
        Ok(table.with(self.bdf, |function| function.power_state(host))??)
    }
}

impl<'a, H: Host, M: BarAccess, V: BarView, B: IrqBackend> PciDevice<'a, H, M, V, B> {
    /// Opens the function `bdf`: [enables](FunctionTable::enable) it, and builds what its owner sees. `grows` says whether MSI-X
    /// vectors can be added while some are in use. [`Offer::LINE`] in `options` means that INTx can be routed to the owner; a
    /// function that cannot mask it has the line to itself then.
    ///
    /// # Errors
    /// [`FunctionError`]: it is open already, is not there, or misbehaves.
    pub fn open(
        machine: Machine<'a, H, M, V>,
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
        let mut device = Self {
            machine,
            function,
            backend,
            open: OpenFunction::new(host, function, &options, grows),
            closed: false,
        };
        let (open, mut hardware) = device.parts();
        // Nothing is to be taken away yet, which is all that fails.
        let _ = open.show(&mut hardware);
        Ok(device)
    }

    fn parts(&mut self) -> (&mut OpenFunction, Bound<'_, H, M, V, B>) {
        let bound = Bound {
            machine: self.machine,
            bdf: self.function.bdf,
            backend: &mut self.backend,
        };
        (&mut self.open, bound)
    }

    /// What discovery found.
    #[must_use]
    pub const fn function(&self) -> &'a Function {
        self.function
    }

    /// Configuration space as its owner sees it; for where the BARs are in the guest.
    #[must_use]
    pub const fn config(&self) -> &VirtualConfig {
        self.open.config()
    }

    /// The interrupts that are set up.
    #[must_use]
    pub const fn irqs(&self) -> &Irqs {
        self.open.irqs()
    }

    /// What touches the hardware's interrupts, and has the sink.
    pub const fn backend(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Whether the owner sees any of the BARs now.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.open.is_shown()
    }

    /// An interrupt arrived from the hardware; see [`OpenFunction::arrived`].
    pub fn arrived(&mut self, kind: IrqKind, vector: u32) -> bool {
        let (open, mut hardware) = self.parts();
        open.arrived(&mut hardware, kind, vector)
    }

    /// An error was reported, or the function is asked back; see [`OpenFunction::event`].
    pub fn event(&mut self, index: u32) -> bool {
        let (open, mut hardware) = self.parts();
        open.event(&mut hardware, index)
    }

    /// What the guest wants to have sent for a vector; see [`OpenFunction::message`].
    #[must_use]
    pub fn message(&self, kind: IrqKind, vector: u16) -> Option<Message> {
        self.open.message(kind, vector)
    }

    /// Looks whether the function was reset behind our back; see [`OpenFunction::check_reset`].
    ///
    /// # Errors
    /// As there.
    pub fn check_reset(&mut self) -> Result<bool, Fault> {
        let (open, mut hardware) = self.parts();
        open.check_reset(&mut hardware)
    }

    /// Takes the function back: its mappings and interrupts go, sinks are dropped, and it is [disabled](FunctionTable::disable):
    /// not mastering, INTx masked, decoding nothing. All of it is done even if a step fails.
    ///
    /// # Errors
    /// The first step that failed. If somebody resets the function at this moment ([`FunctionError::Busy`]) the function is
    /// without interrupts and mappings, and is to be disabled in its table later.
    pub fn close(mut self, when: LastReset) -> Result<Disabled, FunctionError> {
        self.take_back(when)
    }

    fn take_back(&mut self, when: LastReset) -> Result<Disabled, FunctionError> {
        self.closed = true;
        let (table, host, bdf) = (self.machine.table, self.machine.host, self.function.bdf);
        // Before anything that it could still do harm with goes. How that went shows again below.
        let _ = table.with(bdf, |function| function.quiesce(host));
        let (open, mut hardware) = self.parts();
        let withdrawn = open.hide(&mut hardware);
        open.drop_interrupts(&mut hardware);
        let disabled = table.disable(host, bdf, when, &NotExposed)?;
        withdrawn.map_err(|fault| FunctionError::Exposed { function: bdf, fault })?;
        Ok(disabled)
    }
}

impl<H: Host, M: BarAccess, V: BarView, B: IrqBackend> Drop for PciDevice<'_, H, M, V, B> {
    fn drop(&mut self) {
        if !self.closed {
            // Nobody is left to be told; the table keeps that the function needs a reset.
            let _ = self.take_back(LastReset::Later);
        }
    }
}

impl<H: Host, M: BarAccess, V: BarView, B: IrqBackend> Device for PciDevice<'_, H, M, V, B> {
    fn id(&self) -> DeviceId {
        self.function.bdf.into()
    }

    fn region(&self, index: u32) -> Option<RegionInfo> {
        region::describe(self.function, self.open.config(), index, self.machine.page)
    }

    fn irq(&self, index: u32) -> Option<IrqInfo> {
        self.open.irqs().info(index)
    }

    fn can_reset(&self) -> bool {
        let Machine { table, host, .. } = self.machine;
        table.can_reset(host, self.function.bdf).unwrap_or(false)
    }

    fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), AccessError> {
        let (open, mut hardware) = self.parts();
        open.read(&mut hardware, region, offset, data)
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), AccessError> {
        let (open, mut hardware) = self.parts();
        open.write(&mut hardware, region, offset, data)
    }

    fn set_irqs(&mut self, request: &IrqRequest<'_>) -> Result<(), IrqError> {
        let (open, mut hardware) = self.parts();
        open.set_irqs(&mut hardware, request)
    }

    /// As a reset by its guest: it decodes nothing afterwards, and its BARs are where they were.
    fn reset(&mut self) -> Result<(), Fault> {
        let (open, mut hardware) = self.parts();
        let done = open.reset(&mut hardware);
        done.and(open.show(&mut hardware))
    }
}
