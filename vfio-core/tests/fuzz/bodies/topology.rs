//! Lists of functions that no discovery would make: they are refused, or make a tree whose cohorts keep their promises.

use std::collections::{BTreeMap, BTreeSet};

use vfio_core::cohort::{Cohort, Cohorts, Refusal, Terms};
use vfio_core::pci::{
    Acs, AcsCapability, Bdf, BusRange, Function, NotAssignable, PortKind, ResetMethods, Topology,
};
use vfio_core::{DeviceId, Owner, SetId};

use super::input::Input;

const KINDS: [PortKind; 10] = [
    PortKind::Endpoint,
    PortKind::RootPort,
    PortKind::RootComplexEndpoint,
    PortKind::ConventionalEndpoint,
    PortKind::UpstreamPort,
    PortKind::DownstreamPort,
    PortKind::PcieToPciBridge,
    PortKind::PciToPcieBridge,
    PortKind::ConventionalBridge,
    PortKind::HostBridge,
];

/// A function; a parent or a physical function is mostly one of those before it.
fn function(input: &mut Input<'_>, before: &[Function]) -> Function {
    let flags = input.u8();
    let kind = KINDS[usize::from(input.below(KINDS.len() as u8))];
    let segment = u16::from(flags >> 7);
    let other = |input: &mut Input<'_>| {
        let at = usize::from(input.u8());
        let known = before.get(at).map(|function| function.bdf);
        known.unwrap_or(Bdf::from_devfn(segment, at as u8 & 0xf, (at >> 4) as u8))
    };
    let parent = (flags & 1 != 0).then(|| other(input));
    let behind = |parent: Bdf| before.iter().find(|function| function.bdf == parent)?.buses;
    let bus = match parent.and_then(behind) {
        // Where the parent leads, so that most trees are sound.
        Some(range) if flags & 2 == 0 => range.secondary,
        _ => input.below(16),
    };
    let mut made = Function {
        parent,
        ..Function::new(Bdf::from_devfn(segment, bus, input.u8()), kind)
    };
    if flags & 4 != 0 {
        let secondary = input.below(16);
        made.buses = Some(BusRange {
            secondary,
            subordinate: input.below(16),
        });
    }
    if flags & 8 != 0 {
        made.acs = Some(AcsCapability {
            able: Acs::from_bits_truncate(input.u8().into()),
            enabled: Acs::from_bits_truncate(input.u8().into()),
        });
    }
    if flags & 16 != 0 {
        made.physical_function = Some(other(input));
    }
    made.resets = ResetMethods::from_bits_truncate(input.u8());
    made.not_assignable = (flags & 0x60 == 0x60).then_some(NotAssignable::Malformed);
    made
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut functions: Vec<Function> = Vec::new();
    let chosen = input.u16();
    while !input.is_empty() && functions.len() < 32 {
        functions.push(function(&mut input, &functions));
    }
    let count = functions.len();
    let Ok(topology) = Topology::new(functions) else {
        return;
    };
    assert_eq!(topology.functions().count(), count);
    let cohorts = Cohorts::new(&topology);
    check(&cohorts, &topology);
    request(&topology, &cohorts, chosen);
}

/// The promises of cohorts, from their definition.
pub(super) fn check(cohorts: &Cohorts, topology: &Topology) {
    // Every device is in exactly one cohort, and nothing else is.
    let members: Vec<DeviceId> = cohorts
        .iter()
        .flat_map(|cohort| cohort.members())
        .copied()
        .collect();
    let once: BTreeSet<DeviceId> = members.iter().copied().collect();
    let endpoints: BTreeSet<DeviceId> = topology.endpoints().map(|function| function.bdf.into()).collect();
    assert_eq!(members.len(), once.len(), "a device is in two cohorts");
    assert_eq!(once, endpoints);

    // Members of one set, and devices that the IOMMU takes for one, are in one cohort.
    let mut of_set: BTreeMap<SetId, _> = BTreeMap::new();
    let mut of_requester = BTreeMap::new();
    for device in cohorts.devices() {
        assert_eq!(
            *of_set.entry(device.set).or_insert(device.cohort),
            device.cohort,
            "{device:?}"
        );
        assert!(!device.requesters.is_empty(), "{device:?}");
        for &requester in &device.requesters {
            assert_eq!(
                *of_requester.entry(requester).or_insert(device.cohort),
                device.cohort,
                "{device:?}"
            );
        }
    }
    for cohort in cohorts.iter() {
        connected(cohort);
        // A reset stays within the cohort, and reaches every member that is not said to be out of reach.
        let own: BTreeSet<DeviceId> = cohort.members().iter().copied().collect();
        let reset: BTreeSet<DeviceId> = cohort
            .resets()
            .iter()
            .flat_map(|action| action.devices())
            .copied()
            .collect();
        assert!(reset.is_subset(&own), "a reset leaves the cohort");
        assert_eq!(cohort.unresettable().is_none(), reset == own, "{cohort:?}");
    }
}

/// The links explain the cohort: they connect all of its members, and nothing else.
fn connected(cohort: &Cohort) {
    let mut reached: BTreeSet<DeviceId> = cohort.members().iter().copied().take(1).collect();
    loop {
        let before = reached.len();
        for link in cohort.links() {
            for (a, b) in [(link.a, link.b), (link.b, link.a)] {
                if reached.contains(&a) {
                    reached.insert(b);
                }
            }
        }
        if reached.len() == before {
            break;
        }
    }
    assert!(
        reached.iter().eq(cohort.members()),
        "links do not explain {cohort:?}"
    );
}

/// Asks for the devices whose bits are set in `chosen`: granted if they are whole cohorts that can be given to anybody.
fn request(topology: &Topology, cohorts: &Cohorts, chosen: u16) {
    let wanted = |at: &usize| chosen & 1 << (at % 16) != 0;
    let ids: Vec<DeviceId> = cohorts.devices().iter().map(|device| device.id).collect();
    let devices: Vec<DeviceId> = ids
        .iter()
        .enumerate()
        .filter(|(at, _)| wanted(at))
        .map(|(_, id)| *id)
        .collect();
    let whole: BTreeSet<DeviceId> = devices
        .iter()
        .filter_map(|id| cohorts.cohort_of(*id))
        .flat_map(|cohort| cohort.members())
        .copied()
        .collect();
    let requested: BTreeSet<DeviceId> = devices.iter().copied().collect();
    let barred = cohorts
        .devices()
        .iter()
        .any(|device| device.not_assignable.is_some() && whole.contains(&device.id));
    let terms = Terms {
        interrupts_isolated: true,
        allow_unsafe_interrupts: false,
    };
    match cohorts.plan_open(Owner::Guest(1), &devices, terms) {
        Ok(plan) => {
            assert!(!barred && whole == requested && !devices.is_empty());
            let opened: Vec<&Cohort> = plan.cohorts().collect();
            let members: Vec<DeviceId> = opened
                .iter()
                .flat_map(|cohort| cohort.members())
                .copied()
                .collect();
            assert_eq!(members.len(), whole.len());
            assert_eq!(members.iter().copied().collect::<BTreeSet<_>>(), whole);
            physical_first(topology, cohorts, &opened);
        }
        Err(Refusal::NoDevices) => assert!(devices.is_empty()),
        Err(Refusal::NotAssignable { .. }) => assert!(barred),
        Err(refusal @ Refusal::HalfCohort { .. }) => {
            assert!(!refusal.to_string().is_empty());
            let Refusal::HalfCohort { missing } = refusal else {
                return;
            };
            let missing: BTreeSet<DeviceId> = missing.iter().map(|missing| missing.device).collect();
            assert_eq!(missing, whole.difference(&requested).copied().collect());
            assert!(!barred && !missing.is_empty());
        }
        Err(other) => panic!("{other}"),
    }
}

/// A cohort with a physical function comes before those that only have its virtual functions, which its reset reaches.
fn physical_first(topology: &Topology, cohorts: &Cohorts, opened: &[&Cohort]) {
    let place = |bdf: Bdf| {
        let cohort = cohorts.cohort_of(bdf.into())?;
        opened.iter().position(|other| other.id() == cohort.id())
    };
    let pairs = topology
        .endpoints()
        .filter_map(|function| Some((function.bdf, function.physical_function?)));
    let pairs: Vec<(Bdf, Bdf)> = pairs.collect();
    let has_physical = |at: usize| pairs.iter().any(|(_, physical)| place(*physical) == Some(at));
    for (of, physical) in &pairs {
        if let (Some(of), Some(physical)) = (place(*of), place(*physical)) {
            assert!(
                physical <= of || has_physical(of),
                "a virtual function is opened too early"
            );
        }
    }
}
