//! Sets, groups, pools and resets.

#![expect(
    clippy::unwrap_used,
    reason = "a test that asks for what is not there should panic"
)]

use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::portal::Portal;
use super::reset::{check_alive, quiesce, reset_object};
use super::scan::{ContainerProblem, Tree, scan};
use super::spec::{ApiVersion, id};
use super::*;
use crate::testing::cases;
use crate::testing::fsl_mc::{FakeContainer, FakeMc, FakeObject, Misbehaviour};
use crate::{Fault, Requester, SetId};

const fn object(kind: ObjectType, number: u32) -> ObjectId {
    ObjectId { kind, number }
}

const fn dprc(number: u32) -> ObjectId {
    object(ObjectType::Dprc, number)
}

fn container(icid: u16, objects: Vec<FakeObject>) -> FakeContainer {
    FakeContainer {
        icid,
        objects,
        resets: 0,
    }
}

fn scanned(mc: &FakeMc) -> Tree {
    scan(&mut Portal::new(mc.portal(0), mc), &[]).unwrap()
}

/// Root 1; 2 with 3 in it, which is not plugged but has 4 in it; 5 beside.
fn complex() -> FakeMc {
    FakeMc::new([
        (
            1,
            container(
                1,
                vec![
                    FakeObject::new("dpmac", 1),
                    FakeObject::new("dprc", 2),
                    FakeObject::new("dprc", 5),
                ],
            ),
        ),
        (
            2,
            container(
                2,
                vec![
                    FakeObject::new("dpni", 1),
                    FakeObject::new("dpni", 2).unplugged(),
                    FakeObject::new("dprc", 3).unplugged(),
                    FakeObject::new("dpbp", 4),
                    FakeObject::new("dpbp", 2),
                    FakeObject::new("dpcon", 1),
                ],
            ),
        ),
        (3, container(3, vec![FakeObject::new("dprc", 4)])),
        (4, container(4, vec![FakeObject::new("dpseci", 1)])),
        (5, container(5, vec![FakeObject::new("dpni", 5)])),
    ])
}

fn member(inventory: &Inventory, id: ObjectId) -> Member {
    *inventory.members.iter().find(|member| member.id == id).unwrap()
}

#[test]
fn a_set_is_the_nearest_container_and_a_group_its_icid() {
    let found = inventory(&scanned(&complex()));
    let ni = member(&found, object(ObjectType::Dpni, 1));
    assert_eq!(
        (ni.set(), ni.requester()),
        (SetId::Dprc(dprc(2)), Some(Requester::Stream(2)))
    );
    assert_eq!(ni.not_assignable, None);
    let seci = member(&found, object(ObjectType::Dpseci, 1));
    assert_eq!(
        (seci.set(), seci.requester()),
        (SetId::Dprc(dprc(4)), Some(Requester::Stream(4)))
    );
    let inner = member(&found, dprc(4));
    assert_eq!(
        (inner.set(), inner.requester()),
        (SetId::Dprc(dprc(4)), Some(Requester::Stream(4)))
    );
    let unplugged = [object(ObjectType::Dpni, 2), dprc(3)];
    assert!(!found.members.iter().any(|member| unplugged.contains(&member.id)));
}

#[test]
fn nothing_in_the_root_can_be_assigned() {
    let found = inventory(&scanned(&complex()));
    for id in [dprc(1), object(ObjectType::Dpmac, 1)] {
        assert_eq!(
            member(&found, id).not_assignable,
            Some(NotAssignable::InRoot(dprc(1)))
        );
    }
    let text = NotAssignable::InRoot(dprc(1)).to_string();
    assert_eq!(
        text,
        "it is in dprc.1, the root container, which is the hypervisor's; move it to a container of its own"
    );
    assert_eq!(
        member(&found, dprc(2)).not_assignable,
        None,
        "a container is not in itself"
    );
}

#[test]
fn a_container_comes_with_the_one_around_it_but_not_with_the_root() {
    let found = inventory(&scanned(&complex()));
    // 3 is not plugged and has no plugged objects but 4, which is in a set of its own: 4 comes with 2.
    let expected = Nesting {
        inner: dprc(4),
        outer: dprc(2),
        inner_member: dprc(4),
        outer_member: dprc(2),
    };
    assert_eq!(found.nestings, [expected]);
    assert_eq!(
        expected.to_string(),
        "dprc.4 is inside dprc.2, whose owner can reset, change and destroy it"
    );
}

#[test]
fn every_set_has_its_reset_which_old_firmware_lets_go_inside() {
    let sets = |found: &Inventory| -> Vec<_> { found.resets.iter().map(|reset| reset.container).collect() };
    let found = inventory(&scanned(&complex()));
    assert_eq!(sets(&found), [dprc(1), dprc(2), dprc(5), dprc(4)]);
    assert!(found.resets.iter().all(|reset| !reset.recursive));
    let found = inventory(&scanned(&complex().with_api(ApiVersion::new(6, 4))));
    assert!(found.resets.iter().all(|reset| reset.recursive));
}

#[test]
fn an_icid_of_the_root_or_a_problem_of_the_container_is_a_reason() {
    let mc = complex();
    mc.world.borrow_mut().containers.get_mut(&5).unwrap().icid = 1;
    mc.world
        .borrow_mut()
        .containers
        .get_mut(&4)
        .unwrap()
        .objects
        .push(FakeObject::new("dpxx", 1));
    let found = inventory(&scanned(&mc));
    let reason = member(&found, object(ObjectType::Dpni, 5))
        .not_assignable
        .unwrap();
    assert_eq!(
        reason.to_string(),
        "the IOMMU cannot tell dprc.5 from dprc.1, the root container: both have ICID 0x1"
    );
    let reason = member(&found, object(ObjectType::Dpseci, 1))
        .not_assignable
        .unwrap();
    assert_eq!(
        reason.to_string(),
        "dprc.4, which it is in: it has an object of the unknown type `dpxx`"
    );
    assert!(matches!(
        reason,
        NotAssignable::Container {
            problem: ContainerProblem::UnknownType(_),
            ..
        }
    ));
}

#[test]
fn coherence_comes_from_flags_and_versions() {
    let old = FakeObject {
        version: (3, 0),
        ..FakeObject::new("dpseci", 1)
    };
    let mut flagged = FakeObject::new("dpni", 1);
    flagged.corrupt = Some((28, vec![1]));
    let objects = vec![old, flagged, FakeObject::new("dpni", 2)];
    let mc = FakeMc::new([
        (1, container(1, vec![FakeObject::new("dprc", 2)])),
        (2, container(2, objects)),
    ]);
    let found = inventory(&scanned(&mc));
    let coherent = |kind, number| member(&found, object(kind, number)).coherent;
    assert!(!coherent(ObjectType::Dpseci, 1) && !coherent(ObjectType::Dpni, 1));
    assert!(coherent(ObjectType::Dpni, 2));
}

#[test]
fn pools_give_each_resource_to_one_and_take_only_their_own_back() {
    let tree = scanned(&complex());
    let mut pools = Pools::new(tree.container(dprc(2)).unwrap());
    let (first, second) = (object(ObjectType::Dpbp, 2), object(ObjectType::Dpbp, 4));
    assert_eq!(pools.free(ObjectType::Dpbp), 2);
    assert_eq!(pools.take(ObjectType::Dpbp), Ok(first));
    assert_eq!(pools.take(ObjectType::Dpbp), Ok(second));
    assert_eq!(
        pools.take(ObjectType::Dpbp),
        Err(PoolError::Empty(ObjectType::Dpbp))
    );
    assert_eq!(
        pools.take(ObjectType::Dpmcp),
        Err(PoolError::Empty(ObjectType::Dpmcp))
    );
    assert_eq!(
        pools.take(ObjectType::Dpni),
        Err(PoolError::NoResource(ObjectType::Dpni))
    );
    assert_eq!(pools.give_back(second), Ok(()));
    assert_eq!(pools.give_back(second), Err(PoolError::NotTaken(second)));
    let foreign = object(ObjectType::Dpbp, 9);
    assert_eq!(pools.give_back(foreign), Err(PoolError::NotTaken(foreign)));
    assert_eq!(pools.take(ObjectType::Dpbp), Ok(second));
}

#[test]
fn a_container_has_at_most_256_interrupts() {
    let mut pool = IrqPool::new(u16::MAX);
    let all: Vec<_> = core::iter::from_fn(|| pool.take()).collect();
    assert_eq!(all, (0..256).collect::<Vec<u16>>());
    assert!(pool.give_back(7) && !pool.give_back(7) && !pool.give_back(256));
    assert_eq!(pool.take(), Some(7));
}

#[test]
fn resets_go_by_type_and_version() {
    for (api, inner) in [(ApiVersion::new(6, 5), 0), (ApiVersion::new(6, 4), 1)] {
        let mc = complex().with_api(api);
        let mut portal = Portal::new(mc.portal(0), &mc);
        reset_object(&mut portal, dprc(3), api).unwrap();
        reset_object(&mut portal, object(ObjectType::Dpni, 5), api).unwrap();
        let resets = |number| mc.world.borrow().containers[&number].resets;
        assert_eq!((resets(2), resets(3), resets(4), resets(5)), (0, 1, inner, 0));
        assert_eq!(
            mc.world
                .borrow_mut()
                .object(object(ObjectType::Dpni, 5))
                .unwrap()
                .resets,
            1
        );
    }
}

#[test]
fn a_failure_at_each_command_of_a_reset_or_quiesce_is_an_error() {
    let ni = object(ObjectType::Dpni, 1);
    for at in 0..4 {
        let mc = complex();
        let mut portal = Portal::new(mc.portal(0), &mc);
        mc.fail(at, Misbehaviour::Refuse(0xc));
        assert!(quiesce(&mut portal, ni, 1).is_err(), "{at}");
        for target in [ni, dprc(2)] {
            let mc = complex();
            let mut portal = Portal::new(mc.portal(0), &mc);
            mc.fail(at.min(2), Misbehaviour::Refuse(0xc));
            assert!(
                reset_object(&mut portal, target, ApiVersion::new(6, 6)).is_err(),
                "{at}"
            );
        }
    }
    let mc = complex();
    quiesce(&mut Portal::new(mc.portal(0), &mc), ni, 2).unwrap();
    assert!(!mc.world.borrow_mut().object(ni).unwrap().enabled);
    let sent: Vec<_> = mc
        .world
        .borrow()
        .log
        .iter()
        .map(|header| header.command.id())
        .collect();
    let (off, open) = (id::SET_IRQ_ENABLE, id::open(ObjectType::Dpni));
    assert_eq!(sent, [open, id::DISABLE, off, off, id::CLOSE]);
}

#[test]
fn an_object_that_is_gone_or_a_container_that_is_another_one_is_not_alive() {
    let mc = complex();
    let mut portal = Portal::new(mc.portal(0), &mc);
    assert_eq!(
        check_alive(&mut portal, object(ObjectType::Dpni, 1), None),
        Ok(())
    );
    assert_eq!(
        check_alive(&mut portal, object(ObjectType::Dpni, 77), None),
        Err(Fault::Rejected)
    );
    assert_eq!(check_alive(&mut portal, dprc(2), Some(2)), Ok(()));
    assert_eq!(check_alive(&mut portal, dprc(2), Some(3)), Err(Fault::Gone));
}

proptest! {
    #![proptest_config(cases(256))]

    /// Against the model: a member for each plugged object, once; one ICID for each set; a nesting for each
    /// container with members that is inside another one with members and not right below the root.
    #[test]
    fn inventories_follow_the_tree(parents in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 0..3_u32), 0..12)) {
        let mut all = vec![(1, container(1, Vec::new()))];
        let mut above = vec![0_usize];
        for (at, (parent, plugged, objects)) in parents.iter().enumerate() {
            let number = at as u32 + 2;
            let parent = parent.index(all.len());
            let child = FakeObject::new("dprc", number);
            all[parent].1.objects.push(if *plugged { child } else { child.unplugged() });
            let objects = (0..*objects).map(|index| FakeObject::new("dpni", 10 * number + index));
            all.push((number, container(number as u16, objects.collect())));
            above.push(parent);
        }
        let counts: Vec<usize> = (0..all.len())
            .map(|at| {
                let itself = at == 0 || parents[at - 1].1;
                usize::from(itself) + if at == 0 { 0 } else { parents[at - 1].2 as usize }
            })
            .collect();
        let depth = |at: usize| core::iter::successors(Some(at), |at| (*at != 0).then(|| above[*at])).count() - 1;
        prop_assume!((0..all.len()).all(|at| depth(at) <= usize::from(scan::MAX_DEPTH)));
        let mc = FakeMc::new(all.clone());
        let found = inventory(&scanned(&mc));
        prop_assert_eq!(found.members.len(), counts.iter().sum::<usize>());
        for member in &found.members {
            prop_assert_eq!(member.icid, Some(member.container.number as u16));
            prop_assert_eq!(member.not_assignable.is_some(), member.container == dprc(1));
        }
        let mut expected = Vec::new();
        for at in (1..all.len()).filter(|at| counts[*at] > 0) {
            let mut outer = above[at];
            while outer != 0 && counts[outer] == 0 {
                outer = above[outer];
            }
            if outer != 0 {
                expected.push((at as u32 + 1, outer as u32 + 1));
            }
        }
        let mut nestings: Vec<_> = found.nestings.iter().map(|link| (link.inner.number, link.outer.number)).collect();
        nestings.sort_unstable();
        prop_assert_eq!(nestings, expected);
        for link in &found.nestings {
            let set = |id| found.members.iter().find(|member| member.id == id).unwrap().container;
            prop_assert_eq!((set(link.inner_member), set(link.outer_member)), (link.inner, link.outer));
        }
    }
}
