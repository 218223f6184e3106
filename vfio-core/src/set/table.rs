//! The table of sets: which exist, and which device is a member of which.

use core::num::NonZeroUsize;

use super::{Counts, DeviceSet, OpenError, OpenToken, Patience};
use crate::fault::Fault;
use crate::hash::Map;
use crate::id::{DeviceId, Owner, SetId};
use crate::lease::DeviceOps;
use crate::sync::{Arc, Mutex, Rank};

/// Why a device was not registered. Everything is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The device is registered already.
    #[error("{0} is registered already")]
    Twice(DeviceId),
    /// The table has no room for another device.
    #[error("there is no memory for another device")]
    NoMemory,
    /// The device's own initialisation failed.
    #[error("initialising the device failed: {0}")]
    Init(Fault),
}

/// A device that cannot be unregistered yet. It is not opened any more; close it, and try again.
#[derive(Debug, thiserror::Error)]
#[error("{} is still open {} times, or is being opened or closed", .registration.device(), .counts.device)]
pub struct StillInUse {
    /// To try again with.
    pub registration: Registration,
    /// How often the device and its set were open.
    pub counts: Counts,
}

/// That a device is registered. It cannot be copied, so that a device leaves its set exactly once.
#[derive(Debug)]
#[must_use = "the device stays registered until this is given back to the table"]
pub struct Registration {
    set: Arc<DeviceSet>,
    device: DeviceId,
}

impl Registration {
    /// The device.
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// The set that it is a member of.
    #[must_use]
    pub fn set(&self) -> &DeviceSet {
        &self.set
    }

    /// Opens the device for `owner`; the first open runs [`DeviceOps::open_device`], further ones are only counted.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way.
    pub fn open(&self, owner: Owner, ops: &impl DeviceOps) -> Result<OpenToken, OpenError> {
        self.open_patiently(owner, ops, Patience::NONE)
    }

    /// As [`open`](Self::open), and waits while another member is being opened or closed or the set is being reset, as
    /// `patience` says.
    ///
    /// # Errors
    /// [`OpenError`] says what stands in the way.
    pub fn open_patiently(
        &self,
        owner: Owner,
        ops: &impl DeviceOps,
        patience: Patience<'_>,
    ) -> Result<OpenToken, OpenError> {
        DeviceSet::open(&self.set, self.device, owner, ops, patience)
    }
}

#[cfg(all(test, loom))]
impl Registration {
    /// A second name, which safe code outside cannot have: to open while somebody else unregisters.
    pub(super) fn second(&self) -> Self {
        Self {
            set: Arc::clone(&self.set),
            device: self.device,
        }
    }
}

struct Entry {
    set: Arc<DeviceSet>,
    /// How many devices are members; the set goes with the last one.
    members: NonZeroUsize,
}

struct Table {
    sets: Map<SetId, Entry>,
    devices: Map<DeviceId, SetId>,
    next_generation: u64,
    capacity: usize,
}

/// All device sets. Its lock covers find-or-create, join, leave and free-on-last, and nothing else.
pub struct SetTable(Mutex<Table>);

impl Default for SetTable {
    fn default() -> Self {
        Self::new()
    }
}

impl SetTable {
    /// A table that takes as many devices as memory has room for.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(usize::MAX)
    }

    /// A table that takes at most `capacity` devices.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let table = Table {
            sets: Map::default(),
            devices: Map::default(),
            next_generation: 0,
            capacity,
        };
        Self(Mutex::ranked(Rank::Table, table))
    }

    /// Registers `device` as a member of `set`; without one it is alone in a set of its own.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed then.
    pub fn register(&self, device: DeviceId, set: Option<SetId>) -> Result<Registration, RegisterError> {
        self.register_with(device, set, || Ok(()))
    }

    /// As [`register`](Self::register), and runs `init` once the device is a member; if that fails, the device
    /// leaves the set again.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed then.
    pub fn register_with(
        &self,
        device: DeviceId,
        set: Option<SetId>,
        init: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<Registration, RegisterError> {
        let set = self.join(device, set.unwrap_or(SetId::Own(device)))?;
        // The table has counted the member, so the set cannot vanish before the device is linked.
        if !set.link(device) {
            self.leave(&set, device);
            return Err(RegisterError::NoMemory);
        }
        let registration = Registration { set, device };
        match init() {
            Ok(()) => Ok(registration),
            Err(fault) => {
                // Nobody else has the registration, so nothing can have opened the device.
                drop(self.unregister(registration));
                Err(RegisterError::Init(fault))
            }
        }
    }

    /// Finds or creates a set, and counts `device` as its member.
    fn join(&self, device: DeviceId, id: SetId) -> Result<Arc<DeviceSet>, RegisterError> {
        let mut guard = self.0.lock();
        let table = &mut *guard;
        if table.devices.contains_key(&device) {
            return Err(RegisterError::Twice(device));
        }
        if table.devices.len() >= table.capacity {
            return Err(RegisterError::NoMemory);
        }
        table
            .devices
            .try_reserve(1)
            .map_err(|_| RegisterError::NoMemory)?;
        table.sets.try_reserve(1).map_err(|_| RegisterError::NoMemory)?;
        let set = match table.sets.get_mut(&id) {
            Some(entry) => {
                entry.members = entry.members.checked_add(1).ok_or(RegisterError::NoMemory)?;
                Arc::clone(&entry.set)
            }
            None => {
                let set = Arc::new(DeviceSet::new(id, table.next_generation));
                table.next_generation = table.next_generation.wrapping_add(1);
                table.sets.insert(
                    id,
                    Entry {
                        set: Arc::clone(&set),
                        members: NonZeroUsize::MIN,
                    },
                );
                set
            }
        };
        table.devices.insert(device, id);
        Ok(set)
    }

    /// Unregisters a device: from now on no open of it succeeds, and when it is closed it leaves its set, which
    /// goes with its last member.
    ///
    /// # Errors
    /// The device is still in use. Opens stay refused; whoever waits closes the device and calls this again.
    pub fn unregister(&self, registration: Registration) -> Result<(), StillInUse> {
        if let Err(counts) = registration.set.unlink(registration.device) {
            return Err(StillInUse { registration, counts });
        }
        self.leave(&registration.set, registration.device);
        Ok(())
    }

    /// Counts a member out, and frees the set with the last.
    fn leave(&self, set: &DeviceSet, device: DeviceId) {
        let mut table = self.0.lock();
        table.devices.remove(&device);
        let last = match table.sets.get_mut(&set.id()) {
            Some(entry) => match NonZeroUsize::new(entry.members.get() - 1) {
                Some(rest) => {
                    entry.members = rest;
                    false
                }
                None => true,
            },
            None => false,
        };
        let gone = if last { table.sets.remove(&set.id()) } else { None };
        // What is freed is freed after the lock.
        drop(table);
        drop(gone);
    }

    /// The set with this key, if it has members.
    #[must_use]
    pub fn set(&self, id: SetId) -> Option<impl core::ops::Deref<Target = DeviceSet> + use<>> {
        self.0.lock().sets.get(&id).map(|entry| Arc::clone(&entry.set))
    }

    /// How many devices are members of the set with this key, by the table's count.
    #[must_use]
    pub fn member_count(&self, id: SetId) -> usize {
        self.0.lock().sets.get(&id).map_or(0, |entry| entry.members.get())
    }

    /// How many sets and devices there are.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        let table = self.0.lock();
        (table.sets.len(), table.devices.len())
    }

    /// Whether no device is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len().1 == 0
    }
}
