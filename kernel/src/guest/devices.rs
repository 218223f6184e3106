//! The assigned functions of a guest: what of them is mapped, and what of them traps and is answered here.
//!
//! Built before the guest starts. [`AssignedFunctions::with`] joins it with the machine for one exit and is then the
//! [`Devices`] of [`dispatch`](super::dispatch).

use super::DeviceBackend;
use super::dispatch::Devices;
use super::layout::{ECAM, ECAM_SIZE};
use super::pci_bus::{PciBus, Refused};
use crate::addr::GuestPhys;
use crate::pci::{ConfigAccess, Function};

pub use super::pci_bus::{BusError, Line, Placement, SLOTS, Wiring};

/// What a trapped access reaches, and how far into it.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// Configuration space.
    Ecam(u64),
    /// A window for BARs.
    Bars,
}

/// The assigned functions of one guest.
#[derive(Debug)]
pub struct AssignedFunctions {
    bus: PciBus,
}

impl AssignedFunctions {
    /// Places `functions` on the guest's bus and in its BAR windows. Reads their configuration, changes nothing: the
    /// caller opens them before the guest starts, with decoding of memory as it is now.
    ///
    /// # Errors
    /// [`BusError`].
    pub fn new(config: &dyn ConfigAccess, functions: &[&Function], wiring: Wiring) -> Result<Self, BusError> {
        let bus = PciBus::plan(config, functions, wiring)?;
        Ok(Self { bus })
    }

    /// Maps the BARs that answer from the start; from then on they are mapped and unmapped as the guest turns decoding on and off.
    pub fn show(&mut self, backend: &mut impl DeviceBackend) {
        self.bus.show(backend);
    }

    /// Where each function is, for messages.
    pub fn placements(&self) -> impl Iterator<Item = Placement> {
        self.bus.placements()
    }

    /// From now on INTx lines are seen, where the guest has an I/O APIC for them. Called once its functions are open.
    ///
    /// A line is a level. It [comes](Self::poll_lines) once, is held back until the guest has [seen to it](Self::end_of_interrupt), and
    /// comes again at once if the function still raises it. The hypervisor has no driver for the machine's own I/O APIC, so that lines are
    /// looked at; the pin itself stays masked.
    pub fn listen(&mut self, backend: &mut impl DeviceBackend) {
        self.bus.listen(backend);
    }

    /// Looks at the lines of functions whose guest uses INTx and has seen to the last one: one read of a status register each, and
    /// none where no function does. Says which came.
    pub fn poll_lines(&mut self, backend: &mut impl DeviceBackend, came: &mut dyn FnMut(Line)) {
        self.bus.poll_lines(backend, came);
    }

    /// The guest has ended the interrupt of an input of its I/O APIC: the lines that are `concerned` may come again, and those that do at
    /// once are said.
    pub fn end_of_interrupt(
        &mut self,
        backend: &mut impl DeviceBackend,
        concerned: &dyn Fn(Line) -> bool,
        came: &mut dyn FnMut(Line),
    ) {
        self.bus.end_of_interrupt(backend, concerned, came);
    }

    /// Takes every interrupt route back: the guest has ended.
    pub fn release(&mut self, backend: &mut impl DeviceBackend) {
        self.bus.release(backend);
    }

    /// Whether any of them answers at `gpa`.
    #[must_use]
    pub fn has(&self, gpa: GuestPhys) -> bool {
        self.find(gpa).is_some()
    }

    /// The functions with the machine behind them.
    pub const fn with<'a, B: DeviceBackend>(&'a mut self, backend: &'a mut B) -> Bound<'a, B> {
        Bound {
            functions: self,
            backend,
        }
    }

    /// The one table of addresses that trap.
    fn find(&self, gpa: GuestPhys) -> Option<Target> {
        if (ECAM..ECAM + ECAM_SIZE).contains(&gpa.0) {
            return Some(Target::Ecam(gpa.0 - ECAM));
        }
        self.bus.spans(gpa).then_some(Target::Bars)
    }
}

/// [`AssignedFunctions`] for the length of one exit.
#[derive(Debug)]
pub struct Bound<'a, B> {
    functions: &'a mut AssignedFunctions,
    backend: &'a mut B,
}

impl<B: DeviceBackend> Devices for Bound<'_, B> {
    fn has(&self, gpa: GuestPhys) -> bool {
        self.functions.has(gpa)
    }

    fn read(&mut self, gpa: GuestPhys, bytes: u8) -> Option<u64> {
        let target = self.functions.find(gpa);
        let bus = &mut self.functions.bus;
        match target? {
            Target::Ecam(offset) => bus.config_read(self.backend, offset, bytes).map(u64::from),
            Target::Bars => bus.bar_read(self.backend, gpa, bytes),
        }
        .ok()
    }

    fn write(&mut self, gpa: GuestPhys, bytes: u8, value: u64) -> bool {
        let target = self.functions.find(gpa);
        let bus = &mut self.functions.bus;
        match target {
            Some(Target::Ecam(offset)) => bus.config_write(self.backend, offset, bytes, value as u32),
            Some(Target::Bars) => bus.bar_write(self.backend, gpa, bytes, value),
            None => Err(Refused),
        }
        .is_ok()
    }
}

#[cfg(test)]
#[path = "devices_tests/mod.rs"]
mod tests;
