//! The single steps that opens, closes, resets and repairs are made of, each with its name in case it fails.

use super::domain::Stuck;
use super::{Domain, Platform};
use crate::cohort::ResetAction;
use crate::fault::{Failure, Fault, Step};
use crate::id::{DeviceId, Owner, Requester};
use crate::set::{CloseError, DeviceSet, OpenError, OpenToken, Patience, Registration, ResetError};

/// Steps on `P`, each of which may wait: no lock is held.
pub(super) struct Steps<'p, P>(pub(super) &'p P);

impl<P> Clone for Steps<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Steps<'_, P> {}

fn named<T>(step: Step, result: Result<T, Fault>) -> Result<T, Failure> {
    result.map_err(|fault| Failure { step, fault })
}

impl<P: Platform> Steps<'_, P> {
    pub(super) fn quiesce(self, device: DeviceId) -> Result<(), Failure> {
        named(Step::Quiesce(device), self.0.quiesce(device))
    }

    pub(super) fn check_alive(self, device: DeviceId) -> Result<(), Failure> {
        named(Step::CheckAlive(device), self.0.check_alive(device))
    }

    pub(super) fn quarantine(self, requester: Requester) -> Result<(), Failure> {
        named(Step::Quarantine(requester), self.0.quarantine(requester))
    }

    /// The same for a requester that perhaps could not be taken out of a domain before.
    pub(super) fn quarantine_from(self, stuck: Option<&Stuck>, requester: Requester) -> Result<(), Failure> {
        match stuck {
            Some(stuck) => named(Step::Quarantine(requester), stuck.quarantine(self.0, requester)),
            None => self.quarantine(requester),
        }
    }

    pub(super) fn attach(self, domain: &Domain<'_, P>, requester: Requester) -> Result<(), Failure> {
        named(Step::Attach(requester), domain.attach(requester))
    }

    /// From the domain into quarantine. If that fails, the domain and what it maps stay until a repair has done it.
    pub(super) fn detach(self, domain: &Domain<'_, P>, requester: Requester) -> Result<(), Failure> {
        named(Step::Quarantine(requester), domain.quarantine(requester))
    }

    pub(super) fn enable_interrupts(self, device: DeviceId, owner: Owner) -> Result<(), Failure> {
        named(
            Step::EnableInterrupts(device),
            self.0.enable_interrupts(device, owner),
        )
    }

    pub(super) fn release_interrupts(self, device: DeviceId) -> Result<(), Failure> {
        named(Step::ReleaseInterrupts(device), self.0.release_interrupts(device))
    }

    pub(super) fn restore(self, device: DeviceId, owner: Owner) -> Result<(), Failure> {
        named(Step::Restore(device), self.0.restore_device(device, owner))
    }

    /// A reset of a set that nobody has open.
    pub(super) fn reset(self, action: &ResetAction, set: &DeviceSet) -> Result<(), Failure> {
        let done = set.reset(action.devices(), None, Patience::NONE, || self.0.reset(action));
        named(Step::Reset(name_of(action)), done.map_err(fault_of_reset))
    }

    /// The reset of a device or a set after its last close.
    pub(super) fn reset_after_close(self, action: &ResetAction, set: &DeviceSet) -> Result<(), Failure> {
        match action {
            ResetAction::Device { .. } => self.reset(action, set),
            ResetAction::Set { members, .. } => {
                let done = set.reset_after_last_close(members, || self.0.reset(action));
                let done = done.map_err(fault_of_reset).and_then(|ran| {
                    // Nothing but this lease closes members, so that one of them needs the reset.
                    if ran { Ok(()) } else { Err(Fault::Busy) }
                });
                named(Step::Reset(name_of(action)), done)
            }
        }
    }

    pub(super) fn open(self, registration: &Registration, owner: Owner) -> Result<OpenToken, Failure> {
        let opened = registration.open(owner, self.0).map_err(fault_of_open);
        named(Step::OpenDevice(registration.device()), opened)
    }

    pub(super) fn close(self, token: OpenToken) -> Result<(), Failure> {
        let device = token.device();
        let closed = token.close(self.0).map_err(|error| match error {
            CloseError::Busy(..) => Fault::Busy,
            CloseError::Failed(fault) => fault,
        });
        named(Step::CloseDevice(device), closed)
    }
}

/// Keeps the first failure.
pub(super) fn note(result: &mut Result<(), Failure>, next: Result<(), Failure>) {
    if result.is_ok() {
        *result = next;
    }
}

/// A cohort holds whole sets and is in one state, so nothing but the callback itself is expected to fail.
fn fault_of_open(error: OpenError) -> Fault {
    match error {
        OpenError::Failed(fault) | OpenError::Broken(_, fault) => fault,
        OpenError::Busy(_) | OpenError::Resetting | OpenError::OwnedByAnother(_) => Fault::Busy,
        OpenError::Unregistering(_) => Fault::Unknown,
        OpenError::TooMany => Fault::NoResources,
    }
}

fn fault_of_reset(error: ResetError) -> Fault {
    match error {
        ResetError::Failed(fault) => fault,
        ResetError::Busy(_) | ResetError::OwnedByAnother(_) => Fault::Busy,
        ResetError::NotMember(_) => Fault::Unknown,
    }
}

/// The device that stands for a reset in messages.
pub(super) fn name_of(action: &ResetAction) -> DeviceId {
    use crate::cohort::SetReset;
    match action {
        ResetAction::Device { device, .. } => *device,
        ResetAction::Set { by, members, .. } => members.first().copied().unwrap_or(match by {
            SetReset::Port(port) => DeviceId::Pci(*port),
            SetReset::Container(container) => DeviceId::FslMc(*container),
        }),
    }
}
