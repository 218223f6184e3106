//! Interrupts: what the guest programs in its capabilities and in its MSI-X table, and what the owner asks for, brought to
//! the hardware through one [`Irqs`]. Nothing here allocates memory while a guest runs.

use super::{Hardware, OpenFunction};
use crate::device::{AccessError, IrqAction, IrqError, IrqRange, IrqRequest};
use crate::fault::Fault;
use crate::pci::irq::{
    IrqBackend, IrqKind, Irqs, Message, MsiRegisters, MsiVectors, MsixTable, Signalled, VectorAction, index,
};
use crate::pci::vconfig::VirtualConfig;

/// The hardware, behind a function that masks its own INTx where it can.
pub(super) struct Wired<'d, H> {
    hardware: &'d mut H,
    config: &'d mut VirtualConfig,
}

impl<H: Hardware> IrqBackend for Wired<'_, H> {
    fn allocate(&mut self, kind: IrqKind, count: u32) -> Result<u32, Fault> {
        self.hardware.allocate(kind, count)
    }

    fn free(&mut self, kind: IrqKind) {
        self.hardware.free(kind);
    }

    fn connect(&mut self, kind: IrqKind, vector: u32, message: Option<Message>) -> Result<(), Fault> {
        self.hardware.connect(kind, vector, message)
    }

    fn disconnect(&mut self, kind: IrqKind, vector: u32) {
        self.hardware.disconnect(kind, vector);
    }

    /// At the function first. One that does not obey is for the hypervisor to hold back, at the line.
    fn hold_line(&mut self, held: bool) {
        if self.hardware.unmasks_line() {
            self.config.mask_line(self.hardware.config(), held);
        }
        self.hardware.hold_line(held);
    }

    fn line_asserted(&mut self) -> bool {
        self.hardware.line_asserted()
    }

    fn signal(&mut self, index: u32, number: u32) {
        self.hardware.signal(index, number);
    }
}

impl OpenFunction {
    pub(super) const fn wired<'d, H>(&'d mut self, hardware: &'d mut H) -> (&'d mut Irqs, Wired<'d, H>) {
        let config = &mut self.config;
        (&mut self.irqs, Wired { hardware, config })
    }

    /// An interrupt arrived from the hardware. Whether it was one of this function's. What the guest has masked meanwhile stays
    /// pending.
    pub fn arrived<H: Hardware>(&mut self, hardware: &mut H, kind: IrqKind, vector: u32) -> bool {
        let signalled = match (kind, u16::try_from(vector), &mut self.msix) {
            (IrqKind::Msi, Ok(vector), _) => self.msi.signal(vector),
            (IrqKind::MsiX, Ok(vector), Some(table)) => table.signal(vector),
            _ => Signalled::Lost,
        };
        // An owner may have vectors without a guest that programs them.
        if signalled == Signalled::Pending {
            return true;
        }
        let (irqs, mut wired) = self.wired(hardware);
        irqs.arrived(kind, vector, &mut wired)
    }

    /// An error was reported, or the function is asked back ([`index::ERROR`], [`index::REQUEST`]). Whether anybody was told.
    pub fn event<H: Hardware>(&mut self, hardware: &mut H, index: u32) -> bool {
        let (irqs, mut wired) = self.wired(hardware);
        irqs.event(index, &mut wired)
    }

    /// What the guest wants to have sent for a vector that was signalled; `None` while it has none or masks it.
    #[must_use]
    pub fn message(&self, kind: IrqKind, vector: u16) -> Option<Message> {
        programmed(self.config.msi(), self.msix.as_ref(), kind, vector.into())
    }

    /// Sets up, masks, unmasks or raises interrupts, as the owner asks for.
    ///
    /// # Errors
    /// [`IrqError`]; nothing has changed then.
    pub fn set_irqs<H: Hardware>(
        &mut self,
        hardware: &mut H,
        request: &IrqRequest<'_>,
    ) -> Result<(), IrqError> {
        let gone = request.action == IrqAction::Disable && request.index == index::INTX;
        if gone && core::mem::take(&mut self.line_waits) {
            // Nothing of it is in the hardware.
            return request.check(self.irqs.info(request.index)).map(|_| ());
        }
        let (irqs, mut wired) = self.wired(hardware);
        irqs.set(request, &mut wired)
    }

    /// The guest has programmed MSI.
    pub(super) fn msi_changed<H: Hardware>(
        &mut self,
        hardware: &mut H,
        registers: MsiRegisters,
    ) -> Result<(), AccessError> {
        if !registers.enabled {
            self.msi.update(registers, &mut |_| {});
            self.end(hardware, IrqKind::Msi);
            return Ok(());
        }
        let started = self.start(hardware, IrqKind::Msi, registers.vectors.into());
        let (irqs, config) = (&mut self.irqs, &mut self.config);
        let mut wired = Wired { hardware, config };
        let result = started.and_then(|first| {
            let mut routes = Routes::new(irqs, &mut wired, IrqKind::Msi);
            self.msi.update(registers, &mut |action| routes.carry_out(action));
            for vector in (0..registers.vectors).filter(|_| first) {
                routes.complete(vector.into(), registers.message(vector.into()));
            }
            routes.result.map_err(|fault| (first, fault))
        });
        self.settle(hardware, IrqKind::Msi, result)
    }

    /// The guest has programmed MSI-X's capability.
    pub(super) fn msix_changed<H: Hardware>(
        &mut self,
        hardware: &mut H,
        enabled: bool,
        masked: bool,
    ) -> Result<(), AccessError> {
        let Some(vectors) = self.msix.as_ref().map(MsixTable::vectors) else {
            return Ok(());
        };
        let started = if enabled {
            self.start(hardware, IrqKind::MsiX, vectors.into())
        } else {
            Ok(false)
        };
        let (irqs, config) = (&mut self.irqs, &mut self.config);
        let Some(table) = &mut self.msix else {
            return Ok(());
        };
        if !enabled {
            table.control(false, masked, &mut |_| {});
            self.end(hardware, IrqKind::MsiX);
            return Ok(());
        }
        let mut wired = Wired { hardware, config };
        let result = started.and_then(|first| {
            let mut routes = Routes::new(irqs, &mut wired, IrqKind::MsiX);
            table.control(true, masked, &mut |action| routes.carry_out(action));
            for vector in (0..vectors).filter(|_| first) {
                routes.complete(vector.into(), table.connected(vector));
            }
            routes.result.map_err(|fault| (first, fault))
        });
        self.settle(hardware, IrqKind::MsiX, result)
    }

    /// A write to the MSI-X table.
    pub(super) fn write_table<H: Hardware>(
        &mut self,
        hardware: &mut H,
        offset: u32,
        bytes: u8,
        value: u64,
    ) -> Result<(), AccessError> {
        let (irqs, config) = (&mut self.irqs, &mut self.config);
        let Some(table) = &mut self.msix else {
            return Ok(());
        };
        let mut wired = Wired { hardware, config };
        let mut routes = Routes::new(irqs, &mut wired, IrqKind::MsiX);
        table.write(offset, bytes, value, &mut |action| routes.carry_out(action))?;
        Ok(routes.result?)
    }

    /// Has vectors of `kind` where the guest turns it on; INTx makes way. Whether they are all silent, since they are new. If they cannot
    /// be had, with that and why.
    fn start<H: Hardware>(
        &mut self,
        hardware: &mut H,
        kind: IrqKind,
        count: u32,
    ) -> Result<bool, (bool, Fault)> {
        let active = self.irqs.active();
        if active == Some(kind) && self.irqs.allocated() == count {
            self.programmed = Some(kind);
            return Ok(false);
        }
        self.line_waits |= active == Some(IrqKind::Intx);
        let (irqs, mut wired) = self.wired(hardware);
        if active == Some(IrqKind::Intx) || active == Some(kind) {
            irqs.release(&mut wired);
        }
        irqs.start(kind, count, &mut wired)
            .map_err(|error| (true, refused(error)))?;
        self.programmed = Some(kind);
        Ok(true)
    }

    /// What came of programming a kind: if not even the first set of vectors could be had, the guest finds it off.
    fn settle<H: Hardware>(
        &mut self,
        hardware: &mut H,
        kind: IrqKind,
        result: Result<(), (bool, Fault)>,
    ) -> Result<(), AccessError> {
        match result {
            Ok(()) => Ok(()),
            Err((first, fault)) => {
                if first {
                    self.turn_off(hardware, kind);
                }
                Err(fault.into())
            }
        }
    }

    /// The guest has turned a kind off: INTx comes back if it made way.
    fn end<H: Hardware>(&mut self, hardware: &mut H, kind: IrqKind) {
        self.programmed.take_if(|programmed| *programmed == kind);
        let (irqs, mut wired) = self.wired(hardware);
        if irqs.active() == Some(kind) {
            irqs.release(&mut wired);
        }
        self.line_again(hardware);
    }

    fn line_again<H: Hardware>(&mut self, hardware: &mut H) {
        if self.irqs.active().is_some() || !core::mem::take(&mut self.line_waits) {
            return;
        }
        let request = IrqRequest {
            index: index::INTX,
            range: IrqRange { start: 0, count: 1 },
            action: IrqAction::Signal(&[true]),
        };
        let (irqs, mut wired) = self.wired(hardware);
        // If there is no line any more the owner is without one, as [`IrqError`] would have said.
        let _ = irqs.set(&request, &mut wired);
    }

    /// A kind could not be set up: the guest finds it off, and knows from that.
    fn turn_off<H: Hardware>(&mut self, hardware: &mut H, kind: IrqKind) {
        match kind {
            IrqKind::Msi => {
                self.config.clear_msi();
                self.msi = MsiVectors::default();
            }
            IrqKind::MsiX => {
                self.config.clear_msix();
                if let Some(table) = &mut self.msix {
                    table.control(false, false, &mut |_| {});
                }
            }
            IrqKind::Intx => {}
        }
        self.end(hardware, kind);
    }

    /// The hardware has lost its MSI or MSI-X: what is set up is set up again.
    pub(super) fn program_again<H: Hardware>(&mut self, hardware: &mut H) -> Result<(), AccessError> {
        let Some(kind) = self.irqs.active().filter(|kind| *kind != IrqKind::Intx) else {
            return Ok(());
        };
        // Nothing of it changes meanwhile: configuration space has INTx's mask only, which is not in use.
        let (msi, table) = (self.config.msi(), self.msix.as_ref());
        let message = |vector: u32| programmed(msi, table, kind, vector);
        let config = &mut self.config;
        let again = self.irqs.again(&message, &mut Wired { hardware, config });
        let again = again.map_err(refused);
        if let Err(fault) = again {
            self.turn_off(hardware, kind);
            return Err(fault.into());
        }
        Ok(())
    }

    /// The function has woken up: what its guest has programmed while it slept becomes what is set up.
    pub(super) fn programmed_meanwhile<H: Hardware>(&mut self, hardware: &mut H) -> Result<(), AccessError> {
        let mut result = Ok(());
        let before = self.programmed;
        let concerns = |kind, on: bool| on || before == Some(kind);
        // What went off makes room for what came on.
        for turned_on in [false, true] {
            let msix = self.config.msix().filter(|(on, _)| *on == turned_on);
            if let Some((on, masked)) = msix.filter(|(on, _)| concerns(IrqKind::MsiX, *on)) {
                result = result.and(self.msix_changed(hardware, on, masked));
            }
            let msi = self.config.msi().filter(|msi| msi.enabled == turned_on);
            if let Some(registers) = msi.filter(|msi| concerns(IrqKind::Msi, msi.enabled)) {
                result = result.and(self.msi_changed(hardware, registers));
            }
        }
        result
    }

    /// Before a reset: MSI and MSI-X are off and forgotten.
    pub(super) fn forget_vectors<H: Hardware>(&mut self, hardware: &mut H) {
        self.programmed = None;
        self.msi = MsiVectors::default();
        if let Some(table) = &mut self.msix {
            table.reset(&mut |_| {});
        }
        let (irqs, mut wired) = self.wired(hardware);
        if irqs.active() != Some(IrqKind::Intx) {
            irqs.release(&mut wired);
        }
    }

    /// After a reset: the guest holds INTx back no more, and has it again if it made way for MSI.
    pub(super) fn line_freed<H: Hardware>(&mut self, hardware: &mut H) {
        let (irqs, mut wired) = self.wired(hardware);
        irqs.line_disabled(false, &mut wired);
        self.line_again(hardware);
    }

    /// The end of its use: no vector, no sink, and nothing that the guest has programmed.
    pub fn drop_interrupts<H: Hardware>(&mut self, hardware: &mut H) {
        self.line_waits = false;
        self.forget_vectors(hardware);
        let (irqs, mut wired) = self.wired(hardware);
        irqs.close(&mut wired);
    }
}

/// Vectors of one kind, on their way from what the guest programs to the hardware.
struct Routes<'r, 'd, H> {
    irqs: &'r mut Irqs,
    wired: &'r mut Wired<'d, H>,
    kind: IrqKind,
    /// The first vector that could not be had.
    result: Result<(), Fault>,
}

impl<'r, 'd, H: Hardware> Routes<'r, 'd, H> {
    const fn new(irqs: &'r mut Irqs, wired: &'r mut Wired<'d, H>, kind: IrqKind) -> Self {
        Self {
            irqs,
            wired,
            kind,
            result: Ok(()),
        }
    }

    fn carry_out(&mut self, action: VectorAction) {
        if self.irqs.active() != Some(self.kind) {
            return;
        }
        let routed = match action {
            VectorAction::Connect { vector, message } => {
                self.irqs.route(vector.into(), Some(message), self.wired)
            }
            VectorAction::Disconnect { vector } => self.irqs.route(vector.into(), None, self.wired),
            VectorAction::Deliver { vector, .. } => {
                self.wired.signal(self.kind.index(), vector.into());
                Ok(())
            }
        };
        self.result = self.result.and(routed);
    }

    /// A vector whose message has not changed, and which has not been set up since its kind was on.
    fn complete(&mut self, vector: u32, message: Option<Message>) {
        if let Some(message) = message
            && self.result.is_ok()
            && !self.irqs.has_sink(vector)
        {
            self.result = self.irqs.route(vector, Some(message), self.wired);
        }
    }
}

/// What the guest has programmed for a vector.
fn programmed(
    msi: Option<MsiRegisters>,
    table: Option<&MsixTable>,
    kind: IrqKind,
    vector: u32,
) -> Option<Message> {
    let vector = u16::try_from(vector).ok()?;
    match kind {
        IrqKind::Intx => None,
        IrqKind::Msi => msi?.message(vector),
        IrqKind::MsiX => table?.connected(vector),
    }
}

/// Why the guest does not have what it programmed.
const fn refused(error: IrqError) -> Fault {
    match error {
        IrqError::Fault(fault) => fault,
        IrqError::OtherInUse(_) => Fault::Busy,
        IrqError::Fewer(_) => Fault::NoResources,
        _ => Fault::Rejected,
    }
}
