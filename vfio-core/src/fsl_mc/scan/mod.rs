//! The tree of containers, read through a command portal of the root.
//!
//! The firmware is not trusted: lists that change while they are read, repeat themselves, contain each other or do not end are
//! found out, and what is in such a container is given to nobody. Only a portal that no longer answers ends a scan.

mod connection;
mod diff;
mod events;
mod list;
mod region;
#[cfg(all(test, not(loom)))]
mod tests;
mod tree;

pub use connection::{Endpoint, Peer, connection};
pub use diff::{Change, diff};
pub use events::{needs_scan, take_events};
pub use region::{ObjectRegion, RegionKind, RegionProblem, Window, place};
pub use tree::{Container, ContainerProblem, Object, ObjectProblem, Tree, allocatable};

use alloc::vec::Vec;

use super::portal::{Portal, PortalError, PortalRegisters};
use super::spec::dprc::GetAttributes;
use super::spec::{ApiVersion, minimum};
use super::{ObjectId, ObjectType};
use crate::clock::Clock;
use crate::hash::Map;

/// How deep containers may be inside each other.
pub const MAX_DEPTH: u8 = 8;
/// How many containers there may be.
pub const MAX_CONTAINERS: usize = 256;
/// How many objects a container may have.
pub const MAX_OBJECTS: u32 = 1024;

/// Why there is no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ScanError {
    /// The portal does not work.
    #[error(transparent)]
    Portal(#[from] PortalError),
    /// The firmware is too old.
    #[error(
        "the containers' interface has version {found}, and {needed} or later is needed; update the firmware"
    )]
    TooOld {
        /// Its version.
        found: ApiVersion,
        /// The oldest that will do.
        needed: ApiVersion,
    },
    /// The portal's own container makes no sense.
    #[error("{root}, the container of the portal: {problem}")]
    Root {
        /// The container.
        root: ObjectId,
        /// What is wrong with it.
        problem: ContainerProblem,
    },
}

/// Reads all containers, from that of the portal on.
///
/// # Errors
/// [`ScanError`]. What is wrong with other containers is in the tree.
pub fn scan<R: PortalRegisters, C: Clock>(
    portal: &mut Portal<R, C>,
    windows: &[Window],
) -> Result<Tree, ScanError> {
    let root = portal.container()?;
    let api = portal.api_version(ObjectType::Dprc)?;
    if let Some(needed) = minimum(ObjectType::Dprc).filter(|needed| api < *needed) {
        return Err(ScanError::TooOld { found: api, needed });
    }
    let mut tree = Tree {
        api,
        containers: Vec::from([blank(root, None, 0)]),
    };
    let mut known: Map<ObjectId, ()> = Map::default();
    known.insert(root, ());
    let mut next = 0;
    while let Some(container) = tree.containers.get_mut(next) {
        next += 1;
        if container.problem.is_none() {
            read(portal, container, api, windows)?;
        }
        let (id, depth) = (container.id, container.depth);
        if let Some(problem) = container
            .problem
            .filter(|_| depth == 0 && container.icid.is_none())
        {
            return Err(ScanError::Root { root, problem });
        }
        let inside: Vec<ObjectId> = container
            .objects
            .iter()
            .map(|object| object.id)
            .filter(|object| object.kind == ObjectType::Dprc)
            .collect();
        for child in inside {
            // One that is known is found to be in two places below.
            if known.insert(child, ()).is_some() {
                continue;
            }
            let mut container = blank(child, Some(id), depth.saturating_add(1));
            if container.depth > MAX_DEPTH {
                container.problem = Some(ContainerProblem::TooDeep);
            } else if tree.containers.len() >= MAX_CONTAINERS {
                container.problem = Some(ContainerProblem::TooManyContainers);
            }
            tree.containers.push(container);
        }
    }
    find_repetitions(&mut tree);
    find_shared_registers(&mut tree);
    Ok(tree)
}

const fn blank(id: ObjectId, parent: Option<ObjectId>, depth: u8) -> Container {
    Container {
        id,
        parent,
        depth,
        icid: None,
        options: 0,
        portal: 0,
        objects: Vec::new(),
        skipped: 0,
        problem: None,
    }
}

/// Reads one container.
fn read<R: PortalRegisters, C: Clock>(
    portal: &mut Portal<R, C>,
    container: &mut Container,
    api: ApiVersion,
    windows: &[Window],
) -> Result<(), PortalError> {
    let unreadable = |error: PortalError| match error.unknown_state() {
        true => Err(error),
        false => Ok(ContainerProblem::Unreadable(error)),
    };
    let mut session = match portal.open(container.id) {
        Ok(session) => session,
        Err(error) => {
            container.problem = Some(unreadable(error)?);
            return Ok(());
        }
    };
    match session.send(&GetAttributes) {
        Ok(attributes) if attributes.container != container.id.number => {
            container.problem = Some(ContainerProblem::AnotherContainer(attributes.container));
        }
        Ok(attributes) => {
            container.icid = Some(attributes.icid);
            container.options = attributes.options;
            container.portal = attributes.portal;
            let (list, problem) = list::list(&mut session, api, windows)?;
            container.objects = list.objects;
            container.skipped = list.skipped;
            container.problem = problem;
        }
        Err(error) => container.problem = Some(unreadable(error)?),
    }
    match session.close() {
        Err(error) if error.unknown_state() => return Err(error),
        Err(error) => {
            container
                .problem
                .get_or_insert(ContainerProblem::NotClosed(error));
        }
        Ok(()) => {}
    }
    Ok(())
}

/// Marks containers that share an object: nobody knows whose it is. The root is in no container, and one that lists
/// it is as wrong as one of two that list the same one.
fn find_repetitions(tree: &mut Tree) {
    let mut first: Map<ObjectId, usize> = Map::default();
    if let Some(root) = tree.root() {
        first.insert(root, 0);
    }
    let mut wrong: Vec<(usize, ObjectId)> = Vec::new();
    for (at, container) in tree.containers.iter().enumerate() {
        for object in &container.objects {
            if let Some(other) = first.insert(object.id, at) {
                wrong.extend([(at, object.id), (other, object.id)]);
            }
        }
    }
    for (at, object) in wrong {
        if let Some(container) = tree.containers.get_mut(at) {
            container.problem = Some(ContainerProblem::Twice(object));
        }
        // A container that is in two others is nobody's either.
        for container in tree
            .containers
            .iter_mut()
            .filter(|container| container.id == object)
        {
            container.problem = Some(ContainerProblem::Twice(object));
        }
    }
}

/// Marks objects whose regions overlap: who has the one would have the other as well.
fn find_shared_registers(tree: &mut Tree) {
    let mut places: Vec<(u64, u64, ObjectId)> = tree
        .objects()
        .flat_map(|object| object.regions.iter().map(move |region| (region, object.id)))
        .map(|(region, id)| (region.address.0, region.address.0.saturating_add(region.size), id))
        .collect();
    places.sort_unstable();
    let mut shared: Map<ObjectId, ObjectId> = Map::default();
    let mut furthest: Option<(u64, ObjectId)> = None;
    for (start, end, id) in places {
        if let Some((_, other)) = furthest.filter(|(furthest, other)| start < *furthest && *other != id) {
            shared.insert(id, other);
            shared.insert(other, id);
        }
        if furthest.is_none_or(|(furthest, _)| end > furthest) {
            furthest = Some((end, id));
        }
    }
    let objects = tree
        .containers
        .iter_mut()
        .flat_map(|container| &mut container.objects);
    for object in objects {
        if let Some(other) = shared.get(&object.id) {
            object
                .problem
                .get_or_insert(ObjectProblem::SharedRegisters(*other));
        }
    }
}
