//! Containers and objects, as values that tests change.

use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

use super::PORTALS;
use crate::fsl_mc::ObjectId;

/// A region as the firmware gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FakeRegion {
    /// From the base.
    pub offset: u64,
    /// Bytes.
    pub size: u32,
    /// 1 cacheable, 2 shareable.
    pub attributes: u32,
    /// The base, from version 2 on.
    pub base: u64,
}

/// An object.
#[derive(Clone, Debug)]
pub struct FakeObject {
    /// Its type, which need not be one that exists.
    pub kind: String,
    /// Its number.
    pub number: u32,
    /// 1 open, 2 plugged.
    pub state: u32,
    /// Its version.
    pub version: (u16, u16),
    /// How many interrupts it has.
    pub irqs: u8,
    /// Its regions.
    pub regions: Vec<FakeRegion>,
    /// Whether it works.
    pub enabled: bool,
    /// How often it was reset.
    pub resets: u32,
    /// Where its interrupts go: address and value.
    pub irq: BTreeMap<u8, (u64, u32)>,
    /// Events that happened.
    pub events: u32,
    /// Bytes to write over its entry in a list, at an offset.
    pub corrupt: Option<(usize, Vec<u8>)>,
}

impl FakeObject {
    /// A plugged object of a version that will do.
    #[must_use]
    pub fn new(kind: &str, number: u32) -> Self {
        Self {
            kind: kind.to_string(),
            number,
            state: 2,
            version: (9, 0),
            irqs: 1,
            regions: Vec::new(),
            enabled: true,
            resets: 0,
            irq: BTreeMap::new(),
            events: 0,
            corrupt: None,
        }
    }

    /// It with a region.
    #[must_use]
    pub fn region(mut self, offset: u64, size: u32, attributes: u32) -> Self {
        self.regions.push(FakeRegion {
            offset,
            size,
            attributes,
            base: PORTALS,
        });
        self
    }

    /// It, not plugged.
    #[must_use]
    pub fn unplugged(mut self) -> Self {
        self.state = 0;
        self
    }

    pub(super) fn is(&self, id: ObjectId) -> bool {
        self.kind == id.kind.name() && self.number == id.number
    }
}

/// A container.
#[derive(Clone, Debug, Default)]
pub struct FakeContainer {
    /// Its isolation context.
    pub icid: u16,
    /// What is in it.
    pub objects: Vec<FakeObject>,
    /// How often it was reset, by itself or from above.
    pub resets: u32,
}
