//! The steps of an open and of a close, in order, and the way back from each.
//!
//! Open: quiesce all, reset, check that all came back, attach all, `open_device`, interrupts. The domain is built
//! before. Close: quiesce all, `close_device`, interrupts freed, quarantine all, reset.

use alloc::vec::Vec;

use super::{Domain, JoinRefusal, Platform};
use crate::cohort::{Cohort, Refusal, ResetAction};
use crate::fault::{Failure, Fault, Step};
use crate::id::DeviceId;
use crate::set::{CloseError, OpenError, OpenToken, Registration};

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

/// How far an open came.
#[derive(Default)]
struct Progress {
    attached: usize,
    tokens: Vec<OpenToken>,
    interrupts: usize,
}

/// Opens every member of `cohort`, or leaves all as it was.
pub(super) fn run<P: Platform>(
    platform: &P,
    cohort: &Cohort,
    registrations: &[Registration],
    domain: &Domain<'_, P>,
) -> Result<Vec<OpenToken>, Unwound> {
    let mut progress = Progress::default();
    match forward(platform, cohort, registrations, domain, &mut progress) {
        Ok(()) => Ok(progress.tokens),
        Err(failure) => {
            let broken = back(platform, cohort, domain, progress).err();
            Err(Unwound { failure, broken })
        }
    }
}

fn forward<P: Platform>(
    platform: &P,
    cohort: &Cohort,
    registrations: &[Registration],
    domain: &Domain<'_, P>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let owner = domain.owner();
    for &device in cohort.members() {
        step(Step::Quiesce(device), platform.quiesce(device))?;
    }
    for action in cohort.resets() {
        step(Step::Reset(reset_name(action)), platform.reset(action))?;
    }
    for &device in cohort.members() {
        step(Step::CheckAlive(device), platform.check_alive(device))?;
    }
    for &requester in cohort.requesters() {
        // Counted before: what the IOMMU made of a failing attach is not known, so it goes back too.
        progress.attached += 1;
        step(Step::Attach(requester), domain.attach(requester))?;
    }
    for registration in registrations {
        let device = registration.device();
        let opened = registration.open(owner, platform).map_err(fault_of_open);
        progress.tokens.push(step(Step::OpenDevice(device), opened)?);
    }
    for &device in cohort.members() {
        step(
            Step::EnableInterrupts(device),
            platform.enable_interrupts(device, owner),
        )?;
        progress.interrupts += 1;
    }
    Ok(())
}

/// Undoes in exact reverse order. A device that was opened may have been let loose by its callback, so it is
/// quieted before it is closed. Goes on after a failure: the more is undone the better.
fn back<P: Platform>(
    platform: &P,
    cohort: &Cohort,
    domain: &Domain<'_, P>,
    progress: Progress,
) -> Result<(), Failure> {
    let Progress {
        attached,
        tokens,
        interrupts,
    } = progress;
    let mut result = Ok(());
    for &device in cohort.members().iter().take(interrupts).rev() {
        note(&mut result, release(platform, device));
    }
    for token in tokens.into_iter().rev() {
        note(&mut result, quiesce(platform, token.device()));
        note(&mut result, close_device(platform, token));
    }
    for &requester in cohort.requesters().iter().take(attached).rev() {
        note(
            &mut result,
            step(Step::Quarantine(requester), domain.quarantine(requester)),
        );
    }
    result
}

/// Takes a cohort back from its owner. Every step is done even if one before failed, since each makes things safer;
/// the first failure is what put the cohort out of service.
pub(super) fn close<P: Platform>(
    platform: &P,
    cohort: &Cohort,
    domain: &Domain<'_, P>,
    tokens: Vec<OpenToken>,
) -> Result<(), Failure> {
    let mut result = Ok(());
    for &device in cohort.members().iter().rev() {
        note(&mut result, quiesce(platform, device));
    }
    for token in tokens.into_iter().rev() {
        note(&mut result, close_device(platform, token));
    }
    for &device in cohort.members().iter().rev() {
        note(&mut result, release(platform, device));
    }
    for &requester in cohort.requesters().iter().rev() {
        note(
            &mut result,
            step(Step::Quarantine(requester), domain.quarantine(requester)),
        );
    }
    for action in cohort.resets() {
        note(
            &mut result,
            step(Step::Reset(reset_name(action)), platform.reset(action)),
        );
    }
    result
}

fn step<T>(step: Step, result: Result<T, Fault>) -> Result<T, Failure> {
    result.map_err(|fault| Failure { step, fault })
}

fn note(result: &mut Result<(), Failure>, next: Result<(), Failure>) {
    if result.is_ok() {
        *result = next;
    }
}

fn quiesce(platform: &impl Platform, device: DeviceId) -> Result<(), Failure> {
    step(Step::Quiesce(device), platform.quiesce(device))
}

fn release(platform: &impl Platform, device: DeviceId) -> Result<(), Failure> {
    step(
        Step::ReleaseInterrupts(device),
        platform.release_interrupts(device),
    )
}

fn close_device(platform: &impl Platform, token: OpenToken) -> Result<(), Failure> {
    let device = token.device();
    let closed = token.close(platform).map_err(|error| match error {
        CloseError::Busy(..) => Fault::Busy,
        CloseError::Failed(fault) => fault,
    });
    step(Step::CloseDevice(device), closed)
}

/// A cohort holds whole sets and is in one state, so nothing but the callback itself is expected to fail.
fn fault_of_open(error: OpenError) -> Fault {
    match error {
        OpenError::Failed(fault) | OpenError::Broken(_, fault) => fault,
        OpenError::Busy(_) | OpenError::OwnedByAnother(_) => Fault::Busy,
        OpenError::Unregistering(_) => Fault::Unknown,
        OpenError::TooMany => Fault::NoResources,
    }
}

/// The device that stands for a reset in messages.
fn reset_name(action: &ResetAction) -> DeviceId {
    match action {
        ResetAction::Device { device, .. } => *device,
        ResetAction::Set { port, members, .. } => members.first().copied().unwrap_or(DeviceId::Pci(*port)),
    }
}
