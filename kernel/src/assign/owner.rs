//! What the owner of an open function does with it beyond its registers, on the owner's own CPU.
//!
//! Resets go through the lease, which keeps others out of the set meanwhile; [`Assigner`]'s part in one is `restore_device`.

use super::Assigner;
use super::platform::logged;
use crate::iommu::Unit;
use crate::pci::{ConfigAccess, MmioAccess};
use vfio_core::clock::Clock;
use vfio_core::lease::DeviceOps;
use vfio_core::pci::Bdf;
use vfio_core::pci::device::{NotExposed, PowerState};
use vfio_core::{Fault, Owner};

impl<C: ConfigAccess, K: Clock, M: MmioAccess, U: Unit> Assigner<C, K, M, U> {
    /// Takes `function`, whose registers `owner` does not see meanwhile, to `state`. Says whether that reset it; then its registers
    /// answer, and its interrupts are ready and masked, as after an open.
    ///
    /// # Errors
    /// It is in other hands, has no such state, or does not go there.
    pub fn set_power_state(&self, function: Bdf, state: PowerState, owner: Owner) -> Result<bool, Fault> {
        let change = self
            .table
            .set_power_state(&self.host(), function, state, &NotExposed);
        let change = logged(change)?;
        if change.lost_state {
            self.restore_device(function.into(), owner)?;
        }
        Ok(change.lost_state)
    }

    /// The power state that `function` is in.
    ///
    /// # Errors
    /// It is in other hands, or does not answer.
    pub fn power_state(&self, function: Bdf) -> Result<PowerState, Fault> {
        let host = self.host();
        let found = self.table.with(function, |function| function.power_state(&host));
        logged(found.and_then(|state| Ok(state?)))
    }
}
