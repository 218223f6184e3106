//! Complexes of any shape, and regions anywhere.

use proptest::prelude::*;

use super::*;
use crate::testing::cases;
use crate::testing::fsl_mc::Misbehaviour;

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
