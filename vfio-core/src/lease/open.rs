//! The steps of an open and of a close, in order, and the way back from each.
//!
//! Open: quiesce all, reset, check that all came back, attach all, `open_device`, interrupts. The domain is built
//! before. Close: quiesce all, `close_device`, interrupts freed, quarantine all, reset. An owner that starts anew has its
//! devices closed and checked, and then the second half of an open.

use super::crew::Crew;
use super::steps::{Steps, note};
use super::{Domain, JoinRefusal, Platform};
use crate::cohort::Refusal;
use crate::fault::Failure;

/// Why cohorts were not opened. Those of the plan that were open by then are closed again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenFailure {
    /// The cohort cannot be had now; since the plan was made, things may have changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The owner's domain does not take the devices. Nothing was touched.
    #[error(transparent)]
    Domain(#[from] JoinRefusal),
    /// A step failed, and all is as before. If it was a reset, nobody knows what the devices are like; they are in
    /// quarantine, and no open goes past that reset before it works.
    #[error(transparent)]
    Failed(Failure),
    /// A step failed, and so did the way back: the cohort is out of service.
    #[error("{failure}; undoing it failed as well, and the cohort is out of service: {broken}")]
    Broken {
        /// What failed first.
        failure: Failure,
        /// What could not be undone.
        broken: Failure,
    },
}

/// An open that failed, after the way back.
pub(super) struct Unwound {
    pub(super) failure: Failure,
    /// The first step of the way back that failed.
    pub(super) broken: Option<Failure>,
}

/// How far an open came; the tokens are in the crew.
#[derive(Default)]
struct Progress {
    attached: usize,
    interrupts: usize,
}

/// Opens every member of `crew`, or leaves all as it was.
pub(super) fn run<P: Platform>(
    steps: Steps<'_, P>,
    crew: &mut Crew,
    domain: &Domain<'_, P>,
) -> Result<(), Unwound> {
    unwinding(steps, crew, domain, forward)
}

/// Gives the members of `crew`, which [`rest`] has taken and reset, back to the owner, or leaves all as it was.
pub(super) fn wake<P: Platform>(
    steps: Steps<'_, P>,
    crew: &mut Crew,
    domain: &Domain<'_, P>,
) -> Result<(), Unwound> {
    unwinding(steps, crew, domain, hand_over)
}

/// What takes an open forward, and says how far it came.
type Forward<P> = fn(Steps<'_, P>, &mut Crew, &Domain<'_, P>, &mut Progress) -> Result<(), Failure>;

fn unwinding<P: Platform>(
    steps: Steps<'_, P>,
    crew: &mut Crew,
    domain: &Domain<'_, P>,
    forward: Forward<P>,
) -> Result<(), Unwound> {
    let mut progress = Progress::default();
    forward(steps, crew, domain, &mut progress).map_err(|failure| {
        let broken = back(steps, crew, domain, progress).err();
        Unwound { failure, broken }
    })
}

fn forward<P: Platform>(
    steps: Steps<'_, P>,
    crew: &mut Crew,
    domain: &Domain<'_, P>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    for &device in crew.members() {
        steps.quiesce(device)?;
    }
    for (action, set) in crew.resets() {
        steps.reset(action, set)?;
    }
    for &device in crew.members() {
        steps.check_alive(device)?;
    }
    hand_over(steps, crew, domain, progress)
}

/// The second half of an open: from devices that are quiet and reset to devices that their owner has.
fn hand_over<P: Platform>(
    steps: Steps<'_, P>,
    crew: &mut Crew,
    domain: &Domain<'_, P>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let owner = domain.owner();
    for &requester in crew.requesters() {
        // Counted before: what the IOMMU made of a failing attach is not known, so it goes back too.
        progress.attached += 1;
        steps.attach(domain, requester)?;
    }
    crew.open_all(steps, owner)?;
    for &device in crew.members() {
        steps.enable_interrupts(device, owner)?;
        progress.interrupts += 1;
    }
    Ok(())
}

/// Undoes in exact reverse order. A device that was opened may have been let loose by its callback, so it is
/// quieted before it is closed. Goes on after a failure: the more is undone the better.
fn back<P: Platform>(
    steps: Steps<'_, P>,
    crew: &mut Crew,
    domain: &Domain<'_, P>,
    progress: Progress,
) -> Result<(), Failure> {
    let mut result = Ok(());
    for &device in crew.members().iter().take(progress.interrupts).rev() {
        note(&mut result, steps.release_interrupts(device));
    }
    while let Some(token) = crew.tokens.pop() {
        note(&mut result, steps.quiesce(token.device()));
        note(&mut result, steps.close(token));
    }
    deny(steps, crew, progress.attached, domain, &mut result);
    result
}

/// Takes a cohort back from its owner. Every step is done even if one before failed, since each makes things safer;
/// the first failure is what put the cohort out of service.
pub(super) fn close<P: Platform>(
    steps: Steps<'_, P>,
    crew: &mut Crew,
    domain: &Domain<'_, P>,
) -> Result<(), Failure> {
    let mut result = Ok(());
    for &device in crew.members().iter().rev() {
        note(&mut result, steps.quiesce(device));
    }
    while let Some(token) = crew.tokens.pop() {
        note(&mut result, steps.close(token));
    }
    for &device in crew.members().iter().rev() {
        note(&mut result, steps.release_interrupts(device));
    }
    deny(steps, crew, usize::MAX, domain, &mut result);
    for (action, set) in crew.resets() {
        note(&mut result, steps.reset_after_close(action, set));
    }
    result
}

/// Takes a cohort from an owner that starts anew: a close, after which every member must answer.
pub(super) fn rest<P: Platform>(
    steps: Steps<'_, P>,
    crew: &mut Crew,
    domain: &Domain<'_, P>,
) -> Result<(), Failure> {
    let mut result = close(steps, crew, domain);
    for &device in crew.members() {
        note(&mut result, steps.check_alive(device));
    }
    result
}

/// Puts the first `attached` requesters into quarantine, last first.
fn deny<P: Platform>(
    steps: Steps<'_, P>,
    crew: &mut Crew,
    attached: usize,
    domain: &Domain<'_, P>,
    result: &mut Result<(), Failure>,
) {
    let mut all = Ok(());
    for &requester in crew.requesters().iter().take(attached).rev() {
        note(&mut all, steps.detach(domain, requester));
    }
    if all.is_err() {
        crew.set_stuck(Some(domain.stuck()));
    }
    note(result, all);
}

/// Brings a cohort back that is out of service: quiet, no interrupts, no memory, reset, and answering. Every step is done
/// even if one before failed; the first failure is what keeps the cohort out of service.
pub(super) fn repair<P: Platform>(steps: Steps<'_, P>, crew: &mut Crew) -> Result<(), Failure> {
    let mut result = Ok(());
    for &device in crew.members().iter().rev() {
        note(&mut result, steps.quiesce(device));
    }
    for &device in crew.members().iter().rev() {
        note(&mut result, steps.release_interrupts(device));
    }
    let mut all = Ok(());
    for &requester in crew.requesters().iter().rev().chain(crew.strays()) {
        note(&mut all, steps.quarantine_from(crew.stuck(), requester));
    }
    if all.is_ok() {
        crew.set_stuck(None);
    }
    note(&mut result, all);
    for (action, set) in crew.resets() {
        note(&mut result, steps.reset(action, set));
    }
    for &device in crew.members() {
        note(&mut result, steps.check_alive(device));
    }
    result
}

/// Quiets the members and puts their requesters into quarantine, before anything is known of them.
pub(super) fn deny_all<P: Platform>(steps: Steps<'_, P>, crew: &Crew) -> Result<(), Failure> {
    let mut result = Ok(());
    for &device in crew.members() {
        note(&mut result, steps.quiesce(device));
    }
    for &requester in crew.requesters() {
        note(&mut result, steps.quarantine(requester));
    }
    result
}
