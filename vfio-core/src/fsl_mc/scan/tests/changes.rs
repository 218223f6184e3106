//! What changed from one scan to the next, and what a complex says of that itself.

use super::*;
use crate::fsl_mc::spec::dprc::Events;
use crate::testing::fsl_mc::Misbehaviour;

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
