//! Machines for tests: one by hand, which has a bit of everything, and random ones.

use proptest::prelude::*;
use std::vec::Vec;

use super::scaled;
use crate::DeviceId;
use crate::pci::{Acs, AcsCapability, Bdf, BusRange, Function, PortKind, ResetMethods};

/// What may be plugged in somewhere.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Functions of one device: for each whether it has ACS, and how it is reset.
    Device(Vec<(bool, ResetMethods)>),
    /// A switch: for each downstream port whether it has ACS, and what is below.
    Switch(Vec<(bool, Part)>),
    /// A PCIe-to-PCI bridge with conventional devices, and perhaps another bridge with more of them.
    Bridge(u8, u8),
}

/// What a slot of the root bus holds.
#[derive(Clone, Debug)]
pub(crate) enum RootSlot {
    Device(Vec<(bool, ResetMethods)>),
    /// Root ports, as functions of one slot.
    Ports(Vec<(bool, Part)>),
}

pub(crate) struct Builder {
    pub(crate) functions: Vec<Function>,
    next_bus: u8,
}

fn acs(has: bool) -> Option<AcsCapability> {
    has.then(|| AcsCapability::enabled(Acs::PORT))
}

impl Builder {
    fn device(
        &mut self,
        bus: u8,
        slot: u8,
        parent: Option<Bdf>,
        kind: PortKind,
        spec: &[(bool, ResetMethods)],
    ) {
        for (number, (has_acs, resets)) in spec.iter().enumerate() {
            let bdf = Bdf::new(0, bus, slot, number as u8);
            let acs = acs(*has_acs);
            self.functions.push(Function {
                parent,
                acs,
                resets: *resets,
                ..Function::new(bdf, kind)
            });
        }
    }

    fn bridge(
        &mut self,
        bdf: Bdf,
        kind: PortKind,
        parent: Option<Bdf>,
        has_acs: bool,
        below: impl FnOnce(&mut Self, u8),
    ) {
        let at = self.functions.len();
        self.functions.push(Function {
            parent,
            acs: acs(has_acs),
            ..Function::new(bdf, kind)
        });
        let secondary = self.next_bus;
        self.next_bus += 1;
        below(self, secondary);
        self.functions[at].buses = Some(BusRange {
            secondary,
            subordinate: self.next_bus - 1,
        });
    }

    fn part(&mut self, bus: u8, port: Bdf, part: &Part) {
        match part {
            Part::Device(spec) => self.device(bus, 0, Some(port), PortKind::Endpoint, spec),
            Part::Switch(ports) => {
                let up = Bdf::new(0, bus, 0, 0);
                self.bridge(up, PortKind::UpstreamPort, Some(port), true, |b, inner| {
                    for (slot, (has_acs, part)) in ports.iter().enumerate() {
                        let down = Bdf::new(0, inner, slot as u8, 0);
                        b.bridge(down, PortKind::DownstreamPort, Some(up), *has_acs, |b, bus| {
                            b.part(bus, down, part);
                        });
                    }
                });
            }
            Part::Bridge(devices, further) => {
                let bridge = Bdf::new(0, bus, 0, 0);
                let spec = [(false, ResetMethods::BUS | ResetMethods::PM)];
                self.bridge(
                    bridge,
                    PortKind::PcieToPciBridge,
                    Some(port),
                    false,
                    |b, inner| {
                        for slot in 0..*devices {
                            b.device(inner, slot, Some(bridge), PortKind::ConventionalEndpoint, &spec);
                        }
                        if *further > 0 {
                            let second = Bdf::new(0, inner, 31, 0);
                            b.bridge(
                                second,
                                PortKind::ConventionalBridge,
                                Some(bridge),
                                false,
                                |b, last| {
                                    for slot in 0..*further {
                                        b.device(
                                            last,
                                            slot,
                                            Some(second),
                                            PortKind::ConventionalEndpoint,
                                            &spec,
                                        );
                                    }
                                },
                            );
                        }
                    },
                );
            }
        }
    }
}

/// The functions of a machine with these slots on its root bus.
pub(crate) fn build(slots: &[RootSlot]) -> Vec<Function> {
    let mut builder = Builder {
        functions: Vec::new(),
        next_bus: 1,
    };
    for (slot, what) in slots.iter().enumerate() {
        match what {
            RootSlot::Device(spec) => {
                builder.device(0, slot as u8, None, PortKind::RootComplexEndpoint, spec)
            }
            RootSlot::Ports(ports) => {
                for (number, (has_acs, part)) in ports.iter().enumerate() {
                    let port = Bdf::new(0, 0, slot as u8, number as u8);
                    builder.bridge(port, PortKind::RootPort, None, *has_acs, |b, bus| {
                        b.part(bus, port, part)
                    });
                }
            }
        }
    }
    builder.functions
}

pub(crate) fn bdf(text: &str) -> Bdf {
    text.parse().unwrap()
}

pub(crate) fn id(text: &str) -> DeviceId {
    bdf(text).into()
}

pub(crate) const FLR: ResetMethods = ResetMethods::FLR.union(ResetMethods::BUS);

/// `00:00.0` alone, without a reset method; `01:00.0` and `.1` in a slot; `03:00.0` and `03:01.0` behind a
/// PCIe-to-PCI bridge (`02:00.0`); `04:00.0` with FLR behind a port of its own.
pub(crate) fn demo() -> Vec<Function> {
    let two = Part::Device(Vec::from([(true, ResetMethods::BUS), (true, ResetMethods::BUS)]));
    build(&[
        RootSlot::Device(Vec::from([(false, ResetMethods::empty())])),
        RootSlot::Ports(Vec::from([(true, two)])),
        RootSlot::Ports(Vec::from([(true, Part::Bridge(2, 0))])),
        RootSlot::Ports(Vec::from([(true, Part::Device(Vec::from([(false, FLR)])))])),
    ])
}

fn device() -> impl Strategy<Value = Vec<(bool, ResetMethods)>> {
    prop::collection::vec(
        (
            any::<bool>(),
            any::<u8>().prop_map(ResetMethods::from_bits_truncate),
        ),
        1..4,
    )
}

fn part() -> impl Strategy<Value = Part> {
    let leaf = prop_oneof![
        device().prop_map(Part::Device),
        (1..4u8, 0..3u8).prop_map(|(a, b)| Part::Bridge(a, b))
    ];
    let (depth, most) = scaled((2, 4), (1, 3));
    leaf.prop_recursive(depth, 8, 3, move |inner| {
        prop::collection::vec((any::<bool>(), inner), 1..most).prop_map(Part::Switch)
    })
}

/// A random machine; a small one under Miri, which is slow.
pub(crate) fn arbitrary() -> impl Strategy<Value = Vec<Function>> {
    let slot = prop_oneof![
        device().prop_map(RootSlot::Device),
        prop::collection::vec((any::<bool>(), part()), 1..scaled(3, 2)).prop_map(RootSlot::Ports),
    ];
    let most = scaled(5, 2);
    prop::collection::vec(slot, 1..most).prop_map(|slots| build(&slots))
}
