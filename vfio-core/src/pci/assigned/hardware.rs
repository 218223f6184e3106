//! What an open function does its work through: the one trait between its logic and a machine.

use super::BarWidth;
use crate::fault::Fault;
use crate::pci::config::{Bar, ConfigAccess};
use crate::pci::device::PowerState;
use crate::pci::irq::IrqBackend;

/// The hardware of one open function, and what its owner sees of it.
///
/// Every call is for the function that the [`OpenFunction`](super::OpenFunction) was made of, and on behalf of its owner, who stands
/// still meanwhile. What an interrupt is delivered as is for [`IrqBackend`] to know.
pub trait Hardware: IrqBackend {
    /// Configuration space of the machine.
    type Config: ConfigAccess + ?Sized;

    /// Configuration space of the machine.
    fn config(&self) -> &Self::Config;

    /// Lets time pass, for vital product data.
    fn wait(&self, nanoseconds: u64);

    /// Reads at `offset` of `bar`, zero-extended: inside, and a multiple of the width. The function decodes it and is in D0; it may be
    /// gone all the same, and reads are ones then.
    fn read_bar(&mut self, bar: &Bar, offset: u64, width: BarWidth) -> u64;

    /// Writes the low `width` of `value`; as for [`read_bar`](Self::read_bar).
    fn write_bar(&mut self, bar: &Bar, offset: u64, width: BarWidth, value: u64);

    /// From now on the memory BAR or the ROM answers its owner at bus address `address`, where it did not before: maps what of it
    /// [can be mapped](crate::pci::region::mappable), and lets the rest trap.
    ///
    /// # Errors
    /// Something else is there. The BAR answers nowhere, and it is tried again after the next change.
    fn map(&mut self, bar: &Bar, address: u64) -> Result<(), Fault>;

    /// Takes it back from there: the owner reaches nothing of it when this returns.
    ///
    /// # Errors
    /// It cannot be taken away; the owner still has it.
    fn unmap(&mut self, bar: &Bar, address: u64) -> Result<(), Fault>;

    /// Whether [`reset`](Self::reset) can work.
    fn can_reset(&self) -> bool;

    /// Resets the function alone. Nothing of it is mapped, and no message of it is set up. Afterwards it has the configuration that it
    /// had when it was opened, but for bus mastering, MSI and MSI-X, which are off.
    ///
    /// # Errors
    /// It was not reset, or does not come back.
    fn reset(&mut self) -> Result<(), Fault>;

    /// Takes the function to a power state; in any but D0 nothing of it is mapped. Whether that reset it: then it is as after
    /// [`reset`](Self::reset), and its messages are set up again.
    ///
    /// # Errors
    /// It does not go there.
    fn set_power_state(&mut self, state: PowerState) -> Result<bool, Fault>;

    /// The power state that it is in.
    ///
    /// # Errors
    /// It does not answer.
    fn power_state(&mut self) -> Result<PowerState, Fault>;

    /// Whether the function may raise its INTx pin while somebody listens. Where nobody routes the machine's lines it may not, and who
    /// looks whether it [would](crate::pci::irq::IrqBackend::line_asserted) calls [`arrived`](super::OpenFunction::arrived).
    fn unmasks_line(&self) -> bool {
        true
    }

    /// The function was reset, and its owner's INTx is to go on: nothing but INTx may be on in it.
    fn line_goes_on(&mut self) {}

    /// The hardware had been reset by somebody else, and has its BARs again; its messages are set up next. For people.
    fn restored(&mut self) {}

    /// The owner has put a BAR that it decodes where it may not, and it answers nowhere. For people; said again and again.
    fn misplaced(&mut self, _bar: &Bar, _address: u64) {}
}
