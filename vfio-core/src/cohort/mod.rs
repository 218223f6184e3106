//! Cohorts: the connected components of "same set", "same isolation group" and "container inside", and why each member
//! is in.
//!
//! This is analysis only. What state a cohort is in, and who holds it, is the business of
//! [`lease`](crate::lease); whether a request may be granted is what [`Cohorts::plan_open`] says.

mod buses;
mod forest;
mod hot_reset;
mod inventory;
mod link;
mod plan;
mod reason;
mod refusal;
mod reset;
#[cfg(test)]
mod tests;

pub use hot_reset::{HotResetPlan, HotResetRefusal};
pub use inventory::{Inventory, InventoryError, Member};
pub use link::{Cause, Cut, Link};
pub use plan::{OpenPlan, Terms};
pub(crate) use plan::{Present, Standing};
pub use reason::NotAssignable;
pub use refusal::{Missing, Refusal};
pub use reset::{DeviceReset, Obstacle, ResetAction, SetReset, SetScope};

use alloc::vec::Vec;

use self::forest::Forest;
use crate::hash::Map;
use crate::id::{DeviceId, Requester, SetId};
use crate::pci::Topology;

/// The number of a cohort within its [`Cohorts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CohortId(pub(crate) usize);

/// The number of an isolation group within its [`Cohorts`]: counted from 0 by their first members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub usize);

/// A device and what its bus knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub id: DeviceId,
    /// Its set.
    pub set: SetId,
    /// Its isolation group.
    pub group: GroupId,
    /// The cohort that it is a member of.
    pub cohort: CohortId,
    /// Who the IOMMU takes it for.
    pub requesters: Vec<Requester>,
    /// How it can be reset alone.
    pub reset: Option<DeviceReset>,
    /// Why it can be given to nobody, if so.
    pub not_assignable: Option<NotAssignable>,
    /// For a virtual function, its physical function.
    pub physical_function: Option<DeviceId>,
    /// The user split it off from its isolation group (`split-unsafe`).
    pub split_unsafe: bool,
}

/// A physical function and one of its virtual functions, where these are in two cohorts: these may be open for one owner at
/// the same time, but not for two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rival {
    /// The physical function.
    pub physical_function: DeviceId,
    /// The virtual function.
    pub virtual_function: DeviceId,
    /// The cohort of the one of the two that is not in this cohort.
    pub cohort: CohortId,
    /// Whether the physical function is in this cohort.
    pub holds_physical: bool,
}

/// The unit of assignment: devices that are opened together or not at all.
#[derive(Debug)]
pub struct Cohort {
    id: CohortId,
    members: Vec<DeviceId>,
    links: Vec<Link>,
    requesters: Vec<Requester>,
    resets: Vec<ResetAction>,
    unresettable: Option<DeviceId>,
    rivals: Vec<Rival>,
}

impl Cohort {
    /// Its number.
    #[must_use]
    pub const fn id(&self) -> CohortId {
        self.id
    }

    /// Its members, in order; at least one.
    #[must_use]
    pub fn members(&self) -> &[DeviceId] {
        &self.members
    }

    /// Why they are members: enough links to connect them all.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Everything that the IOMMU may take a member for, each once, in order.
    #[must_use]
    pub fn requesters(&self) -> &[Requester] {
        &self.requesters
    }

    /// How it is reset: each set once where its scope can be reset, else each device.
    #[must_use]
    pub fn resets(&self) -> &[ResetAction] {
        &self.resets
    }

    /// A member that no reset reaches; such a cohort never goes from one owner to another.
    #[must_use]
    pub const fn unresettable(&self) -> Option<DeviceId> {
        self.unresettable
    }

    /// Pairs of physical and virtual functions of which one is in here and one is not.
    #[must_use]
    pub fn rivals(&self) -> &[Rival] {
        &self.rivals
    }
}

/// A set, as the analysis needs it.
#[derive(Debug)]
struct SetInfo {
    first: DeviceId,
    scope: Option<SetScope>,
    /// Where its reset is among those of its cohort.
    action: Option<(CohortId, usize)>,
}

/// All cohorts of a machine.
#[derive(Debug)]
pub struct Cohorts {
    devices: Vec<Device>,
    index: Map<DeviceId, usize>,
    sets: Map<SetId, SetInfo>,
    cohorts: Vec<Cohort>,
    cuts: Vec<Cut>,
}

impl Cohorts {
    /// The cohorts of the PCI functions in `topology`, and of nothing else.
    #[must_use]
    pub fn new(topology: &Topology) -> Self {
        let mut inventory = Inventory::new();
        inventory.add_pci(topology);
        // A topology is checked, so that nothing can be said of what is not there.
        Self::assemble(inventory)
    }

    /// The cohorts of all devices of `inventory`.
    ///
    /// # Errors
    /// [`InventoryError`] names a device of which there are two, or none although something is said of it.
    pub fn build(mut inventory: Inventory) -> Result<Self, InventoryError> {
        inventory.check()?;
        Ok(Self::assemble(inventory))
    }

    /// Linear in devices and links, but for what union-find adds. Members are sorted.
    fn assemble(inventory: Inventory) -> Self {
        let Inventory {
            members,
            links: group_links,
            scopes,
            split,
            mut cuts,
        } = inventory;
        cuts.sort_unstable_by_key(|cut| cut.device);
        let mut cohorts = Self {
            devices: Vec::with_capacity(members.len()),
            index: Map::default(),
            sets: Map::default(),
            cohorts: Vec::new(),
            cuts,
        };
        let mut links: Vec<Link> = Vec::new();
        for member in members {
            let (id, set) = (member.id, member.set);
            let info = cohorts.sets.entry(set).or_insert_with(|| SetInfo {
                first: id,
                scope: scopes.get(&set).copied(),
                action: None,
            });
            if info.first != id {
                links.push(Link {
                    a: id,
                    b: info.first,
                    cause: Cause::Set(set),
                });
            }
            cohorts.index.insert(id, cohorts.devices.len());
            cohorts.devices.push(Device {
                id,
                set,
                group: GroupId(0),
                cohort: CohortId(0),
                requesters: member.requesters,
                reset: member.reset,
                not_assignable: member.not_assignable,
                physical_function: member.physical_function,
                split_unsafe: split.contains_key(&id),
            });
        }
        let set_links = links.len();
        links.extend(group_links);
        cohorts.number_groups(&mut links, set_links);
        cohorts.connect(links);
        cohorts.plan_resets();
        cohorts.find_rivals();
        cohorts
    }

    fn at(&self, device: DeviceId) -> Option<usize> {
        self.index.get(&device).copied()
    }

    /// Numbers the isolation groups that `links` from the `from`th on make, and adds links for requesters that devices
    /// have in common where nothing has joined these yet.
    fn number_groups(&mut self, links: &mut Vec<Link>, from: usize) {
        let mut forest = Forest::new(self.devices.len());
        let of_groups = links.get(from..).unwrap_or_default().iter();
        for link in of_groups.filter(|link| !matches!(link.cause, Cause::Nested(_))) {
            if let (Some(a), Some(b)) = (self.at(link.a), self.at(link.b)) {
                forest.join(a, b);
            }
        }
        let mut speakers: Map<Requester, usize> = Map::default();
        for (at, device) in self.devices.iter().enumerate() {
            for &requester in &device.requesters {
                let first = *speakers.entry(requester).or_insert(at);
                if forest.join(first, at)
                    && let Some(b) = self.devices.get(first)
                {
                    links.push(Link {
                        a: device.id,
                        b: b.id,
                        cause: Cause::Requester(requester),
                    });
                }
            }
        }
        let mut numbers: Map<usize, usize> = Map::default();
        for (at, device) in self.devices.iter_mut().enumerate() {
            let next = numbers.len();
            device.group = GroupId(*numbers.entry(forest.root(at)).or_insert(next));
        }
    }

    /// Finds the components by union-find, and numbers them by their first member.
    fn connect(&mut self, links: Vec<Link>) {
        let mut forest = Forest::new(self.devices.len());
        for link in &links {
            if let (Some(a), Some(b)) = (self.at(link.a), self.at(link.b)) {
                forest.join(a, b);
            }
        }
        let mut numbers: Map<usize, usize> = Map::default();
        for (at, device) in self.devices.iter_mut().enumerate() {
            let next = self.cohorts.len();
            let number = *numbers.entry(forest.root(at)).or_insert(next);
            device.cohort = CohortId(number);
            if number == next {
                self.cohorts.push(Cohort {
                    id: device.cohort,
                    members: Vec::new(),
                    links: Vec::new(),
                    requesters: Vec::new(),
                    resets: Vec::new(),
                    unresettable: None,
                    rivals: Vec::new(),
                });
            }
            if let Some(cohort) = self.cohorts.get_mut(number) {
                cohort.members.push(device.id);
                cohort.requesters.extend_from_slice(&device.requesters);
            }
        }
        for link in links {
            let number = self.device(link.a).map(|device| device.cohort);
            if let Some(cohort) = number.and_then(|id| self.cohorts.get_mut(id.0)) {
                cohort.links.push(link);
            }
        }
        for cohort in &mut self.cohorts {
            cohort.requesters.sort_unstable();
            cohort.requesters.dedup();
        }
    }

    fn plan_resets(&mut self) {
        for device in &self.devices {
            let Some(cohort) = self.cohorts.get_mut(device.cohort.0) else {
                continue;
            };
            let info = self.sets.get_mut(&device.set);
            let usable = info.and_then(|info| {
                let by = info.scope.filter(|scope| scope.obstacle.is_none())?.by;
                Some((by, &mut info.action))
            });
            if let Some((by, action)) = usable {
                let (_, at) = *action.get_or_insert((device.cohort, cohort.resets.len()));
                match cohort.resets.get_mut(at) {
                    Some(ResetAction::Set { members, .. }) => members.push(device.id),
                    _ => cohort.resets.push(ResetAction::Set {
                        set: device.set,
                        by,
                        members: Vec::from([device.id]),
                    }),
                }
            } else if let Some(method) = device.reset {
                cohort.resets.push(ResetAction::Device {
                    device: device.id,
                    method,
                });
            } else {
                cohort.unresettable.get_or_insert(device.id);
            }
        }
    }

    fn find_rivals(&mut self) {
        let mut pairs = Vec::new();
        for device in &self.devices {
            let Some(physical) = device.physical_function.and_then(|id| self.device(id)) else {
                continue;
            };
            if physical.cohort != device.cohort {
                pairs.push((physical.id, physical.cohort, device.id, device.cohort));
            }
        }
        for (physical_function, of_physical, virtual_function, of_virtual) in pairs {
            for (at, cohort, holds_physical) in
                [(of_physical, of_virtual, true), (of_virtual, of_physical, false)]
            {
                if let Some(own) = self.cohorts.get_mut(at.0) {
                    own.rivals.push(Rival {
                        physical_function,
                        virtual_function,
                        cohort,
                        holds_physical,
                    });
                }
            }
        }
    }

    /// All cohorts, in order of their first member.
    pub fn iter(&self) -> impl Iterator<Item = &Cohort> {
        self.cohorts.iter()
    }

    /// The cohort with this number, if it is one of these.
    #[must_use]
    pub fn get(&self, id: CohortId) -> Option<&Cohort> {
        self.cohorts.get(id.0)
    }

    /// All devices, in order.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The device `id`, if there is one.
    #[must_use]
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get(self.at(id)?)
    }

    /// The cohort that `id` is a member of, if there is such a device.
    #[must_use]
    pub fn cohort_of(&self, id: DeviceId) -> Option<&Cohort> {
        self.get(self.device(id)?.cohort)
    }

    /// What `split-unsafe` kept apart, in order of the devices. A device that is split off and not in here was in
    /// nobody's company to begin with.
    #[must_use]
    pub fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// What `split-unsafe` cut for `device`.
    #[must_use]
    pub fn cuts_of(&self, device: DeviceId) -> &[Cut] {
        let from = self.cuts.partition_point(|cut| cut.device < device);
        let to = self.cuts.partition_point(|cut| cut.device <= device);
        self.cuts.get(from..to).unwrap_or_default()
    }

    /// What resets the set as a whole, if anything does.
    #[must_use]
    pub fn scope(&self, set: SetId) -> Option<SetScope> {
        self.sets.get(&set)?.scope
    }

    /// The reset of the set as a whole, if it can be used.
    fn set_action(&self, set: SetId) -> Option<&ResetAction> {
        let (cohort, at) = self.sets.get(&set)?.action?;
        self.get(cohort)?.resets.get(at)
    }
}
