//! One assigned function of a guest: `vfio-core`'s [`OpenFunction`], and the machine behind it for the length of one access.

use super::msix::{direct, route};
use super::pci_bus::{Line, Refused};
use super::{DeviceBackend, Messages, NoRoute, Source};
use crate::addr::HostPhys;
use crate::pci::{Bar, ConfigAccess, Function, MsiX, Registers, Width};
use vfio_core::Fault;
use vfio_core::device::{AccessError, IrqAction, IrqRange, IrqRequest};
use vfio_core::pci::Bdf;
use vfio_core::pci::assigned::{AddressMap, BarWidth, Hardware, OpenFunction};
use vfio_core::pci::device::PowerState;
use vfio_core::pci::irq::{IrqBackend, IrqKind, Message, index};
use vfio_core::pci::spec::header;

/// Lines on the console about what goes wrong with one function, at most: its guest can bring them about.
const MOST_COMPLAINTS: u8 = 8;
/// Status register: the function would raise its INTx (PCI Express 7.5.1.1.4).
const INTERRUPT_STATUS: u16 = 1 << 3;

/// One function of a guest.
#[derive(Debug)]
pub(super) struct VirtualFunction {
    /// Slot in bits 7:3, function in bits 2:0.
    pub(super) devfn: u8,
    open: OpenFunction,
    msix: Option<MsiX>,
    /// Its INTx pin, 1 to 4, where it has one.
    pin: u8,
    /// Its INTx was signalled, and the guest was not told.
    line_came: bool,
    /// The guest's vCPUs, which interrupts can go to.
    cpus: u8,
    complaints: u8,
    /// It was said that its guest has put a BAR where it cannot be.
    misplaced: bool,
}

impl VirtualFunction {
    /// A function whose BARs answer nowhere yet; see [`show`](Self::show).
    pub(super) const fn new(devfn: u8, open: OpenFunction, function: &Function, cpus: u8) -> Self {
        Self {
            devfn,
            open,
            msix: function.msix,
            pin: function.interrupt_pin,
            line_came: false,
            cpus,
            complaints: 0,
            misplaced: false,
        }
    }

    /// Its address in the host.
    pub(super) const fn physical(&self) -> Bdf {
        self.open.config().bdf()
    }

    /// Its INTx, if the guest uses it.
    pub(super) fn line(&self) -> Option<Line> {
        let (devfn, pin) = (self.devfn, self.pin);
        (self.open.irqs().active() == Some(IrqKind::Intx)).then_some(Line { devfn, pin })
    }

    /// Whether its line would be told of if it were raised now.
    pub(super) fn awaits_line(&self) -> bool {
        let irqs = self.open.irqs();
        irqs.active() == Some(IrqKind::Intx) && irqs.line().held().is_empty()
    }

    pub(super) const fn has_line_news(&self) -> bool {
        self.line_came
    }

    /// Its line, once each time that it came.
    pub(super) fn take_line(&mut self) -> Option<Line> {
        let came = core::mem::take(&mut self.line_came);
        self.line().filter(|_| came)
    }

    /// It, and the machine: `index` is its place in `map`, where the guest's BARs are.
    pub(super) fn with<'a, B: DeviceBackend>(
        &'a mut self,
        index: usize,
        map: &'a mut AddressMap,
        backend: &'a mut B,
    ) -> Access<'a, B> {
        let function = self.physical();
        let reach = Reach {
            function,
            index,
            msix: self.msix.as_ref(),
            cpus: self.cpus,
            backend,
            map,
            complaints: &mut self.complaints,
            misplaced: &mut self.misplaced,
            line_came: &mut self.line_came,
            freed: false,
        };
        Access {
            open: &mut self.open,
            reach,
        }
    }
}

/// A function for the length of one access.
pub(super) struct Access<'a, B> {
    open: &'a mut OpenFunction,
    reach: Reach<'a, B>,
}

impl<B: DeviceBackend> Access<'_, B> {
    /// Has its BARs answer where they are to, if nothing is in their way.
    pub(super) fn show(&mut self) {
        let shown = self.open.show(&mut self.reach);
        // Unmapping does not fail here.
        debug_assert!(shown.is_ok());
    }

    /// Reads configuration space.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn config_read(&self, offset: u16, width: Width) -> Result<u32, Refused> {
        match self.open.read_register(&self.reach, offset, width) {
            Ok(value) => Ok(value),
            // Beyond what a conventional function has, as on the bus.
            Err(AccessError::Outside { .. }) => Ok(u32::MAX >> (32 - 8 * u32::from(width.bytes()))),
            Err(_) => Err(Refused),
        }
    }

    /// Writes configuration space, with all that this means. Whether a place became free where another BAR may be to answer.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn config_write(&mut self, offset: u16, width: Width, value: u32) -> Result<bool, Refused> {
        let written = self.open.write_register(&mut self.reach, offset, width, value);
        match written {
            Err(AccessError::Outside { .. }) => Ok(()),
            written => self.settle(written),
        }?;
        Ok(self.reach.freed)
    }

    /// Reads `bytes` at `offset` of a BAR or the ROM that answers.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn bar_read(&mut self, bar: u8, offset: u64, bytes: u8) -> Result<u64, Refused> {
        let mut value = [0xff; 8];
        let data = value.get_mut(..usize::from(bytes)).ok_or(Refused)?;
        let read = self.open.read(&mut self.reach, bar.into(), offset, data);
        self.settle(read)?;
        Ok(u64::from_le_bytes(value) & u64::MAX >> (64 - 8 * u32::from(bytes)))
    }

    /// Writes `bytes` at `offset` of a BAR that answers; the ROM takes none.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn bar_write(&mut self, bar: u8, offset: u64, bytes: u8, value: u64) -> Result<(), Refused> {
        let value = value.to_le_bytes();
        let data = value.get(..usize::from(bytes)).ok_or(Refused)?;
        let written = self.open.write(&mut self.reach, bar.into(), offset, data);
        self.settle(written)
    }

    /// From now on its INTx is looked at, if it has one that the guest sees.
    pub(super) fn listen(&mut self) {
        if self
            .open
            .irqs()
            .info(index::INTX)
            .is_some_and(|info| info.count != 0)
        {
            self.line_request(IrqAction::Signal(&[true]));
        }
    }

    /// Looks whether it raises its INTx.
    pub(super) fn poll_line(&mut self) {
        self.open.arrived(&mut self.reach, IrqKind::Intx, 0);
    }

    /// The guest has seen to its INTx; it comes again if it is still raised.
    pub(super) fn unmask_line(&mut self) {
        self.line_request(IrqAction::Unmask);
    }

    fn line_request(&mut self, action: IrqAction<'_>) {
        let request = IrqRequest {
            index: index::INTX,
            range: IrqRange { start: 0, count: 1 },
            action,
        };
        // While messages are on there is no line to ask for.
        let _ = self.open.set_irqs(&mut self.reach, &request);
    }

    /// Takes every route back, and forgets what the guest programmed: it has ended.
    pub(super) fn release(&mut self) {
        self.open.drop_interrupts(&mut self.reach);
    }

    /// An access went so: it is refused if it was the guest's mistake. What the hardware did not do is said; the guest reads it, or
    /// waits for it in vain.
    fn settle(&mut self, result: Result<(), AccessError>) -> Result<(), Refused> {
        match result {
            Ok(()) | Err(AccessError::Off | AccessError::Denied) => Ok(()),
            Err(AccessError::Fault(fault)) => {
                let function = self.reach.function;
                self.reach
                    .complain(|| log::warn!("{function} does not do what its guest asks for: {fault}"));
                Ok(())
            }
            Err(_) => Err(Refused),
        }
    }
}

/// The machine, as one function reaches it.
struct Reach<'a, B> {
    function: Bdf,
    /// Its number in `map`.
    index: usize,
    msix: Option<&'a MsiX>,
    cpus: u8,
    backend: &'a mut B,
    map: &'a mut AddressMap,
    complaints: &'a mut u8,
    misplaced: &'a mut bool,
    line_came: &'a mut bool,
    /// A BAR went from where it was.
    freed: bool,
}

impl<B> Reach<'_, B> {
    fn complain(&mut self, say: impl FnOnce()) {
        if *self.complaints < MOST_COMPLAINTS {
            *self.complaints += 1;
            say();
        }
    }

    /// It is the guest's mistake, and said once: a guest can repeat it at will.
    fn say_misplaced(&mut self, bar: &Bar, address: u64, why: core::fmt::Arguments<'_>) {
        if !core::mem::replace(self.misplaced, true) {
            let (function, index) = (self.function, bar.index);
            log::warn!(
                "{function}: its guest puts BAR {index} at {address:#x}, and it does not answer: {why}"
            );
        }
    }
}

impl<B: DeviceBackend> IrqBackend for Reach<'_, B> {
    /// Vectors are taken one by one as the guest programs them. Of MSI there is one.
    fn allocate(&mut self, kind: IrqKind, count: u32) -> Result<u32, Fault> {
        if kind == IrqKind::Msi && count > 1 {
            return Ok(1);
        }
        self.backend.enable(self.function, kind, true)?;
        Ok(count)
    }

    fn free(&mut self, kind: IrqKind) {
        // Turning off does not fail: what does not obey stays masked, or is the guest's until it is reset.
        let _ = self.backend.enable(self.function, kind, false);
    }

    fn connect(&mut self, kind: IrqKind, vector: u32, message: Option<Message>) -> Result<(), Fault> {
        let (Some(source), Some(message)) = (source(kind, vector), message) else {
            return Ok(());
        };
        // A message that is no interrupt is not sent.
        let Some(route) = route(message, self.cpus) else {
            self.backend.unroute(self.function, source);
            return Ok(());
        };
        let routed = self.backend.route(self.function, source, route);
        routed.map_err(|NoRoute| Fault::NoResources)
    }

    fn disconnect(&mut self, kind: IrqKind, vector: u32) {
        if let Some(source) = source(kind, vector) {
            self.backend.unroute(self.function, source);
        }
    }

    fn hold_line(&mut self, _: bool) {}

    fn line_asserted(&mut self) -> bool {
        let status = Registers::new(self.backend.config(), self.function).u16(header::STATUS);
        status != u16::MAX && status & INTERRUPT_STATUS != 0
    }

    /// INTx. A message that is masked is kept by the hardware, and not by the model.
    fn signal(&mut self, index: u32, _: u32) {
        *self.line_came |= index == index::INTX;
    }
}

impl<B: DeviceBackend> Hardware for Reach<'_, B> {
    type Config = dyn ConfigAccess;

    fn config(&self) -> &Self::Config {
        self.backend.config()
    }

    fn wait(&self, nanoseconds: u64) {
        self.backend.wait(nanoseconds);
    }

    fn read_bar(&mut self, bar: &Bar, offset: u64, width: BarWidth) -> u64 {
        self.backend
            .mmio_read(HostPhys(bar.address + offset), width.bytes())
    }

    fn write_bar(&mut self, bar: &Bar, offset: u64, width: BarWidth, value: u64) {
        self.backend
            .mmio_write(HostPhys(bar.address + offset), width.bytes(), value);
    }

    fn map(&mut self, bar: &Bar, address: u64) -> Result<(), Fault> {
        if let Err(overlap) = self.map.place(self.index, bar, address) {
            self.say_misplaced(bar, address, format_args!("{overlap}"));
            return Err(Fault::BadAddress);
        }
        for region in direct(bar, self.msix, address) {
            self.backend.map(region);
        }
        Ok(())
    }

    fn unmap(&mut self, bar: &Bar, address: u64) -> Result<(), Fault> {
        for region in direct(bar, self.msix, address) {
            self.backend.unmap(region);
        }
        self.freed |= self.map.remove(self.index, bar.index);
        Ok(())
    }

    fn can_reset(&self) -> bool {
        // A guest can ask for what it is offered only, and is offered what works.
        true
    }

    fn reset(&mut self) -> Result<(), Fault> {
        self.backend.reset(self.function)?;
        log::info!("{} was reset by its guest", self.function);
        Ok(())
    }

    fn set_power_state(&mut self, state: PowerState) -> Result<bool, Fault> {
        self.backend.set_power_state(self.function, state)
    }

    fn power_state(&mut self) -> Result<PowerState, Fault> {
        self.backend.power_state(self.function)
    }

    /// The hypervisor has no driver for the machine's I/O APIC: the pin stays masked, and is looked at.
    fn unmasks_line(&self) -> bool {
        false
    }

    fn line_goes_on(&mut self) {
        // As at first; what does not obey raises nothing that is seen.
        let _ = self.backend.enable(self.function, IrqKind::Intx, true);
    }

    fn restored(&mut self) {
        let function = self.function;
        self.complain(|| {
            log::warn!("{function} was reset behind the hypervisor's back; its BARs are restored");
        });
    }

    fn misplaced(&mut self, bar: &Bar, address: u64) {
        self.say_misplaced(bar, address, format_args!("that is outside the windows for BARs"));
    }
}

/// The name of an interrupt; INTx has none.
fn source(kind: IrqKind, vector: u32) -> Option<Source> {
    let kind = match kind {
        IrqKind::Intx => return None,
        IrqKind::Msi => Messages::Msi,
        IrqKind::MsiX => Messages::MsiX,
    };
    let vector = u16::try_from(vector).ok()?;
    Some(Source { kind, vector })
}
