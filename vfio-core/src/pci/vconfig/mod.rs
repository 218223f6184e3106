//! The configuration space of an assigned function as its guest sees it.
//!
//! A [`VirtualConfig`] is made of rows: bits of registers that are either virtual (kept for the guest alone) or the hardware's, and
//! writable or not. **What no row names does not exist**: it reads as zero and takes no writes, whether it is a capability that
//! nobody here knows, a gap between two that are known, or a reserved bit of a register that is kept for the guest. That is
//! stricter than Linux's vfio-pci, after which the tables are made, and which lets a guest read and write the gaps.
//!
//! The hardware's own list of capabilities is never followed when the guest reads: next pointers are virtual, and skip what is
//! hidden. What the device says of lengths is believed only up to the next capability.
//!
//! What a write means beyond bits comes back as [`Effect`]s, which the caller carries out: configuration space neither maps nor
//! resets anything. The caller owns the hardware's INTx mask, MSI and MSI-X; no write of a guest reaches them.
//!
//! | file | what |
//! |---|---|
//! | `row` | what a table is made of |
//! | `table` | the tables: header, capabilities, extended capabilities |
//! | `length` | how long a capability is |
//! | `build` | a function's own space, from the tables |
//! | `space` | reads and writes |
//! | `trap` | registers whose writes mean more than bits |
//! | `bars` | base address registers |
//! | `backdoor` | resets that nobody announced |

mod backdoor;
mod bars;
mod build;
mod effect;
mod length;
mod row;
mod space;
mod table;
#[cfg(test)]
mod tests;
mod trap;

pub use crate::pci::config::{ROM, find_rom};
pub use crate::pci::device::PowerState;
pub use bars::{BarPolicy, SHADOW_ROM_SIZE, VirtualBar, Windows};
pub use build::{Offer, Options};
pub use effect::{ConfigError, Effect, Effects, VpdAccess};
pub use space::VirtualConfig;
