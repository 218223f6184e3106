//! The life of an assigned PCI function: enabled when it is opened, reset while it is open, disabled when it is closed.
//!
//! [`AssignedFunction`] knows what one function went through, and does each step in an order in which a device that
//! misbehaves harms nobody: bus mastering goes off first, configuration is copied before an owner sees it, and what
//! comes back after a reset is checked. [`FunctionTable`] has the functions of a machine, each in use by one caller at a
//! time, and does what concerns several: the reset of a set ([`ResetScope`] is what it reaches), and the hot reset that
//! an owner asks for. Deciding is apart from doing: [`plan_set_reset`], [`plan_hot_reset`] and [`hot_reset_info`] touch
//! nothing.
//!
//! The orders are those of Linux's `vfio_pci_core_enable`, `vfio_pci_core_disable`, `vfio_pci_dev_set_try_reset` and
//! `vfio_pci_dev_set_hot_reset`, but for this:
//!
//! - INTx stays masked when a function is enabled. Who routes it unmasks it ([`AssignedFunction::mask_intx`]).
//! - Nothing turns bus mastering back on after a reset or a low-power state: what asked for either asks for that too.
//! - A disabled function decodes nothing, also where the copy of its configuration says that it did.
//! - The last reset may be left to the caller ([`LastReset::Later`]), who does it when no domain is attached any more.

mod disable;
mod enable;
mod error;
mod function;
mod hot_reset;
mod intx;
#[cfg(all(test, loom))]
mod loom_tests;
mod power;
mod scope;
mod set_reset;
mod set_table;
mod table;
#[cfg(all(test, not(loom)))]
mod tests;

pub use disable::{Disabled, LastReset};
pub use error::FunctionError;
pub use function::AssignedFunction;
pub use hot_reset::{
    Affected, Exposure, HotResetError, HotResetInfo, HotResetRefusal, NotExposed, Ownership, hot_reset_info,
    plan_hot_reset,
};
pub use intx::Intx;
pub use power::{PowerChange, PowerError, PowerState};
pub use scope::{NoScope, ResetScope};
pub use set_reset::{NoSetReset, SetMember, plan_set_reset};
pub use table::FunctionTable;
