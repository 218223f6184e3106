//! Hot reset: an owner resets a whole set that is open. What it reaches and who owns that; whether it may happen.

use alloc::vec::Vec;

use super::{NoScope, PowerError, ResetScope};
use crate::fault::Fault;
use crate::pci::Bdf;
use crate::pci::reset::ResetError;

/// Who has a function, from the view of one owner that has names (`I`) for what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership<I> {
    /// The owner has it, under this name.
    Named(I),
    /// The owner has it through its set or group, and has no name for it.
    Unnamed,
    /// Somebody else has it, or nobody.
    NotOwned,
}

/// A function that a hot reset reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affected<I> {
    /// Which.
    pub function: Bdf,
    /// Whose.
    pub ownership: Ownership<I>,
}

/// What a hot reset reaches, for its owner to know before it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotResetInfo<I> {
    /// All functions that are reset, bridges included, in order.
    pub affected: Vec<Affected<I>>,
}

impl<I> HotResetInfo<I> {
    /// Whether the owner has all of them. The reset may still be refused: the whole set counts, not only these.
    #[must_use]
    pub fn all_owned(&self) -> bool {
        !self
            .affected
            .iter()
            .any(|affected| matches!(affected.ownership, Ownership::NotOwned))
    }
}

/// What a hot reset by `scope` reaches, and whose each is.
pub fn hot_reset_info<I>(scope: &ResetScope, ownership: impl Fn(Bdf) -> Ownership<I>) -> HotResetInfo<I> {
    let affected = scope.affected.iter().map(|&function| Affected {
        function,
        ownership: ownership(function),
    });
    HotResetInfo {
        affected: affected.collect(),
    }
}

/// Why a hot reset is refused. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HotResetRefusal {
    /// No bridge resets the device.
    #[error(transparent)]
    NoScope(#[from] NoScope),
    /// It would reach something that is not in the set.
    #[error("hot reset refused: {port} would reset {device}, which is not in the set")]
    Outside {
        /// The bridge.
        port: Bdf,
        /// What is not in the set.
        device: Bdf,
    },
    /// A member of the set is not the owner's, open or not.
    #[error("hot reset refused: {device} is in the set and not owned by who asks; open it first")]
    NotOwned {
        /// Which.
        device: Bdf,
    },
}

/// Whether who owns what `owned` says may reset the set of `members` by `scope`.
///
/// # Errors
/// [`HotResetRefusal`] names what stands in the way.
pub fn plan_hot_reset(
    scope: &ResetScope,
    members: &[Bdf],
    owned: impl Fn(Bdf) -> bool,
) -> Result<(), HotResetRefusal> {
    if let Some(device) = scope.outside(|bdf| members.contains(&bdf)) {
        return Err(HotResetRefusal::Outside {
            port: scope.port,
            device,
        });
    }
    match members.iter().copied().find(|&device| !owned(device)) {
        Some(device) => Err(HotResetRefusal::NotOwned { device }),
        None => Ok(()),
    }
}

/// Why a hot reset did not happen, or did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HotResetError {
    /// It may not happen. Nothing was done.
    #[error(transparent)]
    Refused(#[from] HotResetRefusal),
    /// Somebody is working on a member. Nothing was done.
    #[error("{0} is being opened, closed or reset")]
    Busy(Bdf),
    /// The registers of a member could not be taken from its owner. All members have theirs again.
    #[error("the registers of {function} could not be taken from its owner: {fault}")]
    Exposed {
        /// Which.
        function: Bdf,
        /// Why.
        fault: Fault,
    },
    /// A member does not wake up. The others sleep again as they did, and all have their registers again.
    #[error(transparent)]
    Power(#[from] PowerError),
    /// The reset was tried and failed. All members have their registers again, as far as they came back.
    #[error(transparent)]
    Reset(#[from] ResetError),
}

/// The registers of functions as their owner sees them: mapped BARs, and configuration space.
pub trait Exposure {
    /// Takes the registers of `function` away: unmaps its BARs and holds accesses back.
    ///
    /// # Errors
    /// It cannot be done now ([`Fault::Busy`]), or at all. Nothing has changed then.
    fn withdraw(&self, function: Bdf) -> Result<(), Fault>;

    /// Gives them back. Cannot fail: what was unmapped is mapped again at the next access.
    fn give_back(&self, function: Bdf);
}

/// Nobody sees any registers: the owner's vCPUs have stopped, or have not started.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotExposed;

impl Exposure for NotExposed {
    fn withdraw(&self, _: Bdf) -> Result<(), Fault> {
        Ok(())
    }

    fn give_back(&self, _: Bdf) {}
}

impl<E: Exposure + ?Sized> Exposure for &E {
    fn withdraw(&self, function: Bdf) -> Result<(), Fault> {
        (**self).withdraw(function)
    }

    fn give_back(&self, function: Bdf) {
        (**self).give_back(function);
    }
}
