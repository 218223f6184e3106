//! fsl-mc: objects of an NXP Management Complex, which are opened by whole containers.

pub mod assigned;
pub mod filter;
mod id;
mod inventory;
mod pool;
pub mod portal;
pub mod reset;
pub mod scan;
pub mod spec;
#[cfg(all(test, not(loom)))]
mod tests;

pub use id::{ObjectId, ObjectType};
pub use inventory::{Inventory, Member, Nesting, NotAssignable, SetReset, inventory};
pub use pool::{IrqPool, PoolError, Pools};
