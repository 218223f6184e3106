//! Scans of complexes that are as they should be, that change meanwhile, and that lie.

#![expect(
    clippy::unwrap_used,
    reason = "a test that asks for what is not there should panic"
)]

mod changes;
mod hostile;
mod random;
mod regions;

use std::vec::Vec;

use super::*;
use crate::fsl_mc::portal::Portal;
use crate::testing::fsl_mc::{FakeContainer, FakeMc, FakeObject, PORTALS};

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
