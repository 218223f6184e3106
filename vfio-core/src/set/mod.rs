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
//! The two locks are never held together, and neither is held while a callback or a reset runs: the set is in a
//! [`SetPhase`] meanwhile, and whoever comes is refused by it, or waits as its [`Patience`] says.
//!
//! A device that was closed needs a reset ([`DeviceSet::needs_reset`]) until one of it or of its set has worked.

mod device_set;
mod error;
mod handle;
#[cfg(test)]
mod loom_tests;
mod patience;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod token;

pub use device_set::DeviceSet;
pub use error::{CloseError, OpenError, ResetError};
pub use handle::Handle;
pub use patience::Patience;
pub use state::{Counts, SetPhase};
pub use table::{RegisterError, Registration, SetTable, StillInUse};
pub use token::OpenToken;
