//! Closing: what is reset, what may fail, and what is tried all the same.

use super::*;
use crate::testing::scaled;

#[test]
fn closing_resets_containers_alone_and_objects_by_themselves() {
    let mc = complex();
    mc.world
        .borrow_mut()
        .containers
        .get_mut(&2)
        .unwrap()
        .objects
        .push(FakeObject::new("dprc", 3));
    mc.world.borrow_mut().containers.insert(
        3,
        FakeContainer {
            icid: 3,
            ..FakeContainer::default()
        },
    );
    let world = World::new(&mc, 4);
    world.trapped(DPNI).close().unwrap();
    assert_eq!(mc.world.borrow_mut().object(DPNI).unwrap().resets, 1);
    assert_eq!(mc.world.borrow().containers[&2].resets, 0);
    world.trapped(DPRC).close().unwrap();
    assert_eq!(mc.world.borrow().containers[&2].resets, 1);
    assert_eq!(mc.world.borrow().containers[&3].resets, 0, "not recursive");
    assert_eq!(mc.world.borrow_mut().object(DPNI).unwrap().resets, 2);
}

#[test]
fn a_failure_at_each_command_of_a_close_is_an_error_and_the_rest_is_tried() {
    let run = |failure: Option<(usize, Misbehaviour)>| {
        let mc = complex();
        let world = World::new(&mc, 4);
        let mut device = world.trapped(DPRC);
        device.set_irqs(&request(0, IrqAction::Signal(&[true]))).unwrap();
        open_by(&mut device, DPNI);
        open_by(&mut device, DPIO);
        let before = mc.commands();
        let ok = failure.is_none();
        let silent = failure
            .as_ref()
            .is_some_and(|(_, how)| matches!(how, Misbehaviour::Silent));
        if let Some((at, how)) = failure {
            mc.fail(at, how);
        }
        assert_eq!(device.close().is_ok(), ok);
        let reset = mc.world.borrow().containers[&2].resets;
        (mc.commands() - before, reset, silent)
    };
    let (commands, reset, _) = run(None);
    assert_eq!((commands, reset), (2 + 3 + 3, 1));
    for at in (0..commands).step_by(scaled(1, 4)) {
        for how in [
            Misbehaviour::Refuse(4),
            Misbehaviour::Refuse(9),
            Misbehaviour::Silent,
            Misbehaviour::Stale,
        ] {
            let (_, reset, _) = run(Some((at, how.clone())));
            // The owner's portal is one thing, the hypervisor's another: the reset goes through unless it is lost itself.
            // What the hypervisor could not close (4) it cannot open again either.
            let tried = at < 4 && matches!(how, Misbehaviour::Refuse(_)) || at < 2;
            assert!(reset == 1 || !tried, "{how:?} at {at}");
        }
    }
}

#[test]
fn tokens_that_a_reset_made_void_are_no_failure() {
    let mc = complex();
    let world = World::new(&mc, 4);
    let mut device = world.trapped(DPMCP);
    open_by(&mut device, DPNI);
    mc.world.borrow_mut().tokens.clear();
    device.close().unwrap();
}
