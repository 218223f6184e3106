//! What changed between two scans.

use alloc::vec::Vec;

use super::MAX_DEPTH;
use super::tree::{Object, Tree};
use crate::fsl_mc::ObjectId;
use crate::hash::Map;

/// A change between two scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Nobody knows what is in this container now; nothing in it is said to be gone.
    Unsure(ObjectId),
    /// A plugged object is gone, or is no longer plugged, or is in another container now.
    Detached(ObjectId),
    /// All that is in this container has another isolation context, and must be attached anew.
    Icid {
        /// The container.
        container: ObjectId,
        /// The isolation context before; `None` if it could not be read.
        before: Option<u16>,
        /// The isolation context now; `None` if it cannot be read.
        after: Option<u16>,
    },
    /// An object came, or is plugged now.
    Attached(ObjectId),
}

/// What changed from `old` to `new`: first everything that went, then everything that came, with resources that others need
/// first. An object of which anything but its label or open state is different went and came. What is in a container that
/// nobody knows the contents of has neither come nor gone.
#[must_use]
pub fn diff(old: &Tree, new: &Tree) -> Vec<Change> {
    let mut changes = Vec::new();
    // Of a container that is in no list now, the list that it was in says whether it is gone.
    let unsure = |id: ObjectId| {
        let mut id = Some(id);
        for _ in 0..=MAX_DEPTH {
            let Some(at) = id else { break };
            match new.container(at) {
                Some(container) => return container.problem.is_some(),
                None => id = old.container(at).and_then(|container| container.parent),
            }
        }
        false
    };
    for container in &new.containers {
        if unsure(container.id) {
            changes.push(Change::Unsure(container.id));
        }
    }
    let before = plugged(old);
    let after = plugged(new);
    for object in certain(old) {
        let stays = match after.get(&object.id) {
            Some(now) => same(object, now),
            None => unsure(object.container),
        };
        if !stays {
            changes.push(Change::Detached(object.id));
        }
    }
    for container in &old.containers {
        let now = new
            .container(container.id)
            .filter(|now| now.icid != container.icid);
        if let Some(now) = now {
            changes.push(Change::Icid {
                container: container.id,
                before: container.icid,
                after: now.icid,
            });
        }
    }
    for object in certain(new) {
        if !before.get(&object.id).is_some_and(|old| same(old, object)) {
            changes.push(Change::Attached(object.id));
        }
    }
    changes
}

/// The plugged objects in containers that nothing is wrong with.
fn certain(tree: &Tree) -> impl Iterator<Item = &Object> {
    let containers = tree.containers.iter();
    containers
        .filter(|container| container.problem.is_none())
        .flat_map(|container| &container.objects)
        .filter(|object| object.plugged())
}

fn plugged(tree: &Tree) -> Map<ObjectId, &Object> {
    certain(tree).map(|object| (object.id, object)).collect()
}

fn same(a: &Object, b: &Object) -> bool {
    let relevant = |object: &Object| {
        (
            object.container,
            object.version,
            object.flags,
            object.irqs,
            object.problem,
        )
    };
    relevant(a) == relevant(b) && a.regions == b.regions
}
