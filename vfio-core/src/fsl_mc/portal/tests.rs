//! Portals against a complex that is slow, busy, silent, gone or wrong.

use std::vec::Vec;

use super::*;
use crate::Fault;
use crate::fsl_mc::spec::{Malformed, dprc};
use crate::testing::fsl_mc::{FakeContainer, FakeMc, FakeObject, Misbehaviour};
use crate::testing::{Waits, scaled};

const ROOT: ObjectId = ObjectId {
    kind: ObjectType::Dprc,
    number: 1,
};
const NI: ObjectId = ObjectId {
    kind: ObjectType::Dpni,
    number: 3,
};

fn complex() -> FakeMc {
    let root = FakeContainer {
        icid: 0x20,
        objects: vec![FakeObject::new("dpni", 3)],
        ..FakeContainer::default()
    };
    FakeMc::new([(1, root)])
}

fn portal(mc: &FakeMc) -> Portal<crate::testing::fsl_mc::FakePortal<'_>, &FakeMc> {
    Portal::new(mc.portal(0), mc)
}

fn sent(mc: &FakeMc) -> Vec<CommandId> {
    let world = mc.world.borrow();
    world.log.iter().map(|header| header.command.id()).collect()
}

#[test]
fn questions_need_no_token() {
    let mc = complex();
    let mut portal = portal(&mc);
    assert_eq!(portal.container(), Ok(ROOT));
    assert_eq!(portal.api_version(ObjectType::Dprc), Ok(ApiVersion::new(6, 6)));
    assert_eq!(portal.firmware_version().map(|version| version.major), Ok(10));
    assert!(mc.world.borrow().log.iter().all(|header| header.token == 0));
}

#[test]
fn a_session_uses_its_token_and_gives_it_back() {
    let mc = complex();
    let mut portal = portal(&mc).with_high_priority();
    let mut session = portal.open(ROOT).unwrap();
    assert_eq!(session.send(&dprc::GetAttributes).unwrap().icid, 0x20);
    assert_eq!(mc.world.borrow().tokens.len(), 1);
    session.close().unwrap();
    assert!(mc.world.borrow().tokens.is_empty());
    drop(portal.open(NI).unwrap());
    assert!(mc.world.borrow().tokens.is_empty(), "dropping closes");
    assert_eq!(portal.unclosed(), 0);
    let closes = [id::open(ObjectType::Dprc), id::GET_ATTRIBUTES, id::CLOSE];
    assert_eq!(
        sent(&mc),
        [&closes[..], &[id::open(ObjectType::Dpni), id::CLOSE]].concat()
    );
    let world = mc.world.borrow();
    assert!(
        world
            .log
            .iter()
            .all(|header| header.hw_flags == HwFlags::HIGH_PRIORITY)
    );
    assert_eq!(world.log[1].token, world.log[2].token);
}

#[test]
fn what_does_not_exist_cannot_be_opened() {
    let mc = complex();
    let missing = ObjectId { number: 4, ..NI };
    let command = CommandWord::standard(id::open(ObjectType::Dpni));
    let refused = PortalError::refused(command, Refused::Configuration);
    assert_eq!(portal(&mc).open(missing).err(), Some(refused));
    assert!(!refused.unknown_state());
}

#[test]
fn a_slow_answer_is_waited_for_and_a_silent_complex_is_not() {
    let mc = complex();
    let mut portal = portal(&mc);
    mc.fail(0, Misbehaviour::Slow(TIMEOUT - 2 * MILLISECOND));
    assert_eq!(portal.container(), Ok(ROOT));
    let start = mc.now();
    mc.fail(0, Misbehaviour::Silent);
    let command = CommandWord::standard(id::GET_CONTAINER_ID);
    let lost = PortalError::NoAnswer {
        command,
        milliseconds: 15_000,
    };
    assert_eq!(portal.container(), Err(lost));
    assert!(mc.now() - start <= TIMEOUT + scaled(1, Waits::COARSE) * MILLISECOND);
    assert!(lost.unknown_state() && portal.out_of_use());
    // Nothing is written over a command that may still be carried out: the fake would panic.
    assert_eq!(portal.container(), Err(PortalError::OutOfUse));
    assert_eq!(mc.commands(), 2);
}

#[test]
fn a_clock_that_stands_still_does_not_turn_the_bound_into_a_hang() {
    let mc = complex();
    mc.stopped.set(true);
    mc.fail(0, Misbehaviour::Silent);
    assert!(matches!(
        portal(&mc).container(),
        Err(PortalError::NoAnswer { .. })
    ));
}

#[test]
fn a_command_that_somebody_left_behind_is_not_written_over() {
    let mc = complex();
    let left = Header::request(CommandWord::standard(id::CLOSE), 9);
    let mut portal = Portal::new(mc.portal(0).with_header(left), &mc);
    assert!(matches!(portal.container(), Err(PortalError::NoAnswer { .. })));
    assert_eq!(mc.commands(), 0);
}

#[test]
fn a_portal_that_is_gone_or_answers_something_else_is_out_of_use() {
    for (how, fault) in [
        (Misbehaviour::Gone, Fault::Gone),
        (Misbehaviour::Stale, Fault::Rejected),
        (Misbehaviour::Silent, Fault::TimedOut),
    ] {
        let mc = complex();
        let mut portal = portal(&mc);
        mc.fail(0, how);
        let error = portal.container().unwrap_err();
        assert!(error.unknown_state());
        assert_eq!(Fault::from(error), fault);
        assert_eq!(portal.container(), Err(PortalError::OutOfUse));
    }
}

#[test]
fn a_busy_complex_is_asked_again_a_few_times() {
    let mc = complex();
    let mut portal = portal(&mc);
    for attempt in 0..RETRIES as usize {
        mc.fail(attempt, Misbehaviour::Refuse(0xa));
    }
    assert_eq!(portal.container(), Ok(ROOT));
    assert_eq!(mc.commands(), RETRIES as usize + 1);
    for attempt in 0..=RETRIES as usize {
        mc.fail(attempt, Misbehaviour::Refuse(0xa));
    }
    let error = portal.container().unwrap_err();
    assert_eq!(Fault::from(error), Fault::Busy);
    assert_eq!(mc.commands(), 2 * (RETRIES as usize + 1));
    assert!(!portal.out_of_use());
}

#[test]
fn only_what_changes_nothing_is_sent_again_after_the_complex_timed_out() {
    let mc = complex();
    let mut portal = portal(&mc);
    mc.fail(0, Misbehaviour::Refuse(7));
    assert_eq!(portal.container(), Ok(ROOT));
    assert_eq!(mc.commands(), 2);
    mc.fail(1, Misbehaviour::Refuse(7));
    let reset = portal.once(NI, |session| session.send(&common::Reset));
    let refused = PortalError::refused(CommandWord::standard(id::RESET), Refused::TimedOut);
    assert_eq!(reset, Err(refused));
    assert_eq!(mc.commands(), 5, "open, reset, close");
}

#[test]
fn every_status_is_a_typed_refusal() {
    for code in (0..=u8::MAX).filter(|code| ![0, 1, 7, 0xa].contains(code)) {
        let mc = complex();
        mc.fail(0, Misbehaviour::Refuse(code));
        let error = portal(&mc).container().unwrap_err();
        let PortalError::Refused { why, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(why.code(), code);
    }
}

#[test]
fn an_answer_that_makes_no_sense_is_an_error_and_the_object_is_closed() {
    let mc = complex();
    let mut portal = portal(&mc);
    mc.fail(1, Misbehaviour::Garbage([0xff; 56]));
    let object = portal.once(ROOT, |session| session.send(&dprc::GetObj { index: 0 }));
    let malformed = PortalError::Malformed {
        command: CommandWord::standard(id::GET_OBJ),
        what: Malformed::NoEnd(32),
    };
    assert_eq!(object, Err(malformed));
    assert!(mc.world.borrow().tokens.is_empty());
}

#[test]
fn a_failure_at_each_command_of_a_session_leaves_nothing_open_that_is_not_counted() {
    for at in 0..3 {
        for how in [
            Misbehaviour::Refuse(4),
            Misbehaviour::Silent,
            Misbehaviour::Gone,
            Misbehaviour::Stale,
        ] {
            let mc = complex();
            let mut portal = portal(&mc);
            mc.fail(at, how.clone());
            let result = portal.once(NI, |session| session.send(&common::Disable).map(|_| ()));
            assert!(result.is_err(), "{how:?} at {at}");
            let open = mc.world.borrow().tokens.len();
            // An open whose answer is lost cannot be counted; the portal is out of use then.
            let known = portal.unclosed() as usize == open || portal.out_of_use();
            assert!(known, "{how:?} at {at}: {open} open");
        }
    }
}

#[test]
fn a_shared_portal_has_one_user_at_a_time_and_a_bound() {
    let mc = complex();
    let shared = SharedPortal::new(portal(&mc));
    let mut guard = shared.acquire().unwrap();
    let start = mc.now();
    assert_eq!(shared.acquire().err(), Some(PortalError::InUse));
    assert!(mc.now() - start >= TIMEOUT);
    assert_eq!(guard.container(), Ok(ROOT));
    drop(guard);
    assert!(shared.acquire().is_ok());
}
