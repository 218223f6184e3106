//! The tree of PCI functions, checked: which functions open and reset together, and who the IOMMU takes them for.
//!
//! Everything here is computed once, in one walk from the roots down, and never touches a device. What cannot be
//! kept apart at all is worked out next door, in [`group`](super::group).

use alloc::vec::Vec;
use core::slice;

use super::{Bdf, BusRange, Function, NotAssignable, PortKind, ResetMethods};
use crate::cohort::{Obstacle, SetReset, SetScope};
use crate::hash::Map;
use crate::id::{DeviceId, Requester, SetId};

/// What is wrong with a list of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// Two functions have one address.
    #[error("{0} is there twice")]
    Duplicate(Bdf),
    /// The bridge above a function is not in the list.
    #[error("{child} is said to be below {parent}, which does not exist")]
    MissingParent {
        /// The function.
        child: Bdf,
        /// What should be above it.
        parent: Bdf,
    },
    /// A function is below something that is no bridge, or that leads to another bus.
    #[error("{child} cannot be below {parent}, which does not lead to its bus")]
    WrongParent {
        /// The function.
        child: Bdf,
        /// What should be above it.
        parent: Bdf,
    },
    /// A function says that it is on a root bus, and a bridge leads to that bus.
    #[error("{child} is said to be on a root bus, but {bridge} leads there")]
    NotOnRootBus {
        /// The function.
        child: Bdf,
        /// The bridge that leads to its bus.
        bridge: Bdf,
    },
    /// A bridge's buses do not lie behind it: their range is empty, starts at or above the bridge's own bus
    /// (a loop), or leaves the range of the bridge above.
    #[error("the buses behind bridge {0} are not behind it")]
    BadBusRange(Bdf),
    /// Two bridges lead to the same bus.
    #[error("{a} and {b} lead to the same bus")]
    SameBus {
        /// One bridge.
        a: Bdf,
        /// The other one.
        b: Bdf,
    },
    /// A virtual function whose physical function is missing, elsewhere, or virtual itself.
    #[error("virtual function {virtual_function} cannot belong to {physical_function}")]
    BadPhysicalFunction {
        /// The virtual function.
        virtual_function: Bdf,
        /// What it says that it belongs to.
        physical_function: Bdf,
    },
}

/// A function and what follows from its place in the tree.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) function: Function,
    /// Index of the bridge above.
    pub(super) parent: Option<usize>,
    /// Who the IOMMU takes it for.
    pub(super) requester: Requester,
    /// The bridge that speaks for it, if one does.
    pub(super) alias_bridge: Option<Bdf>,
}

/// What hangs on one bus.
#[derive(Debug)]
struct BusBelow {
    bridge: usize,
    /// What keeps a reset of the bus from reaching everything on it and nothing else: the first in order of address.
    obstacle: Option<Obstacle>,
}

/// A checked tree of PCI functions.
#[derive(Debug)]
pub struct Topology {
    /// In order of address, and so every bridge before what is below it.
    nodes: Vec<Node>,
    index: Map<Bdf, usize>,
    buses: Map<(u16, u8), BusBelow>,
}

impl Topology {
    /// Checks `functions`, which nobody has checked before, and works out what follows from them.
    ///
    /// # Errors
    /// [`TopologyError`] names the first function that does not fit.
    pub fn new(mut functions: Vec<Function>) -> Result<Self, TopologyError> {
        functions.sort_unstable_by_key(|function| function.bdf);
        let mut index = Map::default();
        let mut buses = Map::default();
        for (at, function) in functions.iter().enumerate() {
            if index.insert(function.bdf, at).is_some() {
                return Err(TopologyError::Duplicate(function.bdf));
            }
            let Some(range) = function.buses else { continue };
            let bdf = function.bdf;
            if !function.kind.is_bridge()
                || range.secondary <= bdf.bus()
                || range.subordinate < range.secondary
            {
                return Err(TopologyError::BadBusRange(bdf));
            }
            let key = (bdf.segment(), range.secondary);
            if let Some(BusBelow { bridge, .. }) = buses.insert(
                key,
                BusBelow {
                    bridge: at,
                    obstacle: None,
                },
            ) {
                let a = functions.get(bridge).map_or(bdf, |other| other.bdf);
                return Err(TopologyError::SameBus { a, b: bdf });
            }
        }
        let mut topology = Self {
            nodes: Vec::with_capacity(functions.len()),
            index,
            buses,
        };
        for function in functions {
            topology.add(function)?;
        }
        topology.check_physical_functions()?;
        topology.find_obstacles();
        Ok(topology)
    }

    /// Adds the next function in order of address; the bridge above has a lower bus number and is there.
    fn add(&mut self, function: Function) -> Result<(), TopologyError> {
        let parent = self.check_place(&function)?;
        let mut requester = Requester::from(function.bdf);
        let mut alias_bridge = None;
        if let Some(bridge) = parent.and_then(|at| self.nodes.get(at)) {
            // The bridge next to the root has the last word: it speaks for bridges behind it as well.
            if bridge.alias_bridge.is_some() {
                (requester, alias_bridge) = (bridge.requester, bridge.alias_bridge);
            } else {
                let own = bridge.function.bdf;
                match (bridge.function.kind, bridge.function.buses) {
                    (PortKind::PcieToPciBridge, Some(BusRange { secondary, .. })) => {
                        requester = Bdf::from_devfn(own.segment(), secondary, 0).into();
                        alias_bridge = Some(own);
                    }
                    (PortKind::ConventionalBridge | PortKind::PciToPcieBridge, _) => {
                        requester = own.into();
                        alias_bridge = Some(own);
                    }
                    _ => {}
                }
            }
        }
        self.nodes.push(Node {
            function,
            parent,
            requester,
            alias_bridge,
        });
        Ok(())
    }

    /// The index of the bridge above `function`, once it is certain that it can be there.
    fn check_place(&self, function: &Function) -> Result<Option<usize>, TopologyError> {
        let child = function.bdf;
        let Some(parent) = function.parent else {
            return match self.buses.get(&(child.segment(), child.bus())) {
                Some(below) => {
                    let bridge = self
                        .nodes
                        .get(below.bridge)
                        .map_or(child, |node| node.function.bdf);
                    Err(TopologyError::NotOnRootBus { child, bridge })
                }
                None => Ok(None),
            };
        };
        if !self.index.contains_key(&parent) {
            return Err(TopologyError::MissingParent { child, parent });
        }
        let wrong = TopologyError::WrongParent { child, parent };
        // A bridge that is not in `nodes` yet has no lower bus number, so it cannot lead here.
        let at = *self.index.get(&parent).ok_or(wrong)?;
        let above = self.nodes.get(at).ok_or(wrong)?;
        let range = above.function.buses.ok_or(wrong)?;
        let on_its_bus = child.bus() == range.secondary
            // Virtual functions may spill over to the buses after their physical function's.
            || function.physical_function.is_some() && (range.secondary..=range.subordinate).contains(&child.bus());
        if parent.segment() != child.segment() || !on_its_bus {
            return Err(wrong);
        }
        if function
            .buses
            .is_some_and(|below| below.subordinate > range.subordinate)
        {
            return Err(TopologyError::BadBusRange(child));
        }
        Ok(Some(at))
    }

    fn check_physical_functions(&self) -> Result<(), TopologyError> {
        for node in &self.nodes {
            let Some(physical_function) = node.function.physical_function else {
                continue;
            };
            let (virtual_function, parent) = (node.function.bdf, node.parent);
            let bad = TopologyError::BadPhysicalFunction {
                virtual_function,
                physical_function,
            };
            let owner = *self.index.get(&physical_function).ok_or(bad)?;
            let owner = self.nodes.get(owner).ok_or(bad)?;
            let fits = owner.function.physical_function.is_none()
                && owner.function.kind.is_endpoint()
                && owner.parent == parent
                && owner.function.bdf.segment() == virtual_function.segment();
            if !fits {
                return Err(bad);
            }
        }
        Ok(())
    }

    /// A bus reset must stay within the set: bridges below would lose their buses, virtual functions are sets of
    /// their own, and a function that does not take part would be left as it was.
    fn find_obstacles(&mut self) {
        for node in &self.nodes {
            let Some(bridge) = node.parent.and_then(|at| self.nodes.get(at)) else {
                continue;
            };
            let Some(range) = bridge.function.buses else {
                continue;
            };
            let function = &node.function;
            let device = DeviceId::from(function.bdf);
            let obstacle = if !function.kind.is_endpoint() {
                Some(self.first_below(function))
            } else if function.physical_function.is_some() {
                Some(Obstacle::Outside(device))
            } else if !function.resets.intersects(ResetMethods::BUS | ResetMethods::SLOT) {
                Some(Obstacle::NoPart(device))
            } else {
                None
            };
            let key = (bridge.function.bdf.segment(), range.secondary);
            if let Some(bus) = self.buses.get_mut(&key) {
                bus.obstacle = bus.obstacle.or(obstacle);
            }
        }
    }

    /// The first device below a bridge, which a reset above the bridge reaches too; the bridge itself, if there is none.
    fn first_below(&self, bridge: &Function) -> Obstacle {
        let bdf = bridge.bdf;
        let Some(range) = bridge.buses else {
            return Obstacle::Bridge(bdf);
        };
        let place = |function: &Function| (function.bdf.segment(), function.bdf.bus());
        let from = self
            .nodes
            .partition_point(|node| place(&node.function) < (bdf.segment(), range.secondary));
        let below = self.nodes.get(from..).unwrap_or_default().iter();
        below
            .map(|node| &node.function)
            .take_while(|function| place(function) <= (bdf.segment(), range.subordinate))
            .find(|function| function.kind.is_endpoint())
            .map_or(Obstacle::Bridge(bdf), |function| {
                Obstacle::Outside(function.bdf.into())
            })
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn node(&self, bdf: Bdf) -> Option<&Node> {
        self.nodes.get(*self.index.get(&bdf)?)
    }

    fn bridge_above(&self, node: &Node) -> Option<&Node> {
        node.parent.and_then(|at| self.nodes.get(at))
    }

    /// All functions, in order of address.
    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        self.nodes.iter().map(|node| &node.function)
    }

    /// The functions that are devices, that is no bridges or ports, in order of address.
    pub fn endpoints(&self) -> impl Iterator<Item = &Function> {
        self.functions().filter(|function| function.kind.is_endpoint())
    }

    /// The function at `bdf`, if there is one.
    #[must_use]
    pub fn function(&self, bdf: Bdf) -> Option<&Function> {
        self.node(bdf).map(|node| &node.function)
    }

    /// The set of the device at `bdf`; `None` if there is no device there.
    ///
    /// Virtual functions and functions on a root bus are sets by themselves: no bridge resets them. Below a port,
    /// which leads to one slot, the slot is the set; below other bridges the bus is.
    #[must_use]
    pub fn set_id(&self, bdf: Bdf) -> Option<SetId> {
        let node = self.node(bdf).filter(|node| node.function.kind.is_endpoint())?;
        let own = SetId::Own(bdf.into());
        if node.function.physical_function.is_some() {
            return Some(own);
        }
        let Some(bridge) = self.bridge_above(node) else {
            return Some(own);
        };
        let (segment, bus) = (bdf.segment(), bdf.bus());
        Some(match bridge.function.kind {
            // One link, one slot: a device number other than 0 is part of an ARI function number (section 6.13).
            PortKind::RootPort | PortKind::DownstreamPort => SetId::PciSlot {
                segment,
                bus,
                slot: 0,
            },
            _ => SetId::PciBus { segment, bus },
        })
    }

    /// What resets `set` as a whole, and what stands in the way of that; `None` if nothing does.
    #[must_use]
    pub fn set_scope(&self, set: SetId) -> Option<SetScope> {
        let key = match set {
            SetId::Own(_) | SetId::Dprc(_) => return None,
            SetId::PciSlot { segment, bus, .. } | SetId::PciBus { segment, bus } => (segment, bus),
        };
        let bus = self.buses.get(&key)?;
        let port = self.nodes.get(bus.bridge)?.function.bdf;
        Some(SetScope {
            by: SetReset::Port(port),
            obstacle: bus.obstacle,
        })
    }

    /// The bridge whose secondary bus reset resets `set` as a whole and nothing else; `None` if there is none.
    #[must_use]
    pub fn set_reset(&self, set: SetId) -> Option<Bdf> {
        let scope = self.set_scope(set).filter(|scope| scope.obstacle.is_none())?;
        match scope.by {
            SetReset::Port(port) => Some(port),
            SetReset::Container(_) => None,
        }
    }

    /// Who the IOMMU may take the function at `bdf` for; empty if there is no function there.
    ///
    /// A function behind a PCIe-to-PCI bridge has device 0, function 0 of the bridge's secondary bus as its
    /// requester id, a function behind a conventional bridge the bridge's own; any other function has its own.
    #[must_use]
    pub fn dma_aliases(&self, bdf: Bdf) -> &[Requester] {
        self.node(bdf)
            .map_or(&[], |node| slice::from_ref(&node.requester))
    }

    /// Why the function at `bdf` can be given to nobody, if so.
    #[must_use]
    pub fn not_assignable(&self, bdf: Bdf) -> Option<NotAssignable> {
        self.node(bdf)?.function.not_assignable
    }
}
