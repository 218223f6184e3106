//! Resources of one container that its devices share: command portals, buffer pools, concentrators and interrupts.

use alloc::vec::Vec;

use super::scan::Container;
use super::spec::MAX_IRQS;
use super::{ObjectId, ObjectType};

/// Why a resource was not given out or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PoolError {
    /// All are in use, or there is none.
    #[error("the container has no free {0}; add some to it")]
    Empty(ObjectType),
    /// Objects of this type are no resources.
    #[error("{0} is no type of resource")]
    NoResource(ObjectType),
    /// It was not given out.
    #[error("{0} was not given out")]
    NotTaken(ObjectId),
}

/// The objects of a container that others need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    free: Vec<ObjectId>,
    taken: Vec<ObjectId>,
}

impl Pools {
    /// All plugged resources of `container` that nothing is wrong with.
    #[must_use]
    pub fn new(container: &Container) -> Self {
        let mut free: Vec<ObjectId> = container
            .objects
            .iter()
            .filter(|object| object.plugged() && object.problem.is_none())
            .map(|object| object.id)
            .filter(|object| super::scan::allocatable(object.kind))
            .collect();
        free.sort_unstable();
        free.dedup();
        Self {
            free,
            taken: Vec::new(),
        }
    }

    /// The free one with the lowest number.
    ///
    /// # Errors
    /// [`PoolError::Empty`], [`PoolError::NoResource`].
    pub fn take(&mut self, kind: ObjectType) -> Result<ObjectId, PoolError> {
        if !super::scan::allocatable(kind) {
            return Err(PoolError::NoResource(kind));
        }
        let at = self.free.iter().position(|object| object.kind == kind);
        let object = self.free.remove(at.ok_or(PoolError::Empty(kind))?);
        self.taken.push(object);
        Ok(object)
    }

    /// Takes one back.
    ///
    /// # Errors
    /// [`PoolError::NotTaken`].
    pub fn give_back(&mut self, object: ObjectId) -> Result<(), PoolError> {
        let at = self.taken.iter().position(|taken| *taken == object);
        self.taken.swap_remove(at.ok_or(PoolError::NotTaken(object))?);
        let at = self.free.partition_point(|free| *free < object);
        self.free.insert(at, object);
        Ok(())
    }

    /// How many of a type are free.
    #[must_use]
    pub fn free(&self, kind: ObjectType) -> usize {
        self.free.iter().filter(|object| object.kind == kind).count()
    }
}

/// The interrupts of a container, at most 256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IrqPool {
    taken: Vec<bool>,
}

impl IrqPool {
    /// `count` interrupts, of which no more than 256 count.
    #[must_use]
    pub fn new(count: u16) -> Self {
        Self {
            taken: alloc::vec![false; usize::from(count.min(MAX_IRQS))],
        }
    }

    /// The first free one.
    pub fn take(&mut self) -> Option<u16> {
        let at = self.taken.iter().position(|taken| !taken)?;
        *self.taken.get_mut(at)? = true;
        u16::try_from(at).ok()
    }

    /// Takes one back; says whether it was given out.
    pub fn give_back(&mut self, number: u16) -> bool {
        let slot = self.taken.get_mut(usize::from(number));
        slot.is_some_and(|taken| core::mem::replace(taken, false))
    }

    /// How many are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.taken.iter().filter(|taken| !**taken).count()
    }
}
