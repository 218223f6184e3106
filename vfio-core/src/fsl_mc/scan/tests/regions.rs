//! Regions of objects: inside a window of their kind, and nobody else's.

use super::*;

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
