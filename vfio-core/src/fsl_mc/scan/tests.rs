//! Scans of complexes that are as they should be, that change meanwhile, and that lie.

#![expect(
    clippy::unwrap_used,
    reason = "a test that asks for what is not there should panic"
)]

use proptest::prelude::*;
use std::vec::Vec;

use super::*;
use crate::fsl_mc::portal::Portal;
use crate::fsl_mc::spec::dprc::Events;
use crate::testing::cases;
use crate::testing::fsl_mc::{FakeContainer, FakeMc, FakeObject, Misbehaviour, PORTALS};

const fn object(kind: ObjectType, number: u32) -> ObjectId {
    ObjectId { kind, number }
}

const fn dprc(number: u32) -> ObjectId {
    object(ObjectType::Dprc, number)
}

const WINDOWS: [Window; 2] = [
    Window {
        kind: RegionKind::Command,
        offset: 0,
        address: crate::addr::HostPhys(PORTALS),
        size: 0x200_0000,
    },
    Window {
        kind: RegionKind::Queue,
        offset: 0x400_0000,
        address: crate::addr::HostPhys(PORTALS + 0x400_0000),
        size: 0x400_0000,
    },
];

fn container(icid: u16, objects: Vec<FakeObject>) -> FakeContainer {
    FakeContainer {
        icid,
        objects,
        resets: 0,
    }
}

/// Root 1 with 2 in it, and 3 in that one.
fn complex() -> FakeMc {
    FakeMc::new([
        (
            1,
            container(
                0x10,
                vec![
                    FakeObject::new("dpmac", 1),
                    FakeObject::new("dprc", 2).region(0x1_0000, 0x1_0000, 0),
                ],
            ),
        ),
        (
            2,
            container(
                0x20,
                vec![
                    FakeObject::new("dpni", 1),
                    FakeObject::new("dprc", 3).region(0x2_0000, 0x1_0000, 0),
                    FakeObject::new("dpio", 1).region(0x400_0000, 0x1_0000, 3),
                    FakeObject::new("dpmcp", 1).region(0x3_0000, 0x1_0000, 0),
                    FakeObject::new("dpbp", 1).unplugged(),
                ],
            ),
        ),
        (3, container(0x30, vec![FakeObject::new("dpseci", 1)])),
    ])
}

fn scanned(mc: &FakeMc) -> Result<Tree, ScanError> {
    scan(&mut Portal::new(mc.portal(0), mc), &WINDOWS)
}

fn ids(tree: &Tree, container: ObjectId) -> Vec<std::string::String> {
    let container = tree.container(container).unwrap();
    container
        .objects
        .iter()
        .map(|object| std::format!("{}", object.id))
        .collect()
}

fn problem(tree: &Tree, container: u32) -> Option<ContainerProblem> {
    tree.container(dprc(container)).unwrap().problem
}

#[test]
fn the_tree_is_read_with_resources_first() {
    let mc = complex();
    let tree = scanned(&mc).unwrap();
    let found: Vec<_> = tree
        .containers
        .iter()
        .map(|at| {
            (
                at.id.number,
                at.parent.map(|parent| parent.number),
                at.depth,
                at.icid,
                at.problem,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (1, None, 0, Some(0x10), None),
            (2, Some(1), 1, Some(0x20), None),
            (3, Some(2), 2, Some(0x30), None)
        ]
    );
    assert_eq!(
        ids(&tree, dprc(2)),
        ["dpmcp.1", "dpbp.1", "dpni.1", "dprc.3", "dpio.1"]
    );
    let io = tree.object(object(ObjectType::Dpio, 1)).unwrap();
    assert_eq!(io.regions.len(), 1);
    assert_eq!(io.regions[0].address.0, PORTALS + 0x400_0000);
    assert!(!tree.object(object(ObjectType::Dpbp, 1)).unwrap().plugged());
    assert!(tree.objects().all(|object| object.problem.is_none()));
    assert!(mc.world.borrow().tokens.is_empty());
}

#[test]
fn old_firmware_gives_offsets_only_and_too_old_firmware_is_refused() {
    let mc = complex().with_api(ApiVersion::new(6, 2));
    let tree = scanned(&mc).unwrap();
    let io = tree.object(object(ObjectType::Dpio, 1)).unwrap();
    assert_eq!(io.regions[0].address.0, PORTALS + 0x400_0000);
    let mc = complex().with_api(ApiVersion::new(5, 9));
    let (found, needed) = (ApiVersion::new(5, 9), ApiVersion::new(6, 0));
    assert_eq!(scanned(&mc), Err(ScanError::TooOld { found, needed }));
}

#[test]
fn a_region_must_lie_where_portals_of_its_kind_are() {
    let outside = [
        (
            0x200_0000,
            0x1_0000,
            RegionProblem::Outside {
                address: PORTALS + 0x200_0000,
                size: 0x1_0000,
            },
        ),
        (
            0x1ff_0001,
            0x1_0000,
            RegionProblem::Outside {
                address: PORTALS + 0x1ff_0001,
                size: 0x1_0000,
            },
        ),
        (
            u64::MAX,
            0x1_0000,
            RegionProblem::Outside {
                address: u64::MAX,
                size: 0x1_0000,
            },
        ),
        (
            0x400_0000,
            0x1000,
            RegionProblem::Outside {
                address: PORTALS + 0x400_0000,
                size: 0x1000,
            },
        ),
        (0, 63, RegionProblem::TooSmall(63)),
        (0, 0, RegionProblem::TooSmall(0)),
    ];
    for (offset, size, problem) in outside {
        let mc = FakeMc::new([(
            1,
            container(1, vec![FakeObject::new("dpmcp", 1).region(offset, size, 0)]),
        )]);
        let tree = scanned(&mc).unwrap();
        let found = tree.objects().next().unwrap();
        assert_eq!(
            found.problem,
            Some(ObjectProblem::Region { index: 0, problem }),
            "{offset:#x}"
        );
        assert!(found.regions.is_empty());
    }
    let wrong = FakeObject::new("dpni", 1).region(0, 0x1_0000, 0);
    let tree = scanned(&FakeMc::new([(1, container(1, vec![wrong]))])).unwrap();
    assert_eq!(
        tree.objects().next().unwrap().problem,
        Some(ObjectProblem::Regions(1))
    );
}

#[test]
fn two_objects_cannot_have_one_register() {
    let mc = complex();
    let over = FakeObject::new("dpmcp", 2).region(0x3_ff00, 0x100, 0);
    mc.world
        .borrow_mut()
        .containers
        .get_mut(&3)
        .unwrap()
        .objects
        .push(over);
    let tree = scanned(&mc).unwrap();
    let (first, second) = (object(ObjectType::Dpmcp, 1), object(ObjectType::Dpmcp, 2));
    let problem = |id| tree.object(id).unwrap().problem;
    assert_eq!(problem(first), Some(ObjectProblem::SharedRegisters(second)));
    assert_eq!(problem(second), Some(ObjectProblem::SharedRegisters(first)));
}

#[test]
fn old_objects_are_told_from_new_ones() {
    let old = FakeObject {
        version: (6, 9),
        ..FakeObject::new("dpni", 1)
    };
    let any = FakeObject {
        version: (0, 1),
        ..FakeObject::new("dpsw", 1)
    };
    let tree = scanned(&FakeMc::new([(1, container(1, vec![old, any]))])).unwrap();
    let problems: Vec<_> = tree.objects().map(|object| object.problem).collect();
    let (found, needed) = (ApiVersion::new(6, 9), ApiVersion::new(7, 0));
    assert_eq!(problems, [Some(ObjectProblem::TooOld { found, needed }), None]);
}

#[test]
fn an_entry_that_cannot_be_read_is_skipped_and_its_container_refused() {
    let corrupt = |offset, bytes: &[u8]| {
        let mut bad = FakeObject::new("dpni", 9);
        bad.corrupt = Some((offset, bytes.to_vec()));
        let mc = complex();
        mc.world
            .borrow_mut()
            .containers
            .get_mut(&2)
            .unwrap()
            .objects
            .insert(0, bad);
        let tree = scanned(&mc).unwrap();
        assert_eq!(ids(&tree, dprc(2)).len(), 5, "the others are there");
        assert_eq!(tree.container(dprc(2)).unwrap().skipped, 1);
        assert_eq!(problem(&tree, 3), None, "what is inside is read all the same");
        problem(&tree, 2).unwrap()
    };
    assert_eq!(corrupt(32, &[b'x'; 16]), ContainerProblem::Unlisted(1));
    assert_eq!(corrupt(48, &[0xff; 16]), ContainerProblem::Unlisted(1));
    let unknown = crate::fsl_mc::spec::Text::new("dpnew").unwrap();
    assert_eq!(corrupt(32, b"dpnew\0"), ContainerProblem::UnknownType(unknown));
}

#[test]
fn containers_that_contain_each_other_or_share_an_object_are_found_out() {
    // 3 lists 2, which lists 3; 3 lists the root; both list one interface.
    let cases = [("dprc", 2, 1), ("dprc", 1, 1), ("dpni", 1, 2), ("dprc", 3, 2)];
    for (kind, number, other) in cases {
        let mc = complex();
        let mut extra = FakeObject::new(kind, number);
        extra.regions.clear();
        mc.world
            .borrow_mut()
            .containers
            .get_mut(&3)
            .unwrap()
            .objects
            .push(extra);
        let tree = scanned(&mc).unwrap();
        assert_eq!(tree.containers.len(), 3);
        let id = object(ObjectType::from_name(kind).unwrap(), number);
        assert_eq!(problem(&tree, 3), Some(ContainerProblem::Twice(id)), "{id}");
        assert_eq!(problem(&tree, other), Some(ContainerProblem::Twice(id)), "{id}");
    }
    let mc = complex();
    mc.world
        .borrow_mut()
        .containers
        .get_mut(&3)
        .unwrap()
        .objects
        .push(FakeObject::new("dpseci", 1));
    let tree = scanned(&mc).unwrap();
    assert_eq!(
        problem(&tree, 3),
        Some(ContainerProblem::Twice(object(ObjectType::Dpseci, 1)))
    );
}

#[test]
fn depth_and_counts_are_bounded() {
    let deep = (1..40).map(|number| {
        (
            number,
            container(number as u16, vec![FakeObject::new("dprc", number + 1)]),
        )
    });
    let tree = scanned(&FakeMc::new(deep)).unwrap();
    assert_eq!(tree.containers.len(), usize::from(MAX_DEPTH) + 2);
    assert_eq!(
        tree.containers.last().unwrap().problem,
        Some(ContainerProblem::TooDeep)
    );

    let wide = (2..300).map(|number| FakeObject::new("dprc", number)).collect();
    let mut all = vec![(1, container(1, wide))];
    all.extend((2..300).map(|number| (number, container(number as u16, Vec::new()))));
    let tree = scanned(&FakeMc::new(all)).unwrap();
    let refused = tree
        .containers
        .iter()
        .filter(|at| at.problem == Some(ContainerProblem::TooManyContainers));
    assert_eq!(refused.count(), 299 - MAX_CONTAINERS);

    let many = (0..=MAX_OBJECTS)
        .map(|number| FakeObject::new("dpni", number))
        .collect();
    let mc = FakeMc::new([
        (1, container(1, vec![FakeObject::new("dprc", 2)])),
        (2, container(2, many)),
    ]);
    let tree = scanned(&mc).unwrap();
    assert_eq!(
        problem(&tree, 2),
        Some(ContainerProblem::TooManyObjects(MAX_OBJECTS + 1))
    );
    assert!(mc.commands() < 40);
}

#[test]
fn a_list_that_changes_once_is_read_again_and_one_that_goes_on_changing_is_refused() {
    for (changes, expected) in [(1, None), (1000, Some(ContainerProblem::Unstable))] {
        let mc = complex();
        let mut left = changes;
        // Something comes into 3 whenever an entry of a list is read.
        mc.before_each(move |world, number| {
            let last = world.log[number].command.id();
            if last == crate::fsl_mc::spec::id::GET_OBJ && left > 0 {
                left -= 1;
                let number = 100 + left;
                let objects = &mut world.containers.get_mut(&3).unwrap().objects;
                objects.push(FakeObject::new("dpci", number));
            }
        });
        let tree = scanned(&mc).unwrap();
        assert_eq!(problem(&tree, 3), expected, "{changes} changes");
        assert!(mc.commands() < 400);
    }
}

#[test]
fn another_container_under_the_same_name_is_refused() {
    let mc = complex();
    let tree = scanned(&mc).unwrap();
    let commands = mc.commands();
    assert_eq!(tree.containers.len(), 3);
    // The attributes of each container, wherever they are in the order of commands.
    let mut seen = 0;
    for at in 0..commands {
        let mc = complex();
        let mut garbage = [0; 56];
        garbage[0] = 77;
        mc.fail(at, Misbehaviour::Garbage(garbage));
        match scanned(&mc) {
            Ok(tree) => {
                let wrong = |at: &&Container| at.problem == Some(ContainerProblem::AnotherContainer(77));
                seen += tree.containers.iter().filter(wrong).count();
            }
            Err(ScanError::Root { problem, .. }) => {
                seen += usize::from(problem == ContainerProblem::AnotherContainer(77));
            }
            Err(_) => {}
        }
        assert!(mc.world.borrow().tokens.is_empty(), "garbage at {at}");
    }
    assert_eq!(seen, 3);
}

#[test]
fn a_failure_at_each_command_ends_the_scan_or_stands_in_the_tree() {
    let mc = complex();
    let good = scanned(&mc).unwrap();
    for at in (0..mc.commands()).step_by(if cfg!(miri) { 4 } else { 1 }) {
        for how in [
            Misbehaviour::Refuse(4),
            Misbehaviour::Refuse(0xff),
            Misbehaviour::Silent,
            Misbehaviour::Gone,
            Misbehaviour::Stale,
        ] {
            let ends = !matches!(how, Misbehaviour::Refuse(_));
            let mc = complex();
            let mut portal = Portal::new(mc.portal(0), &mc);
            mc.fail(at, how.clone());
            match scan(&mut portal, &WINDOWS) {
                Err(ScanError::Portal(error)) if ends => assert!(error.unknown_state()),
                Err(_) if at < 5 => {}
                Err(error) => panic!("{how:?} at {at}: {error}"),
                Ok(tree) => {
                    assert!(!ends, "{how:?} at {at}");
                    let container = tree
                        .containers
                        .iter()
                        .any(|container| container.problem.is_some());
                    let object = tree.objects().any(|object| object.problem.is_some());
                    // A list whose second look failed was read again.
                    let same = tree == good;
                    assert!(container || object || same, "{how:?} at {at} went unnoticed");
                    assert_eq!(mc.world.borrow().tokens.len(), portal.unclosed() as usize);
                }
            }
        }
    }
}

#[test]
fn changes_are_found_by_comparing() {
    let mc = complex();
    let before = scanned(&mc).unwrap();
    assert_eq!(diff(&before, &before), []);
    let dpni = object(ObjectType::Dpni, 1);
    {
        let mut world = mc.world.borrow_mut();
        let two = &mut world.containers.get_mut(&2).unwrap();
        two.icid = 0x21;
        let at = two.objects.iter().position(|at| at.kind == "dpni").unwrap();
        let moved = two.objects.remove(at);
        two.objects.iter_mut().find(|at| at.kind == "dpbp").unwrap().state = 3;
        two.objects.iter_mut().find(|at| at.kind == "dpio").unwrap().state = 1;
        let three = &mut world.containers.get_mut(&3).unwrap().objects;
        three[0].irqs = 2;
        three.push(moved);
        three.push(FakeObject::new("dpcon", 5));
    }
    let after = scanned(&mc).unwrap();
    let seci = object(ObjectType::Dpseci, 1);
    assert_eq!(
        diff(&before, &after),
        [
            Change::Detached(dpni),
            Change::Detached(object(ObjectType::Dpio, 1)),
            Change::Detached(seci),
            Change::Icid {
                container: dprc(2),
                before: Some(0x20),
                after: Some(0x21)
            },
            Change::Attached(object(ObjectType::Dpbp, 1)),
            Change::Attached(object(ObjectType::Dpcon, 5)),
            Change::Attached(seci),
            Change::Attached(dpni),
        ]
    );
}

/// A container that the root and itself list, and that has an object more than once as well: nothing came, nothing went.
#[test]
fn a_container_inside_itself_does_not_differ_from_itself() {
    let thrice = || FakeObject::new("dpni", 0).unplugged();
    let itself = || FakeObject::new("dprc", 5);
    let mc = FakeMc::new([
        (0, container(1, vec![itself()])),
        (5, container(2, vec![thrice(), thrice(), thrice(), itself()])),
    ]);
    let tree = scanned(&mc).unwrap();
    let unsure: Vec<Change> = tree.containers.iter().map(|at| Change::Unsure(at.id)).collect();
    assert_eq!(tree.containers.len(), 2);
    assert_eq!(
        diff(&tree, &tree),
        unsure,
        "both are in doubt, and nothing changed"
    );
    assert_eq!(
        diff(&tree, &scanned(&mc).unwrap()),
        unsure,
        "nor does a second scan differ"
    );
    // Seen from a tree in which nobody doubts the container, nothing in it is gone.
    let good = scanned(&FakeMc::new([
        (0, container(1, vec![itself()])),
        (5, container(2, vec![])),
    ]))
    .unwrap();
    assert_eq!(diff(&good, &tree), unsure);
}

#[test]
fn nothing_is_said_to_be_gone_from_a_container_that_cannot_be_read() {
    let mc = complex();
    let before = scanned(&mc).unwrap();
    // Only the root can be opened.
    let mut opens = 0;
    mc.before_each(move |world, number| {
        if world.log[number].command.id() == crate::fsl_mc::spec::id::open(ObjectType::Dprc) {
            opens += 1;
            if opens > 1 {
                world.misbehaviour.insert(number, Misbehaviour::Refuse(4));
            }
        }
    });
    let after = scanned(&mc).unwrap();
    assert!(problem(&after, 2).is_some() && after.container(dprc(3)).is_none());
    let changes = diff(&before, &after);
    assert!(changes.contains(&Change::Unsure(dprc(2))));
    assert!(
        !changes.iter().any(|change| matches!(change, Change::Detached(_))),
        "{changes:?}"
    );
}

#[test]
fn events_are_read_and_cleared_once() {
    let mc = complex();
    let mut portal = Portal::new(mc.portal(0), &mc);
    mc.world.borrow_mut().object(dprc(2)).unwrap().events = 0x8000_0003;
    let events = portal.once(dprc(2), take_events).unwrap();
    assert!(events.contains(Events::OBJECT_ADDED | Events::OBJECT_REMOVED) && needs_scan(events));
    assert_eq!(mc.world.borrow_mut().object(dprc(2)).unwrap().events, 0);
    let events = portal.once(dprc(2), take_events).unwrap();
    assert!(!needs_scan(events));
}

#[test]
fn connections_are_up_down_none_or_nonsense() {
    let mc = complex();
    let (ni, mac) = (object(ObjectType::Dpni, 1), object(ObjectType::Dpmac, 1));
    let ask = |state: Option<i32>| {
        let links = &mut mc.world.borrow_mut().links;
        links.clear();
        if let Some(state) = state {
            links.insert(ni, (mac, 2, state));
        }
    };
    let mut portal = Portal::new(mc.portal(0), &mc);
    let mut connected = |state| {
        ask(state);
        let end = Endpoint {
            object: ni,
            interface: 0,
        };
        portal.once(dprc(1), |session| connection(session, end))
    };
    let peer = |up| Peer {
        endpoint: Endpoint {
            object: mac,
            interface: 2,
        },
        up,
    };
    assert_eq!(connected(Some(1)), Ok(Some(peer(true))));
    assert_eq!(connected(Some(0)), Ok(Some(peer(false))));
    assert_eq!(connected(None), Ok(None));
    assert!(matches!(connected(Some(2)), Err(PortalError::Malformed { .. })));
}

/// A container: its number, its ICID, and for each object its type, its number, and whether it is plugged.
type Shape = (u32, u16, Vec<(usize, u32, bool)>);

/// A complex of any shape, with lists that may be wrong.
fn any_complex() -> impl Strategy<Value = Vec<Shape>> {
    let objects = proptest::collection::vec((0..ObjectType::ALL.len(), 0..6_u32, any::<bool>()), 0..6);
    proptest::collection::vec((0..6_u32, any::<u16>(), objects), 1..6)
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_complex_gives_a_tree_without_repetitions_among_what_is_good(
        shape in any_complex(),
        failures in proptest::collection::vec((0..80_usize, 2..=u8::MAX), 0..4),
        garbage in proptest::option::of((0..80_usize, proptest::collection::vec(any::<u8>(), 56))),
    ) {
        let containers = shape.iter().map(|(number, icid, objects)| {
            let objects = objects.iter().map(|(kind, number, plugged)| {
                let object = FakeObject::new(ObjectType::ALL[*kind].name(), *number);
                if *plugged { object } else { object.unplugged() }
            });
            (*number, container(*icid, objects.collect()))
        });
        let mc = FakeMc::new(containers);
        for (at, code) in failures {
            mc.fail(at, Misbehaviour::Refuse(code));
        }
        if let Some((at, bytes)) = garbage {
            mc.fail(at, Misbehaviour::Garbage(core::array::from_fn(|index| bytes[index])));
        }
        let mut portal = Portal::new(mc.portal(0), &mc);
        let result = scan(&mut portal, &WINDOWS);
        prop_assert!(mc.commands() < 2000);
        if !portal.out_of_use() {
            prop_assert_eq!(mc.world.borrow().tokens.len(), portal.unclosed() as usize);
        }
        if let Ok(tree) = result {
            let mut seen = std::collections::BTreeSet::new();
            for container in tree.containers.iter().filter(|container| container.problem.is_none()) {
                for object in &container.objects {
                    prop_assert!(seen.insert(object.id), "{} twice", object.id);
                    prop_assert_eq!(object.container, container.id);
                }
            }
            let names: std::collections::BTreeSet<_> = tree.containers.iter().map(|at| at.id).collect();
            prop_assert_eq!(names.len(), tree.containers.len());
            for container in &tree.containers {
                prop_assert!(container.depth <= MAX_DEPTH + 1);
                prop_assert_eq!(container.depth == 0, container.parent.is_none());
            }
            prop_assert_eq!(diff(&tree, &tree).iter().filter(|change| !matches!(change, Change::Unsure(_))).count(), 0);
        }
    }

    #[test]
    fn a_region_is_inside_a_window_or_refused(
        offset in any::<u64>(), size in any::<u32>(), base in any::<u64>(), near in any::<bool>(), version in 1..=3_u8,
    ) {
        use crate::fsl_mc::spec::dprc::{ObjRegion, RegionAttributes};
        let base = if near { PORTALS } else { base };
        let offset = if near { offset % 0x900_0000 } else { offset };
        let size = if near { size % 0x2_0000 } else { size };
        let answer = ObjRegion { offset, size, kind: 0, attributes: RegionAttributes::empty(), base };
        for kind in [RegionKind::Command, RegionKind::Queue] {
            if let Ok(region) = place(kind, &answer, version, &WINDOWS) {
                let window = WINDOWS.iter().find(|window| window.kind == kind).unwrap();
                let start = region.address.0 - window.address.0;
                prop_assert!(region.size == u64::from(size) && start + region.size <= window.size);
            }
        }
    }
}
