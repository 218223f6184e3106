//! Cohorts: the connected components of "same set" and "same isolation group", and why each member is in.
//!
//! This is analysis only. What state a cohort is in, and who holds it, is the business of
//! [`lease`](crate::lease); whether a request may be granted is what [`Cohorts::plan_open`] says.

mod link;
mod plan;
mod refusal;
#[cfg(test)]
mod tests;

pub use link::{Cause, Link};
pub(crate) use plan::Standing;
pub use plan::{OpenPlan, Terms};
pub use refusal::{Missing, Refusal};

use alloc::vec::Vec;

use crate::hash::Map;
use crate::id::{DeviceId, Requester, SetId};
use crate::pci::{Bdf, FunctionReset, NotAssignable, Topology};

/// The number of a cohort within its [`Cohorts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CohortId(pub(crate) usize);

/// A device and what its bus knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub id: DeviceId,
    /// Its set.
    pub set: SetId,
    /// The cohort that it is a member of.
    pub cohort: CohortId,
    /// Who the IOMMU takes it for.
    pub requesters: Vec<Requester>,
    /// How it can be reset alone.
    pub function_reset: Option<FunctionReset>,
    /// Why it can be given to nobody, if so.
    pub not_assignable: Option<NotAssignable>,
}

/// A reset, at the largest scope that stays within one cohort.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ResetAction {
    /// Reset one device and nothing else.
    Device {
        /// The device.
        device: DeviceId,
        /// How.
        method: FunctionReset,
    },
    /// Reset all members of a set at once, by a secondary bus reset of the port or bridge above.
    Set {
        /// The set.
        set: SetId,
        /// The port or bridge.
        port: Bdf,
        /// The members, which lose their configuration.
        members: Vec<DeviceId>,
    },
}

impl ResetAction {
    /// The devices that it resets.
    #[must_use]
    pub fn devices(&self) -> &[DeviceId] {
        match self {
            Self::Device { device, .. } => core::slice::from_ref(device),
            Self::Set { members, .. } => members,
        }
    }
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
}

/// All cohorts of a machine.
#[derive(Debug)]
pub struct Cohorts {
    devices: Vec<Device>,
    index: Map<DeviceId, usize>,
    cohorts: Vec<Cohort>,
}

impl Cohorts {
    /// The cohorts of the PCI functions in `topology`.
    #[must_use]
    pub fn new(topology: &Topology) -> Self {
        let mut cohorts = Self {
            devices: Vec::new(),
            index: Map::default(),
            cohorts: Vec::new(),
        };
        let mut links: Vec<Link> = Vec::new();
        let mut first_of_set: Map<SetId, DeviceId> = Map::default();
        for function in topology.endpoints() {
            let id = DeviceId::from(function.bdf);
            let set = topology.set_id(function.bdf).unwrap_or(SetId::Own(id));
            let first = *first_of_set.entry(set).or_insert(id);
            if first != id {
                links.push(Link {
                    a: id,
                    b: first,
                    cause: Cause::Set(set),
                });
            }
            cohorts.index.insert(id, cohorts.devices.len());
            cohorts.devices.push(Device {
                id,
                set,
                cohort: CohortId(0),
                requesters: topology.dma_aliases(function.bdf).to_vec(),
                function_reset: function.resets.best_for_function(),
                not_assignable: topology.not_assignable(function.bdf),
            });
        }
        links.extend(topology.group_links().into_iter().map(Link::from));
        cohorts.connect(links);
        cohorts.plan_resets(topology);
        cohorts
    }

    /// Finds the components by union-find, and numbers them by their first member.
    fn connect(&mut self, links: Vec<Link>) {
        let mut forest: Vec<usize> = (0..self.devices.len()).collect();
        for link in &links {
            if let (Some(&a), Some(&b)) = (self.index.get(&link.a), self.index.get(&link.b)) {
                let (a, b) = (root(&mut forest, a), root(&mut forest, b));
                // The smaller index is the root, so that a component is named by its first member.
                if let Some(slot) = forest.get_mut(a.max(b)) {
                    *slot = a.min(b);
                }
            }
        }
        let mut numbers: Map<usize, usize> = Map::default();
        for (at, device) in self.devices.iter_mut().enumerate() {
            let next = self.cohorts.len();
            let number = *numbers.entry(root(&mut forest, at)).or_insert(next);
            device.cohort = CohortId(number);
            if number == next {
                self.cohorts.push(Cohort {
                    id: device.cohort,
                    members: Vec::new(),
                    links: Vec::new(),
                    requesters: Vec::new(),
                    resets: Vec::new(),
                    unresettable: None,
                });
            }
            if let Some(cohort) = self.cohorts.get_mut(number) {
                cohort.members.push(device.id);
                cohort.requesters.extend_from_slice(&device.requesters);
            }
        }
        for link in links {
            let number = self
                .index
                .get(&link.a)
                .and_then(|at| self.devices.get(*at))
                .map(|device| device.cohort);
            if let Some(cohort) = number.and_then(|id| self.cohorts.get_mut(id.0)) {
                cohort.links.push(link);
            }
        }
        for cohort in &mut self.cohorts {
            cohort.requesters.sort_unstable();
            cohort.requesters.dedup();
        }
    }

    fn plan_resets(&mut self, topology: &Topology) {
        let mut sets: Map<SetId, (CohortId, usize)> = Map::default();
        for device in &self.devices {
            let Some(cohort) = self.cohorts.get_mut(device.cohort.0) else {
                continue;
            };
            if let Some(port) = topology.set_reset(device.set) {
                let next = (device.cohort, cohort.resets.len());
                let (_, at) = *sets.entry(device.set).or_insert(next);
                match cohort.resets.get_mut(at) {
                    Some(ResetAction::Set { members, .. }) => members.push(device.id),
                    _ => {
                        let members = Vec::from([device.id]);
                        cohort.resets.push(ResetAction::Set {
                            set: device.set,
                            port,
                            members,
                        });
                    }
                }
            } else if let Some(method) = device.function_reset {
                cohort.resets.push(ResetAction::Device {
                    device: device.id,
                    method,
                });
            } else {
                cohort.unresettable.get_or_insert(device.id);
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
        self.devices.get(*self.index.get(&id)?)
    }

    /// The cohort that `id` is a member of, if there is such a device.
    #[must_use]
    pub fn cohort_of(&self, id: DeviceId) -> Option<&Cohort> {
        self.get(self.device(id)?.cohort)
    }
}

/// The root of `at`'s tree; halves the path on the way.
fn root(forest: &mut [usize], mut at: usize) -> usize {
    while let Some(&above) = forest.get(at) {
        if above == at {
            break;
        }
        let next = forest.get(above).copied().unwrap_or(above);
        if let Some(slot) = forest.get_mut(at) {
            *slot = next;
        }
        at = next;
    }
    at
}
