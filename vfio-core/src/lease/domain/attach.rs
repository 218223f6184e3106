//! Requesters in a domain: made ready for (`join`), attached, put into quarantine, forgotten (`leave`).
//!
//! What a requester brings along is checked and noted before the first step of an open, so that the steps meet no
//! mapping that does not fit, and no such mapping comes while they run.

use alloc::vec::Vec;

use super::state::{Member, State, Turn};
use super::{Domain, JoinRefusal, Shared};
use crate::addr::Iova;
use crate::domain::Limits;
use crate::fault::Fault;
use crate::id::Requester;
use crate::lease::Platform;
use crate::sync::Arc;

impl<P: Platform> Domain<'_, P> {
    /// Whether the mappings fit all of `requesters` and the units that translate for them.
    ///
    /// # Errors
    /// [`JoinRefusal`] names the requester and the mapping.
    pub fn admits(&self, requesters: &[Requester]) -> Result<(), JoinRefusal> {
        let newcomers = self.newcomers(requesters)?;
        with(&self.0.shared.state.lock(), &newcomers).map(drop)
    }

    /// Makes the domain ready for `requesters`: from now on mappings must fit them too.
    pub(in crate::lease) fn join(&self, requesters: &[Requester]) -> Result<(), JoinRefusal> {
        let newcomers = self.newcomers(requesters)?;
        let turn = Turn::take(&self.0.shared).ok_or(JoinRefusal::Busy)?;
        let mut state = turn.state();
        state.limits = with(&state, &newcomers)?;
        state.members.extend(newcomers);
        Ok(())
    }

    /// Undoes [`join`](Self::join), for those that are attached no more.
    pub(in crate::lease) fn leave(&self, requesters: &[Requester]) {
        let mut state = self.0.shared.state.lock();
        state
            .members
            .retain(|member| member.attached || member.stuck || !requesters.contains(&member.requester));
        state.set_limits();
    }

    /// Attaches a requester. If it is the first one behind its unit, all mappings are made there. On an error it counts as
    /// attached: nobody knows what the unit made of it. Its quarantine is what undoes this.
    pub(in crate::lease) fn attach(&self, requester: Requester) -> Result<(), Fault> {
        let turn = Turn::take(&self.0.shared).ok_or(Fault::Busy)?;
        let replay = {
            let mut state = turn.state();
            let member = state.members.iter().find(|member| member.requester == requester);
            let unit = member.ok_or(Fault::Unknown)?.unit;
            let there = state
                .units
                .iter()
                .find(|other| other.id == unit)
                .map(|other| other.whole);
            if there == Some(false) {
                // What the unit maps is not known: a requester could not be taken out after a failure.
                return Err(Fault::Rejected);
            }
            state.set_attached(requester, true);
            there.is_none().then_some(unit)
        };
        self.platform().attach(self.0.id, requester)?;
        let Some(unit) = replay else {
            return Ok(());
        };
        let mut from = Some(Iova(0));
        while let Some(start) = from {
            let next = turn.state().mappings.next_from(start);
            let Some(mapping) = next else { break };
            self.platform().map(unit, self.0.id, mapping)?;
            from = mapping.last().and_then(|last| last.checked_add(1));
        }
        turn.state().set_whole(unit);
        Ok(())
    }

    /// Puts a requester into quarantine. With the last one behind a unit the unit forgets the domain. If it fails, the
    /// domain is kept with all that it maps, until a repair of the cohort has done it.
    pub(in crate::lease) fn quarantine(&self, requester: Requester) -> Result<(), Fault> {
        quarantine(&self.0.shared, self.platform(), requester)
    }

    /// What is left of this domain to a cohort that could not be taken out of it.
    pub(in crate::lease) fn stuck(&self) -> Stuck {
        Stuck(Arc::clone(&self.0.shared))
    }

    fn newcomers(&self, requesters: &[Requester]) -> Result<Vec<Member>, JoinRefusal> {
        let newcomer = |&requester| {
            let unit = self.platform().unit_of(requester)?;
            Ok(Member {
                requester,
                unit,
                limits: self.platform().limits(unit)?,
                reserved: self.platform().reserved(requester)?,
                attached: false,
                stuck: false,
            })
        };
        let each = requesters.iter().map(|requester| {
            let found: Result<Member, Fault> = newcomer(requester);
            found.map_err(|fault| JoinRefusal::Unknown {
                requester: *requester,
                fault,
            })
        });
        each.collect()
    }
}

/// A domain that requesters could not be taken out of. It does not keep the domain alive, which is not destroyed as long as
/// one of them is in it.
pub(in crate::lease) struct Stuck(Arc<Shared>);

impl Stuck {
    /// Tries again. When this is `Ok`, the requester reaches nothing of the domain any more.
    pub(in crate::lease) fn quarantine<P: Platform>(
        &self,
        platform: &P,
        requester: Requester,
    ) -> Result<(), Fault> {
        quarantine(&self.0, platform, requester)?;
        let mut state = self.0.state.lock();
        state.members.retain(|member| member.requester != requester);
        state.set_limits();
        Ok(())
    }
}

fn quarantine<P: Platform>(shared: &Shared, platform: &P, requester: Requester) -> Result<(), Fault> {
    // This is done in any case. A change that goes on at the same time, which takes longer than any should, may then
    // find that its unit has forgotten the domain; its range is poisoned, and that is safe.
    let _turn = Turn::take(shared);
    let done = platform.quarantine(requester);
    shared.state.lock().note_quarantine(requester, done.is_ok());
    done
}

/// The limits with `newcomers`, if all mappings keep to them.
fn with(state: &State, newcomers: &[Member]) -> Result<Limits, JoinRefusal> {
    let mut limits = state.limits.clone();
    for newcomer in newcomers {
        let granule = limits.granule();
        newcomer.add_to(&mut limits);
        if let Some(misfit) = state.mappings.misfit(&limits, granule) {
            return Err(JoinRefusal::Misfit {
                requester: newcomer.requester,
                unit: newcomer.unit,
                misfit,
            });
        }
    }
    Ok(limits)
}
