//! Resets of a function or of a bus, each bounded, each ending with proof that the function answers again.
//!
//! [`reset_function`] takes the methods of one function in the order of [`methods`]; [`secondary_bus_reset`] resets
//! everything behind a port. Both put back the [`SavedConfig`] that they are given, with bus mastering off. What is
//! known of a device beyond what it says of itself comes through [`ResetHooks`]. Waits go through
//! [`Clock`], never under a lock.

mod alive;
mod bus;
mod function;
mod host;
mod nvme;
mod saved;
#[cfg(all(test, not(loom)))]
mod tests;

pub use alive::alive;
pub use bus::secondary_bus_reset;
pub use function::{ResetMethod, methods, reset_function};
pub use host::{Host, HostParts, NoHooks, ResetHooks, ResetQuirks};
pub use nvme::disable_nvme;
pub use saved::SavedConfig;

use crate::clock::{Clock, MILLISECOND};
use crate::fault::Fault;
use crate::pci::Bdf;

/// How long a function may have transactions pending before a function level reset (section 6.6.2 leaves it to the
/// completion time-out, which is 50 ms by default).
const PENDING_LIMIT: u64 = 100 * MILLISECOND;
/// How long a function need not answer after a reset (sections 6.6.1, 6.6.2).
const RESET_TIME: u64 = 100 * MILLISECOND;
/// How long to wait for the first answer. One second is what the specification allows a device that does not ask for
/// more; some do.
const ANSWER_LIMIT: u64 = 5_000 * MILLISECOND;
/// How long D3hot must last, and how long the way back may take (section 5.9).
pub(super) const D3HOT_TIME: u64 = 10 * MILLISECOND;
/// How long the secondary bus is held in reset: at least 1 ms (section 7.5.1.3.13).
const HOLD_TIME: u64 = 2 * MILLISECOND;
/// How long the link may take to come up again.
const LINK_LIMIT: u64 = 1_000 * MILLISECOND;
/// Between two looks.
const POLL: u64 = MILLISECOND;

/// Why a reset did not work. The function's state is then unknown, unless the error says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    /// The function has no such reset, or a quirk forbids it. Nothing was done.
    #[error("{0} has no such reset")]
    Unsupported(Bdf),
    /// Its transactions do not end. Nothing was done.
    #[error("{0} still has transactions pending after {limit} ms", limit = PENDING_LIMIT / MILLISECOND)]
    Pending(Bdf),
    /// It did not answer before the reset: its configuration reads as all ones. Nothing was done.
    #[error("{0} does not respond")]
    Gone(Bdf),
    /// It still has what it had before: the reset did nothing.
    #[error("{0} ignores its reset")]
    NotReset(Bdf),
    /// It does not answer after the reset.
    #[error("{0} does not answer {limit} ms after its reset", limit = (RESET_TIME + ANSWER_LIMIT) / MILLISECOND)]
    NoAnswer(Bdf),
    /// Something else answers than discovery found there.
    #[error("{function} is another device now: {found:#010x} instead of {expected:#010x}")]
    Changed {
        /// Where.
        function: Bdf,
        /// Device and vendor id before; class and revision of a virtual function.
        expected: u32,
        /// The same now.
        found: u32,
    },
    /// It stays in a low-power state.
    #[error("{0} does not come back from D3hot")]
    Asleep(Bdf),
    /// The link below the port stays down.
    #[error("the link below {0} is still down {limit} ms after the reset", limit = LINK_LIMIT / MILLISECOND)]
    LinkDown(Bdf),
    /// The port does not obey.
    #[error("{0} does not take the reset bit")]
    Stuck(Bdf),
    /// It came back, and does not take its configuration.
    #[error("{function} does not take back its register at {offset:#x}")]
    NotRestored {
        /// Where.
        function: Bdf,
        /// The register.
        offset: u16,
    },
    /// The reset that only this kind of device has failed.
    #[error("the reset that is particular to {function} failed: {fault}")]
    Specific {
        /// The function.
        function: Bdf,
        /// Why.
        fault: Fault,
    },
}

impl ResetError {
    /// Whether the function is as it was, so that another reset can be tried.
    #[must_use]
    pub const fn is_untouched(&self) -> bool {
        matches!(
            self,
            Self::Unsupported(_) | Self::Pending(_) | Self::Gone(_) | Self::NotReset(_)
        )
    }
}

impl From<ResetError> for Fault {
    fn from(error: ResetError) -> Self {
        match error {
            ResetError::Pending(_) | ResetError::LinkDown(_) => Self::TimedOut,
            ResetError::Gone(_) | ResetError::NoAnswer(_) | ResetError::Asleep(_) => Self::Gone,
            ResetError::Unsupported(_) => Self::Unknown,
            ResetError::Specific { fault, .. } => fault,
            ResetError::NotReset(_)
            | ResetError::Changed { .. }
            | ResetError::Stuck(_)
            | ResetError::NotRestored { .. } => Self::Rejected,
        }
    }
}

/// Looks until `done`, at most `limit` nanoseconds.
fn until(clock: &impl Clock, limit: u64, mut done: impl FnMut() -> bool) -> bool {
    let start = clock.now();
    // A clock that stands still must not turn the bound into a hang, so looks are counted as well.
    for _ in 0..=limit / POLL {
        if done() {
            return true;
        }
        if clock.now().saturating_sub(start) >= limit {
            break;
        }
        clock.wait(POLL);
    }
    done()
}
