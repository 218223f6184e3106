//! The inventory: what each bus found, before cohorts are made of it.
//!
//! A bus adds its devices, what it knows to join them beyond their sets and requesters, and how its sets are reset: for the
//! kinds of devices that there are, by one call each (`buses`).
//! It need not say what follows: members of one set are joined, and so are devices with a requester in common, since
//! the IOMMU cannot tell these apart.

use alloc::vec::Vec;

use super::{Cause, Cut, DeviceReset, Link, NotAssignable, SetScope};
use crate::fsl_mc::ObjectId;
use crate::hash::Map;
use crate::id::{DeviceId, Requester, SetId};
use crate::mediated::MediatedId;
use crate::platform::PlatformId;

/// A device, as its bus describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub id: DeviceId,
    /// Its set.
    pub set: SetId,
    /// Who the IOMMU takes it for; none if it masters no bus.
    pub requesters: Vec<Requester>,
    /// How it can be reset alone.
    pub reset: Option<DeviceReset>,
    /// Why it can be given to nobody, if so.
    pub not_assignable: Option<NotAssignable>,
    /// For an SR-IOV virtual function, the physical function that it belongs to.
    pub physical_function: Option<DeviceId>,
}

impl Member {
    /// A device that is alone in its set, masters no bus, and has no reset of its own; the fields say the rest.
    #[must_use]
    pub const fn new(id: DeviceId) -> Self {
        Self {
            id,
            set: SetId::Own(id),
            requesters: Vec::new(),
            reset: None,
            not_assignable: None,
            physical_function: None,
        }
    }

    /// An fsl-mc object, or a container as the object that it is too: in the set of `container`, which is the one
    /// directly around it (for a container itself: itself), and under the isolation id (ICID) of that container.
    /// [`Inventory::add_fsl_mc`] adds all that a scan found.
    #[must_use]
    pub fn fsl_mc(object: ObjectId, container: ObjectId, icid: u16) -> Self {
        Self {
            set: SetId::Dprc(container),
            requesters: Vec::from([Requester::Stream(icid.into())]),
            reset: Some(DeviceReset::Object),
            ..Self::new(object.into())
        }
    }

    /// A platform device. One that must be reset before use and cannot be is not assignable; one that need not be, and
    /// cannot be, is, but never goes from one owner to another.
    #[must_use]
    pub fn platform(id: PlatformId, requesters: Vec<Requester>, can_reset: bool, must_reset: bool) -> Self {
        Self {
            requesters,
            reset: can_reset.then_some(DeviceReset::Platform),
            not_assignable: (must_reset && !can_reset).then_some(NotAssignable::NoReset),
            ..Self::new(id.into())
        }
    }

    /// A mediated device: it reaches memory through software only, and is reset by software.
    #[must_use]
    pub fn mediated(id: MediatedId) -> Self {
        Self {
            reset: Some(DeviceReset::Software),
            ..Self::new(id.into())
        }
    }
}

/// Why devices cannot be made cohorts of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// Two devices have one name.
    #[error("{0} is there twice")]
    Twice(DeviceId),
    /// A virtual function whose physical function is not there.
    #[error("{virtual_function} is said to belong to {physical_function}, which is not there")]
    NoPhysicalFunction {
        /// The virtual function.
        virtual_function: DeviceId,
        /// What it says that it belongs to.
        physical_function: DeviceId,
    },
    /// Something joins a device that is not there.
    #[error("{0} is said to be joined with others, and is not there")]
    NoMember(DeviceId),
    /// A device that is to be split off is not there.
    #[error(
        "{0} is to be split off (split-unsafe), and is no device of this machine; `sets` lists what there is"
    )]
    NothingToSplit(DeviceId),
}

/// Devices of any kind, and what joins them.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    pub(super) members: Vec<Member>,
    pub(super) links: Vec<Link>,
    pub(super) scopes: Map<SetId, SetScope>,
    pub(super) split: Map<DeviceId, ()>,
    pub(super) cuts: Vec<Cut>,
}

impl Inventory {
    /// Without devices.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Without devices, but with the names of those that the user splits off (`split-unsafe`): nothing joins these
    /// to an isolation group but a requester in common. They stay in their sets. What is cut is in
    /// [`Cohorts::cuts`](super::Cohorts::cuts).
    #[must_use]
    pub fn splitting(devices: impl IntoIterator<Item = DeviceId>) -> Self {
        Self {
            split: devices.into_iter().map(|device| (device, ())).collect(),
            ..Self::default()
        }
    }

    /// Adds a device.
    pub fn add(&mut self, member: Member) -> &mut Self {
        self.members.push(member);
        self
    }

    /// Says how a set is reset as a whole.
    pub fn reset_set(&mut self, set: SetId, scope: SetScope) -> &mut Self {
        self.scopes.insert(set, scope);
        self
    }

    /// Says that `cause` makes `devices` one isolation group. Those that are split off are left out of it, and that is
    /// noted, unless nobody would have been there with them.
    pub fn join(&mut self, cause: Cause, devices: impl IntoIterator<Item = DeviceId>) -> &mut Self {
        let (apart, together): (Vec<DeviceId>, Vec<DeviceId>) = devices
            .into_iter()
            .partition(|device| self.split.contains_key(device));
        if let Some((&b, others)) = together.split_first() {
            self.links.extend(others.iter().map(|&a| Link { a, b, cause }));
        }
        if apart.len() + together.len() > 1 {
            self.cuts
                .extend(apart.into_iter().map(|device| Cut { device, cause }));
        }
        self
    }

    /// Sorts the members, and checks that what is said of devices is said of devices that are there.
    pub(super) fn check(&mut self) -> Result<(), InventoryError> {
        self.members.sort_unstable_by_key(|member| member.id);
        let mut known: Map<DeviceId, ()> = Map::default();
        for member in &self.members {
            if known.insert(member.id, ()).is_some() {
                return Err(InventoryError::Twice(member.id));
            }
        }
        let there = |device: &DeviceId| known.contains_key(device);
        for member in &self.members {
            if let Some(physical_function) = member.physical_function.filter(|device| !there(device)) {
                return Err(InventoryError::NoPhysicalFunction {
                    virtual_function: member.id,
                    physical_function,
                });
            }
        }
        let mut joined = self.links.iter().flat_map(|link| [link.a, link.b]);
        if let Some(device) = joined.find(|device| !there(device)) {
            return Err(InventoryError::NoMember(device));
        }
        let mut split: Vec<DeviceId> = self.split.keys().copied().collect();
        split.sort_unstable();
        match split.into_iter().find(|device| !there(device)) {
            Some(device) => Err(InventoryError::NothingToSplit(device)),
            None => Ok(()),
        }
    }
}
