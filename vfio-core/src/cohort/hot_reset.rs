//! Whether an owner may reset a whole set while its devices are open: pure, without touching a device.

use super::{Cohorts, Obstacle, ResetAction};
use crate::id::{DeviceId, Owner, SetId};

/// Why a set is not reset while it is open. No device was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HotResetRefusal {
    /// There is no such device.
    #[error("{0} is not there, or is no device that can be assigned")]
    NotFound(DeviceId),
    /// Nothing resets the set as a whole.
    #[error("hot reset refused: nothing resets {0} as a whole")]
    NoMethod(SetId),
    /// The reset would not stay within the set, or not reach all of it.
    #[error("hot reset of {set} refused: {obstacle}")]
    Scope {
        /// The set.
        set: SetId,
        /// What stands in the way.
        obstacle: Obstacle,
    },
    /// A device that would be reset is not the owner's.
    #[error("hot reset of {set} refused: {device} is in its scope and {}", Whose(*.holder))]
    NotOwned {
        /// The set.
        set: SetId,
        /// The device.
        device: DeviceId,
        /// Who holds it, if anybody does.
        holder: Option<Owner>,
    },
    /// The plan was made for other cohorts, or another owner.
    #[error("the plan was made for other cohorts or another owner")]
    ForeignPlan,
}

struct Whose(Option<Owner>);

impl core::fmt::Display for Whose {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(owner) => write!(f, "belongs to {owner}"),
            None => f.write_str("is not open"),
        }
    }
}

/// A reset of a whole set that its owner may have. Only [`Cohorts::plan_hot_reset`] and
/// [`CohortTable::plan_hot_reset`](crate::lease::CohortTable::plan_hot_reset) make one.
#[derive(Clone, Copy, Debug)]
#[must_use = "a plan resets nothing by itself"]
pub struct HotResetPlan<'c> {
    pub(crate) source: &'c Cohorts,
    owner: Owner,
    set: SetId,
    action: &'c ResetAction,
}

impl<'c> HotResetPlan<'c> {
    /// Who asked for it.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        self.owner
    }

    /// The set.
    #[must_use]
    pub const fn set(&self) -> SetId {
        self.set
    }

    /// What would be done, and to which devices.
    #[must_use]
    pub const fn action(&self) -> &'c ResetAction {
        self.action
    }
}

impl Cohorts {
    /// Whether `owner` may reset the whole set of `device` now, where `holder` says who has each device open.
    ///
    /// # Errors
    /// [`HotResetRefusal`] names the first device that stands in the way: one outside the set, one that takes no
    /// part, one that is not the owner's.
    pub fn plan_hot_reset(
        &self,
        owner: Owner,
        device: DeviceId,
        holder: impl Fn(DeviceId) -> Option<Owner>,
    ) -> Result<HotResetPlan<'_>, HotResetRefusal> {
        let set = self.device(device).ok_or(HotResetRefusal::NotFound(device))?.set;
        let scope = self.scope(set).ok_or(HotResetRefusal::NoMethod(set))?;
        if let Some(obstacle) = scope.obstacle {
            return Err(HotResetRefusal::Scope { set, obstacle });
        }
        let action = self.set_action(set).ok_or(HotResetRefusal::NoMethod(set))?;
        for &device in action.devices() {
            let holder = holder(device);
            if holder != Some(owner) {
                return Err(HotResetRefusal::NotOwned { set, device, holder });
            }
        }
        Ok(HotResetPlan {
            source: self,
            owner,
            set,
            action,
        })
    }
}
