//! Complexes that lie, that change while they are read, and that fail at each command.

use super::*;
use crate::testing::fsl_mc::Misbehaviour;
use crate::testing::scaled;

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
    for at in (0..mc.commands()).step_by(scaled(1, 4)) {
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
