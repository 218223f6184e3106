//! Interrupts: what the guest programs in its capabilities and in its MSI-X table, and what the owner asks for, brought to
//! the hardware through one [`Irqs`].

use super::{BarAccess, PciDevice};
use crate::device::{AccessError, IrqAction, IrqError, IrqRange, IrqRequest};
use crate::fault::Fault;
use crate::pci::device::Exposure;
use crate::pci::irq::{
    IrqBackend, IrqKind, Irqs, Message, MsiRegisters, MsiVectors, Signalled, VectorAction, index,
};
use crate::pci::reset::Host;
use crate::pci::vconfig::VirtualConfig;
use alloc::vec::Vec;

/// The backend, behind a function that masks its own INTx where it can.
pub(super) struct Wired<'d, H, B> {
    backend: &'d mut B,
    config: &'d mut VirtualConfig,
    host: &'d H,
}

impl<H: Host, B: IrqBackend> IrqBackend for Wired<'_, H, B> {
    fn allocate(&mut self, kind: IrqKind, count: u32) -> Result<u32, Fault> {
        self.backend.allocate(kind, count)
    }

    fn free(&mut self, kind: IrqKind) {
        self.backend.free(kind);
    }

    fn connect(&mut self, kind: IrqKind, vector: u32) -> Result<(), Fault> {
        self.backend.connect(kind, vector)
    }

    fn disconnect(&mut self, kind: IrqKind, vector: u32) {
        self.backend.disconnect(kind, vector);
    }

    /// At the function first. One that does not obey is for the backend to hold back, at the line.
    fn hold_line(&mut self, held: bool) {
        self.config.mask_line(self.host, held);
        self.backend.hold_line(held);
    }

    fn line_asserted(&mut self) -> bool {
        self.backend.line_asserted()
    }

    fn signal(&mut self, index: u32, number: u32) {
        self.backend.signal(index, number);
    }
}

impl<'a, H: Host, M: BarAccess, E: Exposure, B: IrqBackend> PciDevice<'a, H, M, E, B> {
    pub(super) fn wired(&mut self) -> (&mut Irqs, Wired<'_, H, B>) {
        let wired = Wired {
            backend: &mut self.backend,
            config: &mut self.config,
            host: self.machine.host,
        };
        (&mut self.irqs, wired)
    }

    /// An interrupt arrived from the hardware. Whether it was one of this function's. What the guest has masked meanwhile stays
    /// pending.
    pub fn arrived(&mut self, kind: IrqKind, vector: u32) -> bool {
        let signalled = match (kind, u16::try_from(vector), &mut self.msix) {
            (IrqKind::Msi, Ok(vector), _) => self.msi.signal(vector),
            (IrqKind::MsiX, Ok(vector), Some(table)) => table.signal(vector),
            _ => Signalled::Lost,
        };
        // An owner may have vectors without a guest that programs them.
        if signalled == Signalled::Pending {
            return true;
        }
        let (irqs, mut wired) = self.wired();
        irqs.arrived(kind, vector, &mut wired)
    }

    /// An error was reported, or the function is asked back ([`index::ERROR`], [`index::REQUEST`]). Whether anybody was told.
    pub fn event(&mut self, index: u32) -> bool {
        let (irqs, mut wired) = self.wired();
        irqs.event(index, &mut wired)
    }

    /// What the guest wants to have sent for a vector that was signalled; `None` while it has none or masks it.
    #[must_use]
    pub fn message(&self, kind: IrqKind, vector: u16) -> Option<Message> {
        match kind {
            IrqKind::Intx => None,
            IrqKind::Msi => self.config.msi()?.message(vector),
            IrqKind::MsiX => self.msix.as_ref()?.connected(vector),
        }
    }

    pub(super) fn request(&mut self, request: &IrqRequest<'_>) -> Result<(), IrqError> {
        let gone = request.action == IrqAction::Disable && request.index == index::INTX;
        if gone && core::mem::take(&mut self.line_waits) {
            // Nothing of it is in the hardware.
            return request.check(self.irqs.info(request.index)).map(|_| ());
        }
        let (irqs, mut wired) = self.wired();
        irqs.set(request, &mut wired)
    }

    /// The guest has programmed MSI.
    pub(super) fn msi_changed(&mut self, registers: MsiRegisters) -> Result<(), AccessError> {
        let mut actions: Vec<VectorAction> = Vec::new();
        self.msi.update(registers, &mut |action| actions.push(action));
        if !registers.enabled {
            self.end(IrqKind::Msi);
            return Ok(());
        }
        let vectors = u16::from(registers.vectors);
        let wanted: Vec<bool> = (0..vectors)
            .map(|vector| registers.message(vector).is_some())
            .collect();
        self.program(IrqKind::Msi, &wanted)?;
        self.deliver(index::MSI, &actions);
        Ok(())
    }

    /// The guest has programmed MSI-X's capability.
    pub(super) fn msix_changed(&mut self, enabled: bool, masked: bool) -> Result<(), AccessError> {
        let Some(table) = &mut self.msix else {
            return Ok(());
        };
        let mut actions: Vec<VectorAction> = Vec::new();
        table.control(enabled, masked, &mut |action| actions.push(action));
        if !enabled {
            self.end(IrqKind::MsiX);
            return Ok(());
        }
        let wanted: Vec<bool> = (0..table.vectors())
            .map(|vector| table.connected(vector).is_some())
            .collect();
        self.program(IrqKind::MsiX, &wanted)?;
        self.deliver(index::MSIX, &actions);
        Ok(())
    }

    /// The guest has programmed entries of the MSI-X table.
    pub(super) fn act(&mut self, actions: &[VectorAction]) -> Result<(), AccessError> {
        for action in actions {
            match *action {
                VectorAction::Connect { vector, .. } => self.sink(IrqKind::MsiX, vector.into(), true)?,
                VectorAction::Disconnect { vector } => self.sink(IrqKind::MsiX, vector.into(), false)?,
                VectorAction::Deliver { .. } => self.deliver(index::MSIX, &[*action]),
            }
        }
        Ok(())
    }

    fn deliver(&mut self, index: u32, actions: &[VectorAction]) {
        for action in actions {
            if let VectorAction::Deliver { vector, .. } = action {
                self.backend.signal(index, (*vector).into());
            }
        }
    }

    /// Sets up the vectors of a kind that are `wanted`, and no others. A guest that cannot have them finds the kind off.
    fn program(&mut self, kind: IrqKind, wanted: &[bool]) -> Result<(), AccessError> {
        let active = self.irqs.active();
        let result = if active == Some(kind) && usize::try_from(self.irqs.allocated()) == Ok(wanted.len()) {
            (0..)
                .zip(wanted)
                .try_for_each(|(vector, wanted)| self.sink(kind, vector, *wanted))
        } else {
            self.line_waits |= active == Some(IrqKind::Intx);
            let (irqs, mut wired) = self.wired();
            if matches!(active, Some(IrqKind::Intx)) || active == Some(kind) {
                irqs.release(&mut wired);
            }
            let count = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
            let request = IrqRequest {
                index: kind.index(),
                range: IrqRange { start: 0, count },
                action: IrqAction::Signal(wanted),
            };
            irqs.set(&request, &mut wired).map_err(refused)
        };
        if result.is_err() {
            self.turn_off(kind);
        }
        result
    }

    /// One vector of an active kind.
    fn sink(&mut self, kind: IrqKind, vector: u32, wanted: bool) -> Result<(), AccessError> {
        if self.irqs.active() != Some(kind) || self.irqs.has_sink(vector) == wanted {
            return Ok(());
        }
        let request = IrqRequest {
            index: kind.index(),
            range: IrqRange {
                start: vector,
                count: 1,
            },
            action: IrqAction::Signal(&[wanted]),
        };
        let (irqs, mut wired) = self.wired();
        irqs.set(&request, &mut wired).map_err(refused)
    }

    /// The guest has turned a kind off: INTx comes back if it made way.
    fn end(&mut self, kind: IrqKind) {
        let (irqs, mut wired) = self.wired();
        if irqs.active() == Some(kind) {
            irqs.release(&mut wired);
        }
        self.line_again();
    }

    fn line_again(&mut self) {
        if self.irqs.active().is_some() || !core::mem::take(&mut self.line_waits) {
            return;
        }
        let request = IrqRequest {
            index: index::INTX,
            range: IrqRange { start: 0, count: 1 },
            action: IrqAction::Signal(&[true]),
        };
        let (irqs, mut wired) = self.wired();
        // If there is no line any more the owner is without one, as [`IrqError`] would have said.
        let _ = irqs.set(&request, &mut wired);
    }

    /// A kind could not be set up: the guest finds it off, and knows from that.
    fn turn_off(&mut self, kind: IrqKind) {
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
        self.end(kind);
    }

    /// The hardware has lost its MSI or MSI-X: what is set up is set up again.
    pub(super) fn program_again(&mut self) -> Result<(), AccessError> {
        let Some(kind) = self.irqs.active().filter(|kind| *kind != IrqKind::Intx) else {
            return Ok(());
        };
        let (irqs, mut wired) = self.wired();
        let again = irqs.again(&mut wired).map_err(refused);
        if again.is_err() {
            self.turn_off(kind);
        }
        again
    }

    /// Before a reset: MSI and MSI-X are off and forgotten.
    pub(super) fn forget_vectors(&mut self) {
        self.msi = MsiVectors::default();
        if let Some(table) = &mut self.msix {
            table.reset(&mut |_| {});
        }
        let (irqs, mut wired) = self.wired();
        if irqs.active() != Some(IrqKind::Intx) {
            irqs.release(&mut wired);
        }
    }

    /// After a reset: the guest holds INTx back no more, and has it again if it made way for MSI.
    pub(super) fn line_freed(&mut self) {
        let (irqs, mut wired) = self.wired();
        irqs.line_disabled(false, &mut wired);
        self.line_again();
    }

    /// At the close: no vector, no sink.
    pub(super) fn drop_interrupts(&mut self) {
        self.line_waits = false;
        self.forget_vectors();
        let (irqs, mut wired) = self.wired();
        irqs.close(&mut wired);
    }
}

/// Why the guest does not have what it programmed.
fn refused(error: IrqError) -> AccessError {
    AccessError::Fault(match error {
        IrqError::Fault(fault) => fault,
        IrqError::OtherInUse(_) => Fault::Busy,
        IrqError::Fewer(_) => Fault::NoResources,
        _ => Fault::Rejected,
    })
}
