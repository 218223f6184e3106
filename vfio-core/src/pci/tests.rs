//! Sets, aliases and isolation groups, by example and against the definitions taken literally.

#![cfg(not(loom))]

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::cohort::Obstacle;
use crate::testing::cases;
use crate::testing::machine::{RootSlot, arbitrary, bdf, build, demo};
use crate::{Requester, SetId};

fn topology(functions: Vec<Function>) -> Topology {
    Topology::new(functions).unwrap()
}

fn slot(bus: u8) -> Option<SetId> {
    Some(SetId::PciSlot {
        segment: 0,
        bus,
        slot: 0,
    })
}

#[test]
fn sets_follow_what_can_be_reset() {
    let machine = topology(demo());
    assert_eq!(
        machine.set_id(bdf("00:00.0")),
        Some(SetId::Own(bdf("00:00.0").into()))
    );
    assert_eq!(machine.set_id(bdf("01:00.1")), slot(1));
    assert_eq!(
        machine.set_id(bdf("03:01.0")),
        Some(SetId::PciBus { segment: 0, bus: 3 })
    );
    assert_eq!(machine.set_id(bdf("00:01.0")), None, "a port is no device");
    assert_eq!(machine.set_id(bdf("09:00.0")), None);
    assert_eq!(machine.set_reset(slot(1).unwrap()), Some(bdf("00:01.0")));
    assert_eq!(
        machine.set_reset(SetId::PciBus { segment: 0, bus: 3 }),
        Some(bdf("02:00.0"))
    );
    assert_eq!(
        machine.set_reset(SetId::PciBus { segment: 0, bus: 2 }),
        None,
        "would reset the bridge below"
    );
    let scope = machine.set_scope(SetId::PciBus { segment: 0, bus: 2 });
    let outside = Obstacle::Outside(bdf("03:00.0").into());
    assert_eq!(
        scope.unwrap().obstacle,
        Some(outside),
        "and so the first device behind it"
    );
}

#[test]
fn a_conventional_bridge_speaks_for_what_is_behind_it() {
    let alias = |machine: &Topology, text| machine.dma_aliases(bdf(text)).to_vec();
    let machine = topology(demo());
    let bridge = Requester::Pci {
        segment: 0,
        id: 0x0300,
    };
    assert_eq!(alias(&machine, "03:00.0"), [bridge]);
    assert_eq!(alias(&machine, "03:01.0"), [bridge]);
    assert_eq!(
        alias(&machine, "04:00.0"),
        [Requester::Pci {
            segment: 0,
            id: 0x0400
        }]
    );
    assert_eq!(alias(&machine, "09:00.0"), []);

    // A conventional bridge on the root bus speaks with its own id, also for a bridge behind it.
    let bridge = |text: &str, parent: Option<&str>, secondary, subordinate| Function {
        parent: parent.map(bdf),
        buses: Some(BusRange {
            secondary,
            subordinate,
        }),
        ..Function::new(bdf(text), PortKind::ConventionalBridge)
    };
    let mut functions = Vec::from([
        bridge("00:1e.0", None, 1, 2),
        bridge("01:03.0", Some("00:1e.0"), 2, 2),
    ]);
    let device = Function::new(bdf("02:05.0"), PortKind::ConventionalEndpoint);
    functions.push(Function {
        parent: Some(bdf("01:03.0")),
        ..device
    });
    assert_eq!(
        alias(&topology(functions), "02:05.0"),
        [Requester::Pci {
            segment: 0,
            id: 0x00f0
        }]
    );
}

#[test]
fn slots_of_a_root_bus_are_apart_and_functions_without_acs_are_not() {
    let plain = [(false, ResetMethods::empty())];
    let machine = build(&[
        RootSlot::Device(plain.to_vec()),
        RootSlot::Device(plain.repeat(2)),
    ]);
    let links = topology(machine).group_links();
    let [link] = links[..] else { panic!("{links:?}") };
    assert_eq!(
        link.to_string(),
        "0000:00:01.0 and 0000:00:01.1 are one isolation group: 0000:00:01.0 lacks ACS \
         request redirection, completion redirection towards the other functions of its slot"
    );
}

#[test]
fn a_port_is_named_with_what_it_lacks() {
    let mut functions = demo();
    let able = Acs::PORT;
    functions[1].acs = Some(AcsCapability {
        able,
        enabled: able - Acs::REQUEST_REDIRECTION,
    });
    let links = topology(functions).group_links();
    assert_eq!(
        links[0].to_string(),
        "0000:01:00.0 and 0000:01:00.1 are one isolation group: port 0000:00:01.0 lacks ACS request redirection"
    );
    // What a root port cannot do it need not do; it must validate sources in any case.
    let mut functions = demo();
    functions[1].acs = Some(AcsCapability::enabled(Acs::SOURCE_VALIDATION));
    assert!(
        !topology(functions.clone())
            .group_links()
            .iter()
            .any(|link| link.a.bus() == 1)
    );
    functions[1].acs = Some(AcsCapability::enabled(Acs::empty()));
    assert!(
        topology(functions)
            .group_links()
            .iter()
            .any(|link| link.a.bus() == 1)
    );
}

#[test]
fn virtual_functions_are_alone_and_bind_their_physical_function() {
    let mut functions = demo();
    let parent = Some(bdf("00:03.0"));
    for number in 1..3 {
        let function = Function::new(Bdf::new(0, 4, 0, number), PortKind::Endpoint);
        functions.push(Function {
            parent,
            physical_function: Some(bdf("04:00.0")),
            ..function
        });
    }
    let machine = topology(functions);
    assert_eq!(
        machine.set_id(bdf("04:00.1")),
        Some(SetId::Own(bdf("04:00.1").into()))
    );
    assert_eq!(
        machine.set_reset(slot(4).unwrap()),
        None,
        "would reset the virtual functions"
    );
    let obstacle = machine.set_scope(slot(4).unwrap()).unwrap().obstacle;
    assert_eq!(obstacle, Some(Obstacle::Outside(bdf("04:00.1").into())));
    assert_eq!(
        machine.not_assignable(bdf("04:00.0")),
        None,
        "the rule is the cohorts'"
    );
    assert_eq!(machine.not_assignable(bdf("04:00.1")), None);
    assert!(!machine.group_links().iter().any(|link| link.a.bus() == 4));

    // Another physical function that does not keep to itself joins the first one, and not the virtual ones.
    let mut functions: Vec<Function> = machine.functions().cloned().collect();
    functions.push(Function {
        parent,
        ..Function::new(bdf("04:00.7"), PortKind::Endpoint)
    });
    let links: Vec<(Bdf, Bdf)> = topology(functions)
        .group_links()
        .iter()
        .map(|l| (l.a, l.b))
        .collect();
    let pair = (bdf("04:00.0"), bdf("04:00.7"));
    assert_eq!(
        links.iter().filter(|(a, _)| a.bus() == 4).collect::<Vec<_>>(),
        [&pair]
    );
}

#[test]
fn a_host_bridge_in_the_slot_of_root_ports_joins_nothing() {
    let mut functions = demo();
    functions.push(Function::new(bdf("00:01.7"), PortKind::HostBridge));
    assert!(
        !topology(functions)
            .group_links()
            .iter()
            .any(|link| link.a.bus() == 1)
    );
}

#[test]
fn what_is_there_is_found() {
    let topology = topology(demo());
    for function in demo() {
        assert_eq!(topology.function(function.bdf), Some(&function));
    }
    assert_eq!(topology.function(bdf("09:00.0")), None);
}

/// Virtual functions may be on the buses after their physical function's, up to the port's last; nothing else may.
#[test]
fn virtual_functions_spill_over_and_nothing_else_does() {
    let port = Function {
        buses: Some(BusRange {
            secondary: 1,
            subordinate: 2,
        }),
        ..Function::new(bdf("00:01.0"), PortKind::RootPort)
    };
    let below = |at: &str, physical: Option<&str>| Function {
        parent: Some(port.bdf),
        physical_function: physical.map(bdf),
        ..Function::new(bdf(at), PortKind::Endpoint)
    };
    let with = |other| Topology::new(Vec::from([port.clone(), below("01:00.0", None), other])).map(drop);
    let wrong = |child: &str| {
        Err(TopologyError::WrongParent {
            child: bdf(child),
            parent: port.bdf,
        })
    };
    assert_eq!(with(below("02:00.0", Some("01:00.0"))), Ok(()));
    assert_eq!(with(below("03:00.0", Some("01:00.0"))), wrong("03:00.0"));
    assert_eq!(with(below("02:00.0", None)), wrong("02:00.0"));
    let elsewhere = Function {
        bdf: Bdf::new(1, 1, 0, 0),
        ..below("01:00.1", None)
    };
    let child = elsewhere.bdf;
    assert_eq!(
        with(elsewhere),
        Err(TopologyError::WrongParent {
            child,
            parent: port.bdf
        })
    );
}

/// A switch's upstream port has no siblings to keep from: without ACS it joins nothing, as long as the downstream ports have it.
#[test]
fn an_upstream_port_alone_in_its_slot_needs_no_acs() {
    let port = |at: &str, kind, parent: Option<&str>, secondary, subordinate| Function {
        parent: parent.map(bdf),
        buses: Some(BusRange {
            secondary,
            subordinate,
        }),
        acs: (kind != PortKind::UpstreamPort).then(|| AcsCapability::enabled(Acs::PORT)),
        ..Function::new(bdf(at), kind)
    };
    let endpoint = |at: &str, parent: &str| Function {
        parent: Some(bdf(parent)),
        ..Function::new(bdf(at), PortKind::Endpoint)
    };
    let topology = topology(Vec::from([
        port("00:01.0", PortKind::RootPort, None, 1, 4),
        port("01:00.0", PortKind::UpstreamPort, Some("00:01.0"), 2, 4),
        port("02:00.0", PortKind::DownstreamPort, Some("01:00.0"), 3, 3),
        port("02:01.0", PortKind::DownstreamPort, Some("01:00.0"), 4, 4),
        endpoint("03:00.0", "02:00.0"),
        endpoint("04:00.0", "02:01.0"),
    ]));
    assert_eq!(topology.group_links(), []);
}

#[test]
fn trees_that_are_none_are_refused() {
    let edit = |at: usize, change: &dyn Fn(&mut Function)| {
        let mut functions = demo();
        change(&mut functions[at]);
        Topology::new(functions).unwrap_err()
    };
    let missing = bdf("00:1f.7");
    let (a, b) = (bdf("00:01.0"), bdf("01:00.0"));
    assert_eq!(edit(0, &|f| f.bdf = a), TopologyError::Duplicate(a));
    assert_eq!(
        edit(2, &|f| f.parent = Some(missing)),
        TopologyError::MissingParent {
            child: b,
            parent: missing
        }
    );
    let parent = bdf("00:00.0");
    assert_eq!(
        edit(2, &|f| f.parent = Some(parent)),
        TopologyError::WrongParent { child: b, parent }
    );
    assert_eq!(
        edit(2, &|f| f.parent = None),
        TopologyError::NotOnRootBus { child: b, bridge: a }
    );
    // Two bridges below each other, and one below itself.
    assert_eq!(
        edit(1, &|f| f.parent = Some(a)),
        TopologyError::WrongParent { child: a, parent: a }
    );
    let loops = BusRange {
        secondary: 0,
        subordinate: 4,
    };
    assert_eq!(
        edit(5, &|f| f.buses = Some(loops)),
        TopologyError::BadBusRange(bdf("02:00.0"))
    );
    let empty = BusRange {
        secondary: 1,
        subordinate: 0,
    };
    assert_eq!(edit(1, &|f| f.buses = Some(empty)), TopologyError::BadBusRange(a));
    let beyond = BusRange {
        secondary: 3,
        subordinate: 9,
    };
    assert_eq!(
        edit(5, &|f| f.buses = Some(beyond)),
        TopologyError::BadBusRange(bdf("02:00.0"))
    );
    let same = BusRange {
        secondary: 1,
        subordinate: 1,
    };
    assert_eq!(
        edit(4, &|f| f.buses = Some(same)),
        TopologyError::SameBus { a, b: bdf("00:02.0") }
    );
    assert_eq!(
        edit(2, &|f| f.physical_function = Some(parent)),
        TopologyError::BadPhysicalFunction {
            virtual_function: b,
            physical_function: parent
        }
    );
}

/// From a function up to the root, itself first.
fn path(functions: &BTreeMap<Bdf, &Function>, from: Bdf) -> Vec<Bdf> {
    let up = core::iter::successors(functions.get(&from), |f| functions.get(&f.parent?));
    up.map(|f| f.bdf).collect()
}

/// Whether two functions, by their paths, are one group by one rule, taken literally from the tree.
fn together(functions: &BTreeMap<Bdf, &Function>, a: &[Bdf], b: &[Bdf]) -> bool {
    let lacking = |f: &Function| f.acs.is_none();
    let slot_of = |bdf: Bdf| (bdf.segment(), bdf.bus(), bdf.device());
    let by_bridge = |f: &Function| match f.kind {
        PortKind::RootPort => lacking(f),
        PortKind::UpstreamPort => functions
            .values()
            .any(|port| port.kind == PortKind::DownstreamPort && port.parent == Some(f.bdf) && lacking(port)),
        kind => matches!(kind, PortKind::PcieToPciBridge | PortKind::ConventionalBridge),
    };
    // Something in f's slot is over a, or is a; likewise for b; f has company there and does not keep to itself.
    let by_slot = |f: &Function| {
        let in_slot = |path: &[Bdf]| path.iter().any(|x| slot_of(*x) == slot_of(f.bdf));
        let company = |x: &Bdf| *x != f.bdf && slot_of(*x) == slot_of(f.bdf);
        f.kind != PortKind::DownstreamPort
            && lacking(f)
            && in_slot(a)
            && in_slot(b)
            && functions.keys().any(company)
    };
    functions.values().any(|f| {
        let over_both = a[1..].contains(&f.bdf) && b[1..].contains(&f.bdf);
        over_both && by_bridge(f) || by_slot(f)
    })
}

/// Components of a relation on `items`, each named by its smallest member.
fn components(items: &[Bdf], related: impl Fn(Bdf, Bdf) -> bool) -> BTreeMap<Bdf, Bdf> {
    let mut name: BTreeMap<Bdf, Bdf> = items.iter().map(|x| (*x, *x)).collect();
    let pairs = items.iter().flat_map(|a| items.iter().map(|b| (*a, *b)));
    let pairs: Vec<(Bdf, Bdf)> = pairs.filter(|(a, b)| a != b && related(*a, *b)).collect();
    loop {
        let mut changed = false;
        for (a, b) in &pairs {
            let least = name[a].min(name[b]);
            changed |= name.insert(*a, least) != Some(least);
            changed |= name.insert(*b, least) != Some(least);
        }
        if !changed {
            return name;
        }
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn groups_are_what_the_definition_says(functions in arbitrary()) {
        let machine = topology(functions.clone());
        let by_bdf: BTreeMap<Bdf, &Function> = functions.iter().map(|f| (f.bdf, f)).collect();
        let endpoints: Vec<Bdf> = machine.endpoints().map(|f| f.bdf).collect();
        let links = machine.group_links();
        let pairs: BTreeSet<(Bdf, Bdf)> = links.iter().map(|link| (link.a, link.b)).collect();
        let linked = |a, b| pairs.contains(&(a, b));
        let paths: BTreeMap<Bdf, Vec<Bdf>> =
            endpoints.iter().map(|bdf| (*bdf, path(&by_bdf, *bdf))).collect();
        let by_definition = components(&endpoints, |a, b| together(&by_bdf, &paths[&a], &paths[&b]));
        prop_assert_eq!(components(&endpoints, linked), by_definition);
        // Linear: at most one link for an alias and one for an anchor, for each device.
        prop_assert!(links.len() <= 2 * endpoints.len());
    }

    #[test]
    fn any_list_of_functions_is_taken_or_refused(mut functions in arbitrary(), edits in prop::collection::vec(
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..5u8, any::<u8>()), 0..6))
    {
        for (at, other, what, value) in edits {
            let other = functions[other.index(functions.len())].clone();
            let at = at.index(functions.len());
            let function = &mut functions[at];
            match what {
                0 => function.bdf = Bdf::from_devfn(0, value >> 4, other.bdf.devfn()),
                1 => function.parent = Some(other.bdf),
                2 => function.buses = Some(BusRange { secondary: value >> 4, subordinate: value & 0xf }),
                3 => function.kind = other.kind,
                _ => function.physical_function = Some(other.bdf),
            }
        }
        if let Ok(machine) = Topology::new(functions) {
            for function in machine.functions() {
                prop_assert_eq!(machine.set_id(function.bdf).is_some(), function.kind.is_endpoint());
                prop_assert_eq!(machine.dma_aliases(function.bdf).len(), 1);
            }
            let _ = machine.group_links();
        }
    }

    #[test]
    fn a_set_reset_stays_within_its_set(functions in arbitrary()) {
        let machine = topology(functions.clone());
        for function in machine.endpoints() {
            let set = machine.set_id(function.bdf).unwrap();
            let Some(port) = machine.set_reset(set) else { continue };
            for below in functions.iter().filter(|f| f.parent == Some(port)) {
                prop_assert_eq!(machine.set_id(below.bdf), Some(set));
                prop_assert!(below.resets.intersects(ResetMethods::BUS | ResetMethods::SLOT));
            }
        }
    }
}
