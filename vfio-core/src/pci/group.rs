//! Isolation groups: functions that the IOMMU cannot tell apart, or that reach one another without passing it.
//!
//! ACS is a property of where traffic leaves. A port without it lets everything below it reach everything else
//! below it; a switch's downstream port without it reaches what is below its sibling ports, whatever these have;
//! a function without it reaches the other functions of its slot. Each such place is an *anchor* in the tree,
//! and whatever lies below an anchor is one group. Slots of a root bus are apart, as on Linux.
//!
//! A device that the user has split off (`split-unsafe`) is linked to no anchor, and each anchor that it would have
//! had company below is reported as a cut. What the IOMMU cannot tell apart stays one group in any case.

use alloc::vec::Vec;
use core::fmt;

use super::topology::Node;
use super::{Acs, Bdf, PortKind, Topology};
use crate::hash::Map;
use crate::id::Requester;

/// What makes two functions one isolation group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupCause {
    /// A bridge speaks for both, so that the IOMMU cannot tell them apart.
    SharedAlias {
        /// The bridge.
        bridge: Bdf,
        /// Who it says that they are.
        requester: Requester,
    },
    /// A port above both lets them reach each other.
    PortLacksAcs {
        /// The port.
        port: Bdf,
        /// What it lacks.
        missing: Acs,
    },
    /// Functions of one slot, or devices below them, can reach each other within it.
    MultifunctionLacksAcs {
        /// A function of the slot that does not keep to itself.
        function: Bdf,
        /// What it lacks.
        missing: Acs,
    },
}

impl fmt::Display for GroupCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedAlias { bridge, requester } => {
                write!(f, "bridge {bridge} speaks for both as requester {requester}")
            }
            Self::PortLacksAcs { port, missing } => write!(f, "port {port} lacks ACS {missing}"),
            Self::MultifunctionLacksAcs { function, missing } => {
                write!(
                    f,
                    "{function} lacks ACS {missing} towards the other functions of its slot"
                )
            }
        }
    }
}

/// Two devices that are in one isolation group, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupLink {
    /// The one.
    pub a: Bdf,
    /// The other.
    pub b: Bdf,
    /// What makes them one group.
    pub cause: GroupCause,
}

impl fmt::Display for GroupLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} and {} are one isolation group: {}",
            self.a, self.b, self.cause
        )
    }
}

/// A place below which everything is one group.
struct Anchor {
    above: Option<usize>,
    cause: GroupCause,
    /// The first device found below; the others are linked to it.
    first: Option<Bdf>,
    /// Devices below that are split off.
    split: u32,
}

/// What makes isolation groups, and what was kept from doing so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// Enough links to connect every group, at most a few for each device.
    pub links: Vec<GroupLink>,
    /// Devices that were split off, each with every cause that would have joined it to others.
    pub cuts: Vec<(Bdf, GroupCause)>,
}

/// A slot: how many functions, and one that does not keep to itself.
#[derive(Default)]
struct Slot {
    functions: u32,
    lacking: Option<(Bdf, Acs)>,
    anchor: Option<usize>,
}

type SlotKey = (u16, u8, u8);

fn slot_key(bdf: Bdf) -> SlotKey {
    (bdf.segment(), bdf.bus(), bdf.device())
}

/// Virtual functions keep to themselves (the SR-IOV part of the specification gives them no peers), a host bridge
/// masters nothing, and a downstream port is judged as a port.
fn counts_in_slot(node: &Node) -> bool {
    node.function.physical_function.is_none()
        && !matches!(
            node.function.kind,
            PortKind::HostBridge | PortKind::DownstreamPort
        )
}

impl Topology {
    /// The links that make isolation groups: enough to connect every group, at most a few for each device.
    #[must_use]
    pub fn group_links(&self) -> Vec<GroupLink> {
        self.groups(|_| false).links
    }

    /// The isolation groups, with those devices left out of them that `split` names.
    #[must_use]
    pub fn groups(&self, split: impl Fn(Bdf) -> bool) -> Groups {
        let mut anchors = Anchors::new(self.nodes());
        let mut links = Vec::new();
        let mut speakers: Map<Requester, Bdf> = Map::default();
        let mut apart: Vec<(Bdf, Option<usize>)> = Vec::new();
        for (at, node) in self.nodes().iter().enumerate() {
            let nearest = anchors.place(at, node);
            if !node.function.kind.is_endpoint() {
                continue;
            }
            let b = node.function.bdf;
            if let Some(bridge) = node.alias_bridge {
                let a = *speakers.entry(node.requester).or_insert(b);
                if a != b {
                    let cause = GroupCause::SharedAlias {
                        bridge,
                        requester: node.requester,
                    };
                    links.push(GroupLink { a, b, cause });
                }
            }
            if split(b) {
                anchors.count_split(nearest);
                apart.push((b, nearest));
            } else {
                anchors.link(nearest, b, &mut links);
            }
        }
        let cut = |(device, nearest)| anchors.with_company(nearest).map(move |cause| (device, cause));
        let cuts = apart.into_iter().flat_map(cut).collect();
        Groups { links, cuts }
    }
}

/// The anchors found so far, walking from the roots down.
struct Anchors {
    anchors: Vec<Anchor>,
    /// For each function, the nearest anchor above what is below it.
    below: Vec<Option<usize>>,
    slots: Map<SlotKey, Slot>,
    /// For each port above a group, why.
    ports: Map<usize, GroupCause>,
}

impl Anchors {
    fn new(nodes: &[Node]) -> Self {
        let mut slots: Map<SlotKey, Slot> = Map::default();
        let mut ports = Map::default();
        for (at, node) in nodes.iter().enumerate() {
            let (bdf, missing) = (node.function.bdf, node.function.missing_acs());
            if counts_in_slot(node) {
                let slot = slots.entry(slot_key(bdf)).or_default();
                slot.functions += 1;
                if !missing.is_empty() {
                    slot.lacking.get_or_insert((bdf, missing));
                }
            }
            // A downstream port's traffic turns around in the switch, at the port above.
            let turns_at = match node.function.kind {
                PortKind::RootPort => Some(at),
                PortKind::DownstreamPort => Some(node.parent.unwrap_or(at)),
                _ => None,
            };
            if let Some(turns_at) = turns_at.filter(|_| !missing.is_empty()) {
                ports
                    .entry(turns_at)
                    .or_insert(GroupCause::PortLacksAcs { port: bdf, missing });
            }
        }
        Self {
            anchors: Vec::new(),
            below: Vec::with_capacity(nodes.len()),
            slots,
            ports,
        }
    }

    /// The nearest anchor at or above `node`, which is the `at`th; remembers the one above what is below it.
    fn place(&mut self, at: usize, node: &Node) -> Option<usize> {
        let above = node
            .parent
            .and_then(|parent| self.below.get(parent).copied().flatten());
        let own = match self.slots.get_mut(&slot_key(node.function.bdf)) {
            Some(slot) if counts_in_slot(node) && slot.functions > 1 => match (slot.anchor, slot.lacking) {
                (Some(anchor), _) => Some(anchor),
                (None, Some((function, missing))) => {
                    let cause = GroupCause::MultifunctionLacksAcs { function, missing };
                    let anchor = add(&mut self.anchors, above, cause);
                    slot.anchor = Some(anchor);
                    Some(anchor)
                }
                (None, None) => above,
            },
            _ => above,
        };
        let below = match self.ports.get(&at) {
            Some(cause) => Some(add(&mut self.anchors, own, *cause)),
            None => own,
        };
        self.below.push(below);
        own
    }

    /// Links `device` to the first device below each anchor over it, up to one that had been reached before.
    fn link(&mut self, mut nearest: Option<usize>, device: Bdf, links: &mut Vec<GroupLink>) {
        while let Some(anchor) = nearest.and_then(|at| self.anchors.get_mut(at)) {
            if let Some(first) = anchor.first {
                links.push(GroupLink {
                    a: first,
                    b: device,
                    cause: anchor.cause,
                });
                return;
            }
            anchor.first = Some(device);
            nearest = anchor.above;
        }
    }

    /// Counts a device that is split off at each anchor over it.
    fn count_split(&mut self, mut nearest: Option<usize>) {
        while let Some(anchor) = nearest.and_then(|at| self.anchors.get_mut(at)) {
            anchor.split = anchor.split.saturating_add(1);
            nearest = anchor.above;
        }
    }

    /// The causes of the anchors from `nearest` up that a device which is split off shares with another device.
    fn with_company(&self, nearest: Option<usize>) -> impl Iterator<Item = GroupCause> {
        let first = nearest.and_then(|at| self.anchors.get(at));
        core::iter::successors(first, |anchor| self.anchors.get(anchor.above?))
            .filter(|anchor| anchor.first.is_some() || anchor.split > 1)
            .map(|anchor| anchor.cause)
    }
}

fn add(anchors: &mut Vec<Anchor>, above: Option<usize>, cause: GroupCause) -> usize {
    anchors.push(Anchor {
        above,
        cause,
        first: None,
        split: 0,
    });
    anchors.len() - 1
}
