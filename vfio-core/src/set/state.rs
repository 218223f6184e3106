//! What a set keeps under its lock: who is open how often, who works, and what is broken.

use core::fmt;

use super::{OpenError, ResetError};
use crate::fault::Fault;
use crate::hash::Map;
use crate::id::{DeviceId, Owner};

/// What a set is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetPhase {
    /// Nothing: no member is open.
    Idle,
    /// A member's first open is running.
    Opening(DeviceId),
    /// Members are open for this owner.
    Open(Owner),
    /// A member's last close is running.
    Closing(DeviceId),
    /// A member, or the whole set, is being reset.
    Resetting,
    /// A close failed; no member is opened again.
    Broken(DeviceId, Fault),
}

impl fmt::Display for SetPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Opening(device) => write!(f, "{device} is being opened"),
            Self::Open(owner) => write!(f, "open for {owner}"),
            Self::Closing(device) => write!(f, "{device} is being closed"),
            Self::Resetting => f.write_str("being reset"),
            Self::Broken(device, fault) => write!(f, "out of service since closing {device} failed: {fault}"),
        }
    }
}

/// Counts of opens, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Opens of the device that was asked about. 1 while its last close runs.
    pub device: u32,
    /// Opens in the whole set. 1 while the last close in the set runs.
    pub set: u32,
}

/// What is running; one thing at a time in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Opening(DeviceId),
    Closing(DeviceId),
    Resetting,
}

#[derive(Debug, Default)]
pub(super) struct Member {
    opens: u32,
    pub(super) unregistering: bool,
    pub(super) needs_reset: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) members: Map<DeviceId, Member>,
    /// The sum of the members' opens, kept so that no open or close has to look at all of them.
    opens: u32,
    pub(super) work: Option<Work>,
    /// Who has members open, or is about to.
    owner: Option<Owner>,
    broken: Option<(DeviceId, Fault)>,
}

impl State {
    pub(super) fn phase(&self) -> SetPhase {
        match (self.work, self.broken, self.owner) {
            (Some(Work::Opening(device)), ..) => SetPhase::Opening(device),
            (Some(Work::Closing(device)), ..) => SetPhase::Closing(device),
            (Some(Work::Resetting), ..) => SetPhase::Resetting,
            (None, Some((device, fault)), _) => SetPhase::Broken(device, fault),
            (None, None, Some(owner)) => SetPhase::Open(owner),
            (None, None, None) => SetPhase::Idle,
        }
    }

    pub(super) fn counts(&self, device: DeviceId) -> Counts {
        Counts {
            device: self.members.get(&device).map_or(0, |member| member.opens),
            set: self.opens,
        }
    }

    /// Begins an open of `device`: counted at once if it is open already (`Ok(false)`), else the set is `Opening`, and
    /// [`opened`](Self::opened) must follow (`Ok(true)`).
    pub(super) fn begin_open(&mut self, device: DeviceId, owner: Owner) -> Result<bool, OpenError> {
        if let Some((device, fault)) = self.broken {
            return Err(OpenError::Broken(device, fault));
        }
        match self.work {
            None => {}
            Some(Work::Opening(other) | Work::Closing(other)) => return Err(OpenError::Busy(other)),
            Some(Work::Resetting) => return Err(OpenError::Resetting),
        }
        if let Some(holder) = self.owner.filter(|holder| *holder != owner) {
            return Err(OpenError::OwnedByAnother(holder));
        }
        let opens = match self.members.get(&device) {
            Some(member) if !member.unregistering => member.opens,
            _ => return Err(OpenError::Unregistering(device)),
        };
        if self.opens == u32::MAX {
            return Err(OpenError::TooMany);
        }
        if opens > 0 {
            self.count_open(device);
            return Ok(false);
        }
        self.work = Some(Work::Opening(device));
        Ok(true)
    }

    /// Ends the first open of `device`.
    pub(super) fn opened(&mut self, device: DeviceId, owner: Owner, result: Result<(), Fault>) {
        self.work = None;
        if result.is_ok() {
            self.owner = Some(owner);
            self.count_open(device);
        }
    }

    /// Begins a close of `device`: counted at once if others have it open too (`Ok(false)`), else the set is `Closing`, and
    /// [`closed`](Self::closed) must follow (`Ok(true)`). `Err` if something is running.
    pub(super) fn begin_close(&mut self, device: DeviceId) -> Result<bool, SetPhase> {
        if self.counts(device).device > 1 {
            self.count_close(device);
            return Ok(false);
        }
        if self.work.is_some() {
            return Err(self.phase());
        }
        self.work = Some(Work::Closing(device));
        Ok(true)
    }

    /// Ends the last close of `device`.
    pub(super) fn closed(&mut self, device: DeviceId, result: Result<(), Fault>) {
        self.work = None;
        self.count_close(device);
        if let Some(member) = self.members.get_mut(&device) {
            member.needs_reset = true;
        }
        if self.opens == 0 {
            self.owner = None;
        }
        if let Err(fault) = result {
            self.break_down(device, fault);
        }
    }

    pub(super) fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// Whether a last close calls for a reset of the set, which reaches `scope`.
    pub(super) fn calls_for_reset(&self, scope: &[DeviceId]) -> bool {
        self.opens <= 1
            && scope.len() == self.members.len()
            && scope.iter().all(|device| self.members.contains_key(device))
            && self.members.values().any(|member| member.needs_reset)
    }

    /// Begins a reset of `devices` for `owner`, or for nobody while the set is closed.
    pub(super) fn begin_reset(
        &mut self,
        devices: &[DeviceId],
        owner: Option<Owner>,
    ) -> Result<(), ResetError> {
        if let Some(holder) = self.owner.filter(|holder| Some(*holder) != owner) {
            return Err(ResetError::OwnedByAnother(holder));
        }
        if let Some(stranger) = devices.iter().find(|device| !self.members.contains_key(*device)) {
            return Err(ResetError::NotMember(*stranger));
        }
        if self.work.is_some() {
            return Err(ResetError::Busy(self.phase()));
        }
        self.work = Some(Work::Resetting);
        Ok(())
    }

    /// Ends a reset: its devices need none any more, or one still.
    pub(super) fn was_reset(&mut self, devices: &[DeviceId], worked: bool) {
        self.work = None;
        for device in devices {
            if let Some(member) = self.members.get_mut(device) {
                member.needs_reset = !worked;
            }
        }
    }

    /// Puts the set out of service. The first cause stays.
    pub(super) fn break_down(&mut self, device: DeviceId, fault: Fault) {
        self.broken.get_or_insert((device, fault));
    }

    /// Back into service, if nothing is open and nobody works.
    pub(super) fn mend(&mut self) -> bool {
        let free = self.opens == 0 && self.work.is_none();
        if free {
            self.broken = None;
        }
        free
    }

    /// Both counts are below their limit: the set's is, and no device's is above it.
    fn count_open(&mut self, device: DeviceId) {
        if let Some(member) = self.members.get_mut(&device) {
            member.opens = member.opens.saturating_add(1);
            self.opens = self.opens.saturating_add(1);
        }
    }

    fn count_close(&mut self, device: DeviceId) {
        if let Some(member) = self.members.get_mut(&device).filter(|member| member.opens > 0) {
            member.opens -= 1;
            self.opens = self.opens.saturating_sub(1);
        }
    }
}
