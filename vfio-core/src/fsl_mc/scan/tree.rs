//! What a scan finds: containers and the objects in them, each with what is wrong with it.

use alloc::vec::Vec;

use super::region::{ObjectRegion, RegionProblem};
use crate::fsl_mc::portal::PortalError;
use crate::fsl_mc::spec::dprc::{ObjectFlags, ObjectState};
use crate::fsl_mc::spec::{ApiVersion, Text};
use crate::fsl_mc::{ObjectId, ObjectType};

/// An object, as its container lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub id: ObjectId,
    /// The container that it is directly in.
    pub container: ObjectId,
    /// The version of its interface.
    pub version: ApiVersion,
    /// Its vendor.
    pub vendor: u16,
    /// Whether it is open, and whether it is plugged.
    pub state: ObjectState,
    /// Its properties.
    pub flags: ObjectFlags,
    /// How many interrupts it has.
    pub irqs: u8,
    /// Its regions.
    pub regions: Vec<ObjectRegion>,
    /// A name that somebody gave it.
    pub label: Text,
    /// What is wrong with it, so that nobody can have it.
    pub problem: Option<ObjectProblem>,
}

impl Object {
    /// Whether it is there for drivers.
    #[must_use]
    pub const fn plugged(&self) -> bool {
        self.state.contains(ObjectState::PLUGGED)
    }
}

/// A container with the objects directly in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub id: ObjectId,
    /// The container that it is directly in; `None` for the root.
    pub parent: Option<ObjectId>,
    /// How many containers it is in.
    pub depth: u8,
    /// Its isolation context, if it could be read: who the IOMMU takes all objects in it for.
    pub icid: Option<u16>,
    /// What its software may do.
    pub options: u32,
    /// The number of its command portal.
    pub portal: u32,
    /// The objects in it, those first that others need: command portals, buffer pools, concentrators.
    pub objects: Vec<Object>,
    /// Entries of its list that could not be read and were skipped.
    pub skipped: u32,
    /// What is wrong with it, so that nobody can have anything in it.
    pub problem: Option<ContainerProblem>,
}

/// All containers of a Management Complex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The version of the containers' interface.
    pub api: ApiVersion,
    /// The containers; the root first, each before those in it.
    pub containers: Vec<Container>,
}

impl Tree {
    /// The root, which is the hypervisor's.
    #[must_use]
    pub fn root(&self) -> Option<ObjectId> {
        self.containers.first().map(|container| container.id)
    }

    /// The container `id`.
    #[must_use]
    pub fn container(&self, id: ObjectId) -> Option<&Container> {
        self.containers.iter().find(|container| container.id == id)
    }

    /// All objects. The root is in no list, and not among them.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.containers.iter().flat_map(|container| &container.objects)
    }

    /// The object `id`.
    #[must_use]
    pub fn object(&self, id: ObjectId) -> Option<&Object> {
        self.objects().find(|object| object.id == id)
    }
}

/// Why nobody can have an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ObjectProblem {
    /// Its interface is older than what its type is worked with from.
    #[error("its version is {found}, and {needed} or later is needed")]
    TooOld {
        /// Its version.
        found: ApiVersion,
        /// The oldest that will do.
        needed: ApiVersion,
    },
    /// A region makes no sense.
    #[error("region {index}: {problem}")]
    Region {
        /// Which.
        index: u8,
        /// What is wrong with it.
        problem: RegionProblem,
    },
    /// A region lies over that of another object.
    #[error("its registers are also those of {0}")]
    SharedRegisters(ObjectId),
    /// It says that it has more regions than its type can have.
    #[error("it has {0} regions")]
    Regions(u8),
}

/// Why nobody can have anything in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ContainerProblem {
    /// It cannot be opened, or says nothing of itself.
    #[error("it cannot be read: {0}")]
    Unreadable(PortalError),
    /// What was opened says that it is another container.
    #[error("it says that it is container {0}")]
    AnotherContainer(u32),
    /// It is inside too many others.
    #[error("it is inside more than {limit} containers", limit = super::MAX_DEPTH)]
    TooDeep,
    /// There are too many containers.
    #[error("there are more than {limit} containers", limit = super::MAX_CONTAINERS)]
    TooManyContainers,
    /// It has too many objects.
    #[error("it has {0} objects, more than {limit}", limit = super::MAX_OBJECTS)]
    TooManyObjects(u32),
    /// Some entries of its list cannot be read, so that nobody knows all that is in it.
    #[error("{0} of its objects cannot be read")]
    Unlisted(u32),
    /// Something in it is of a type that is not known.
    #[error("it has an object of the unknown type `{0}`")]
    UnknownType(Text),
    /// Its list was another one at each look.
    #[error("its list of objects does not stay the same")]
    Unstable,
    /// An object is in it twice, or in another container as well; containers inside each other are also this.
    #[error("{0} is in it and elsewhere as well")]
    Twice(ObjectId),
    /// It could not be closed again after the scan.
    #[error("it cannot be closed: {0}")]
    NotClosed(PortalError),
}

/// Whether objects of a type are resources that other objects of the container need, so that they come first.
#[must_use]
pub const fn allocatable(kind: ObjectType) -> bool {
    matches!(kind, ObjectType::Dpmcp | ObjectType::Dpbp | ObjectType::Dpcon)
}
