//! How the objects of a Management Complex form sets and isolation groups: plain data, from which cohorts are made.
//!
//! A set is a container with the objects directly in it (the nearest container, not the root): that is what one reset reaches.
//! A container as an object is in its own set. An isolation group is an ICID: the IOMMU takes all objects of a container
//! for one.
//!
//! A container inside another one is a set of its own, with an ICID of its own. Yet it comes with the outer one: whoever has the outer
//! one's command portal can reset, change, empty and destroy what is inside, and before version 6.5 every reset of the outer
//! one goes inside. So each [`Nesting`] joins two containers into one cohort. That does not hold for the root: its
//! portal is the hypervisor's, so that nothing in the root itself can be assigned.
//!
//! [`cohort::Inventory::add_fsl_mc`](crate::cohort::Inventory::add_fsl_mc) makes cohorts of it: each [`Member`] is a device of set
//! [`Member::set`] with the one requester [`Member::requester`], each [`Nesting`] a link of `inner_member` and `outer_member`, and
//! each [`SetReset`] the reset of [`SetId::Dprc`] of its container, which [`run`](super::reset::run) carries out. Devices with one
//! requester are one isolation group, of whatever container.

use alloc::vec::Vec;

use super::scan::{Container, ContainerProblem, Object, ObjectProblem, Tree};
use super::spec::{dma_coherent, dprc::ObjectFlags, reset_version};
use super::{ObjectId, ObjectType};
use crate::hash::Map;
use crate::id::{Requester, SetId};

/// An object that could be assigned, or is kept from it by something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub id: ObjectId,
    /// The container whose set it is in: the nearest one around it, or itself.
    pub container: ObjectId,
    /// That container's isolation context; `None` if it could not be read.
    pub icid: Option<u16>,
    /// Its DMA is coherent with the caches.
    pub coherent: bool,
    /// Why it can be given to nobody, if so.
    pub not_assignable: Option<NotAssignable>,
}

impl Member {
    /// Its set.
    #[must_use]
    pub const fn set(&self) -> SetId {
        SetId::Dprc(self.container)
    }

    /// Who the IOMMU takes it for.
    #[must_use]
    pub fn requester(&self) -> Option<Requester> {
        self.icid.map(|icid| Requester::Stream(icid.into()))
    }
}

/// Why an object can be given to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotAssignable {
    /// It is in the root container, or it is the root.
    #[error("it is in {0}, the root container, which is the hypervisor's; move it to a container of its own")]
    InRoot(ObjectId),
    /// Its container has the root's isolation context.
    #[error("the IOMMU cannot tell {container} from {root}, the root container: both have ICID {icid:#x}")]
    IcidOfRoot {
        /// Its container.
        container: ObjectId,
        /// The root.
        root: ObjectId,
        /// The isolation context.
        icid: u16,
    },
    /// Something is wrong with its container.
    #[error("{container}, which it is in: {problem}")]
    Container {
        /// The container.
        container: ObjectId,
        /// What is wrong.
        problem: ContainerProblem,
    },
    /// Something is wrong with it.
    #[error("{0}")]
    Object(ObjectProblem),
}

/// Two containers of which one is in the other, so that they come together or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{inner} is inside {outer}, whose owner can reset, change and destroy it")]
pub struct Nesting {
    /// The container inside.
    pub inner: ObjectId,
    /// The container around it.
    pub outer: ObjectId,
    /// A member of the set of the one inside: the container itself, if it is one.
    pub inner_member: ObjectId,
    /// A member of the set of the one around it.
    pub outer_member: ObjectId,
}

/// How a set is reset as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SetReset {
    /// The container.
    pub container: ObjectId,
    /// The reset goes into the containers inside, since the firmware is too old to be told not to.
    pub recursive: bool,
}

/// All that a Management Complex has for cohorts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The plugged objects, and the root.
    pub members: Vec<Member>,
    /// What joins sets, beyond a common ICID.
    pub nestings: Vec<Nesting>,
    /// How each set is reset.
    pub resets: Vec<SetReset>,
}

/// The members, sets and links of what a scan found.
#[must_use]
pub fn inventory(tree: &Tree) -> Inventory {
    let mut inventory = Inventory::default();
    let Some(root) = tree.containers.first() else {
        return inventory;
    };
    let containers: Map<ObjectId, &Container> = tree
        .containers
        .iter()
        .map(|container| (container.id, container))
        .collect();
    inventory.members.push(Member {
        id: root.id,
        container: root.id,
        icid: root.icid,
        coherent: true,
        not_assignable: Some(NotAssignable::InRoot(root.id)),
    });
    let mut known: Map<ObjectId, ()> = Map::default();
    known.insert(root.id, ());
    for object in tree.objects().filter(|object| object.plugged()) {
        // One that two containers list is a member once, and assignable in neither.
        if known.insert(object.id, ()).is_some() {
            continue;
        }
        let set = if object.id.kind == ObjectType::Dprc {
            object.id
        } else {
            object.container
        };
        let around = containers.get(&set).copied();
        inventory.members.push(Member {
            id: object.id,
            container: set,
            icid: around.and_then(|container| container.icid),
            coherent: coherent(object),
            not_assignable: not_assignable(root, around, object),
        });
    }
    inventory.members.sort_unstable_by_key(|member| member.id);
    let mut speakers: Map<ObjectId, ObjectId> = Map::default();
    for member in &inventory.members {
        let speaker = speakers.entry(member.container).or_insert(member.id);
        if member.id == member.container {
            *speaker = member.id;
        }
    }
    for container in &tree.containers {
        if speakers.contains_key(&container.id) {
            inventory.resets.push(SetReset {
                container: container.id,
                recursive: reset_version(tree.api) < 2,
            });
        }
        inventory
            .nestings
            .extend(nesting(container, root.id, &containers, &speakers));
    }
    inventory
}

/// Whether the DMA of `object` is coherent with the caches.
fn coherent(object: &Object) -> bool {
    !object.flags.contains(ObjectFlags::NOT_SHAREABLE) && dma_coherent(object.id.kind, object.version)
}

fn not_assignable(root: &Container, around: Option<&Container>, object: &Object) -> Option<NotAssignable> {
    let Some(container) = around.filter(|container| container.id != root.id) else {
        return Some(NotAssignable::InRoot(root.id));
    };
    let problem = container.problem.map(|problem| NotAssignable::Container {
        container: container.id,
        problem,
    });
    let shared = container
        .icid
        .filter(|icid| root.icid == Some(*icid))
        .map(|icid| NotAssignable::IcidOfRoot {
            container: container.id,
            root: root.id,
            icid,
        });
    problem
        .or(shared)
        .or_else(|| object.problem.map(NotAssignable::Object))
}

/// What joins `container` to the nearest one around it that has members, if that is not the root.
fn nesting(
    container: &Container,
    root: ObjectId,
    containers: &Map<ObjectId, &Container>,
    speakers: &Map<ObjectId, ObjectId>,
) -> Option<Nesting> {
    let inner_member = *speakers.get(&container.id)?;
    let mut around = container.parent;
    // The parents are a tree: each container was found from the one around it.
    while let Some(outer) = around.filter(|outer| *outer != root) {
        if let Some(&outer_member) = speakers.get(&outer) {
            return Some(Nesting {
                inner: container.id,
                outer,
                inner_member,
                outer_member,
            });
        }
        around = containers.get(&outer)?.parent;
    }
    None
}
