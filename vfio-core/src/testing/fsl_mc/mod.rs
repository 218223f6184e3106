//! A Management Complex for tests: containers, objects, and portals that answer commands, well or badly.
//!
//! It holds whoever uses it to what the real one relies on: no command is written over another, and the parameters are
//! written before the header.

mod object;
mod portal;
mod world;

pub use object::{FakeContainer, FakeObject, FakeRegion};
pub use portal::{FakePortal, Misbehaviour};
pub use world::World;

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::vec::Vec;

use super::Waits;
use crate::clock::Clock;
use crate::fsl_mc::spec::ApiVersion;

/// Where portals are.
pub const PORTALS: u64 = 0x8_0c00_0000;

/// Something that is called before each command is carried out, with the command's number.
type Hook = Box<dyn FnMut(&mut World, usize)>;

/// The complex, with its own time.
#[derive(Default)]
pub struct FakeMc {
    /// What there is.
    pub world: RefCell<World>,
    /// Nanoseconds since the start.
    pub time: Cell<u64>,
    /// The clock stands still.
    pub stopped: Cell<bool>,
    waits: Waits,
    hook: RefCell<Option<Hook>>,
}

impl FakeMc {
    /// A complex with these containers, the first of which is the root.
    #[must_use]
    pub fn new(containers: impl IntoIterator<Item = (u32, FakeContainer)>) -> Self {
        let containers: Vec<_> = containers.into_iter().collect();
        let mc = Self::default();
        {
            let mut world = mc.world.borrow_mut();
            world.root = containers.first().map_or(1, |(number, _)| *number);
            world.containers = containers.into_iter().collect();
            world.api = (6, 6);
        }
        mc
    }

    /// It with another version of the containers' interface.
    #[must_use]
    pub fn with_api(self, api: ApiVersion) -> Self {
        self.world.borrow_mut().api = (api.major, api.minor);
        self
    }

    /// Lets `hook` change things before each command.
    pub fn before_each(&self, hook: impl FnMut(&mut World, usize) + 'static) {
        *self.hook.borrow_mut() = Some(Box::new(hook));
    }

    /// Makes command `number` from now on go wrong.
    pub fn fail(&self, number: usize, how: Misbehaviour) {
        let mut world = self.world.borrow_mut();
        let at = world.log.len() + number;
        world.misbehaviour.insert(at, how);
    }

    /// How many commands there were.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.world.borrow().log.len()
    }

    /// The registers of a portal.
    #[must_use]
    pub fn portal(&self, number: u32) -> FakePortal<'_> {
        FakePortal::new(self, number)
    }
}

impl Clock for FakeMc {
    fn now(&self) -> u64 {
        self.time.get()
    }

    fn wait(&self, nanoseconds: u64) {
        if !self.stopped.get() {
            self.time.set(self.time.get() + self.waits.last(nanoseconds));
        }
    }
}
