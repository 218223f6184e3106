//! One device set: its members, their opens, and the phase that keeps callbacks of two members apart.

use alloc::vec::Vec;

use crate::fault::Fault;
use crate::hash::Map;
use crate::id::{DeviceId, Owner, SetId};
use crate::lease::DeviceOps;
use crate::sync::{Arc, Mutex};

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
    /// A close failed; no member is opened again.
    Broken(DeviceId, Fault),
}

/// Counts of opens, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Opens of the device that was asked about. 1 while its last close runs.
    pub device: u32,
    /// Opens in the whole set. 1 while the last close in the set runs.
    pub set: u32,
}

/// Why a device was not opened. Everything is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The device is not registered here, or is being unregistered.
    #[error("{0} is being unregistered")]
    Unregistering(DeviceId),
    /// Another open or close is running in the set.
    #[error("{0} is being opened or closed, which is in the same set")]
    Busy(DeviceId),
    /// Somebody else has members of the set open.
    #[error("the set belongs to {0}")]
    OwnedByAnother(Owner),
    /// A close failed in this set earlier.
    #[error("the set is out of service since closing {0} failed: {1}")]
    Broken(DeviceId, Fault),
    /// There cannot be that many opens.
    #[error("too many opens")]
    TooMany,
    /// The first open failed.
    #[error("opening the device failed: {0}")]
    Failed(Fault),
}

/// Why a device was not closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// Another open or close is running in the set; here is the token, to try again.
    #[error("{0} is being opened or closed, which is in the same set")]
    Busy(DeviceId, OpenToken),
    /// The last close failed. The device counts as closed, and the set is out of service.
    #[error("closing the device failed: {0}")]
    Failed(Fault),
}

#[derive(Debug, Default)]
struct Member {
    opens: u32,
    unregistering: bool,
}

#[derive(Debug)]
struct State {
    members: Map<DeviceId, Member>,
    opens: u32,
    phase: SetPhase,
}

impl State {
    fn member_opens(&self, device: DeviceId) -> u32 {
        self.members.get(&device).map_or(0, |member| member.opens)
    }

    /// Adds to both counts, or to none.
    fn count_open(&mut self, device: DeviceId) -> Option<()> {
        let set = self.opens.checked_add(1)?;
        let member = self.members.get_mut(&device)?;
        member.opens = member.opens.checked_add(1)?;
        self.opens = set;
        Some(())
    }

    fn count_close(&mut self, device: DeviceId) {
        if let Some(member) = self.members.get_mut(&device).filter(|member| member.opens > 0) {
            member.opens -= 1;
            self.opens = self.opens.saturating_sub(1);
        }
    }
}

/// Devices that share one open and reset scope.
pub struct DeviceSet {
    id: SetId,
    /// Tells this set from an earlier one with the same id, whose members have all left.
    generation: u64,
    state: Mutex<State>,
}

impl core::fmt::Debug for DeviceSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DeviceSet")
            .field("id", &self.id)
            .field("generation", &self.generation)
            .finish()
    }
}

/// One open of one device: whoever has it may close the device once. It cannot be copied, so that a device is
/// never closed more often than it was opened.
///
/// ```compile_fail,E0382
/// # use vfio_core::{lease::DeviceOps, set::OpenToken};
/// fn closes_twice(token: OpenToken, ops: &impl DeviceOps) {
///     drop(token.close(ops));
///     drop(token.close(ops));
/// }
/// ```
#[derive(Debug)]
#[must_use = "the device stays open until the token is closed"]
pub struct OpenToken {
    set: Arc<DeviceSet>,
    device: DeviceId,
    owner: Owner,
}

impl DeviceSet {
    pub(super) fn new(id: SetId, generation: u64) -> Self {
        let state = State {
            members: Map::default(),
            opens: 0,
            phase: SetPhase::Idle,
        };
        Self {
            id,
            generation,
            state: Mutex::new(state),
        }
    }

    /// The set's key.
    #[must_use]
    pub const fn id(&self) -> SetId {
        self.id
    }

    /// A number that no other set of the table has or had.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The members, in order.
    #[must_use]
    pub fn members(&self) -> Vec<DeviceId> {
        let mut members: Vec<DeviceId> = self.state.lock().members.keys().copied().collect();
        members.sort_unstable();
        members
    }

    /// What the set is doing at this moment.
    #[must_use]
    pub fn phase(&self) -> SetPhase {
        self.state.lock().phase
    }

    /// Opens of `device` and of the whole set at this moment. May be called from a callback.
    #[must_use]
    pub fn counts(&self, device: DeviceId) -> Counts {
        let state = self.state.lock();
        Counts {
            device: state.member_opens(device),
            set: state.opens,
        }
    }

    /// Links a member, which the table has counted already.
    pub(super) fn link(&self, device: DeviceId) {
        self.state.lock().members.insert(device, Member::default());
    }

    /// From now on no open of `device` succeeds. `Ok` if it is closed, and then it is unlinked.
    pub(super) fn unlink(&self, device: DeviceId) -> Result<(), Counts> {
        let mut state = self.state.lock();
        let counts = Counts {
            device: state.member_opens(device),
            set: state.opens,
        };
        let running = matches!(state.phase, SetPhase::Opening(d) | SetPhase::Closing(d) if d == device);
        if let Some(member) = state.members.get_mut(&device) {
            member.unregistering = true;
        }
        if counts.device > 0 || running {
            return Err(counts);
        }
        state.members.remove(&device);
        Ok(())
    }

    /// Opens `device` for `owner`; its first open runs [`DeviceOps::open_device`].
    pub(super) fn open(
        this: &Arc<Self>,
        device: DeviceId,
        owner: Owner,
        ops: &impl DeviceOps,
    ) -> Result<OpenToken, OpenError> {
        let token = OpenToken {
            set: Arc::clone(this),
            device,
            owner,
        };
        let before = {
            let mut state = this.state.lock();
            match state.phase {
                SetPhase::Idle => {}
                SetPhase::Open(holder) if holder == owner => {}
                SetPhase::Open(holder) => return Err(OpenError::OwnedByAnother(holder)),
                SetPhase::Opening(other) | SetPhase::Closing(other) => return Err(OpenError::Busy(other)),
                SetPhase::Broken(other, fault) => return Err(OpenError::Broken(other, fault)),
            }
            match state.members.get(&device) {
                Some(member) if !member.unregistering => {}
                _ => return Err(OpenError::Unregistering(device)),
            }
            if state.member_opens(device) > 0 {
                return state.count_open(device).map(|()| token).ok_or(OpenError::TooMany);
            }
            if state.opens == u32::MAX {
                return Err(OpenError::TooMany);
            }
            core::mem::replace(&mut state.phase, SetPhase::Opening(device))
        };
        let result = ops.open_device(device, owner);
        let mut state = this.state.lock();
        if let Err(fault) = result {
            state.phase = before;
            return Err(OpenError::Failed(fault));
        }
        state.phase = SetPhase::Open(owner);
        state.count_open(device).map(|()| token).ok_or(OpenError::TooMany)
    }
}

impl OpenToken {
    /// The device that is open.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// Who it is open for.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        self.owner
    }

    /// The set that the device is a member of.
    #[must_use]
    pub fn set(&self) -> &DeviceSet {
        &self.set
    }

    /// Takes one open back; the device's last close runs [`DeviceOps::close_device`], while its own count and,
    /// if no other member is open, the set's count are still 1.
    ///
    /// # Errors
    /// [`CloseError`] says whether the device is still open.
    pub fn close(self, ops: &impl DeviceOps) -> Result<(), CloseError> {
        let (set, device) = (Arc::clone(&self.set), self.device);
        {
            let mut state = set.state.lock();
            if let SetPhase::Opening(other) | SetPhase::Closing(other) = state.phase {
                return Err(CloseError::Busy(other, self));
            }
            if state.member_opens(device) > 1 {
                state.count_close(device);
                return Ok(());
            }
            // A set that is broken stays so, and its open devices are closed nevertheless.
            if !matches!(state.phase, SetPhase::Broken(..)) {
                state.phase = SetPhase::Closing(device);
            }
        }
        let result = ops.close_device(device, self.owner);
        let mut state = set.state.lock();
        state.count_close(device);
        state.phase = match (state.phase, result) {
            (broken @ SetPhase::Broken(..), _) => broken,
            (_, Err(fault)) => SetPhase::Broken(device, fault),
            (_, Ok(())) if state.opens == 0 => SetPhase::Idle,
            (_, Ok(())) => SetPhase::Open(self.owner),
        };
        result.map_err(CloseError::Failed)
    }
}
