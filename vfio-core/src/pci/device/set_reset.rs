//! Whether a set is reset when the last of it is closed.

use super::ResetScope;
use crate::pci::Bdf;

/// A member of a set, as the decision needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetMember {
    /// Which function.
    pub function: Bdf,
    /// Whether nothing has reset it since it was used.
    pub needs_reset: bool,
}

/// Why a set is not reset. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSetReset {
    /// Others of the set are open.
    #[error("{0} members of the set are still open")]
    StillOpen(usize),
    /// All members were reset since they were used.
    #[error("no member of the set needs a reset")]
    NotNeeded,
    /// The reset would reach something that is not in the set.
    #[error("a reset by {port} would reach {device}, which is not in the set")]
    Outside {
        /// The bridge.
        port: Bdf,
        /// What is not in the set.
        device: Bdf,
    },
}

/// Whether the set of `members` is reset by `scope` at the last close, while `open` of them are open. The one that is
/// being closed still counts, as it does in VFIO: one is as good as none.
///
/// # Errors
/// [`NoSetReset`] says why not.
pub fn plan_set_reset(scope: &ResetScope, members: &[SetMember], open: usize) -> Result<(), NoSetReset> {
    if open > 1 {
        return Err(NoSetReset::StillOpen(open));
    }
    if !members.iter().any(|member| member.needs_reset) {
        return Err(NoSetReset::NotNeeded);
    }
    whole(scope, |bdf| members.iter().any(|member| member.function == bdf))
}

/// Whether everything that `scope` reaches is a member.
pub(super) fn whole(scope: &ResetScope, member: impl Fn(Bdf) -> bool) -> Result<(), NoSetReset> {
    match scope.outside(member) {
        Some(device) => Err(NoSetReset::Outside {
            port: scope.port,
            device,
        }),
        None => Ok(()),
    }
}
