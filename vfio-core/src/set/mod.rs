//! Device sets: devices that share one open and reset scope, and one lock.
//!
//! Three counts, never mixed:
//!
//! | count | kept in | guarded by |
//! |---|---|---|
//! | members of the set, which is how long it lives | [`SetTable`] | the table's lock |
//! | opens of one device, which decide on first open and last close | the set | the set's lock |
//! | opens in the whole set | the set | the set's lock |
//!
//! The two locks are never held together, and neither is held while a callback runs: the set is in a
//! [`SetPhase`] meanwhile, and whoever comes is refused by it.

mod device_set;
#[cfg(test)]
mod loom_tests;
mod table;
#[cfg(test)]
mod tests;

pub use device_set::{CloseError, Counts, DeviceSet, OpenError, OpenToken, SetPhase};
pub use table::{RegisterError, Registration, SetTable, StillInUse};
