//! Units that break their word: nothing hangs, nothing opens, nothing that may still be read is freed, and the reason is typed.

use super::unit::Mischief;
use super::*;
use crate::addr::HostPhys;
use vfio_core::{Access, Fault, Mapping};

const PAGE: Mapping = Mapping {
    iova: Iova(0x1000),
    host: HostPhys(0x7000_0000),
    size: 0x1000,
    access: Access::READ,
};

#[test]
fn a_unit_that_falls_silent_is_out_of_service_wherever_that_happens() {
    for after in 1..40 {
        let (fake, mut unit) = ready();
        let done = fake.0.borrow().carried_out.len() as u64;
        fake.misbehave(Mischief::Deaf(done + after));
        let requester = device(3);
        let mut steps = || {
            unit.attach(DomainId(1), requester)?;
            unit.map(DomainId(1), PAGE)?;
            unit.route(requester, (requester, 0), 0, 0x30)?;
            unit.unmap(DomainId(1), PAGE.range().map_err(|_| Error::NoMemory)?)?;
            unit.release(requester)?;
            unit.quarantine(requester)
        };
        let Err(error) = steps() else {
            assert!(after > 14, "all was done in fewer commands than there were");
            continue;
        };
        assert!(
            matches!(error, Error::Broken(Misbehaviour::Timeout { head, tail }) if head != tail),
            "{error}"
        );
        assert_eq!(Fault::from(error), Fault::TimedOut);
        let waited = fake.0.borrow().waited;
        assert!(waited <= 1_100_000_000, "a bounded wait: {waited} ns");
        // Nothing is asked of it again, and what it may read is there still.
        let (memory, writes) = {
            let state = fake.0.borrow();
            (state.memory.len(), state.carried_out.len())
        };
        assert_eq!(unit.attach(DomainId(2), device(4)), Err(error));
        assert_eq!(unit.map(DomainId(1), PAGE), Err(error));
        assert_eq!(unit.quarantine(requester), Err(error));
        assert_eq!(unit.events(drop), Err(error));
        let state = fake.0.borrow();
        assert_eq!(
            (state.memory.len(), state.carried_out.len(), state.waited),
            (memory, writes, waited)
        );
    }
}

#[test]
fn a_refused_command_is_told_from_silence() {
    let (fake, mut unit) = ready();
    fake.misbehave(Mischief::Illegal(2));
    let error = unit.attach(DomainId(1), device(3));
    assert!(
        matches!(error, Err(Error::Broken(Misbehaviour::IllegalCommand { at })) if at != 0),
        "{error:?}"
    );
    let (fake, mut unit) = ready();
    fake.misbehave(Mischief::Unreadable);
    let error = unit.attach(DomainId(1), device(3));
    assert!(
        matches!(
            error,
            Err(Error::Broken(Misbehaviour::CommandHardware { kind: 2, .. }))
        ),
        "{error:?}"
    );
    assert_eq!(Fault::from(error.unwrap_err()), Fault::Rejected);
    // What the log said meanwhile is not lost.
    let mut events = Vec::new();
    assert!(unit.events(|event| events.push(event)).is_err());
    assert!(matches!(events[..], [Event::CommandHardware { .. }]));
}

#[test]
fn an_event_about_commands_ends_the_unit_though_nobody_waits() {
    let (fake, mut unit) = ready();
    fake.0.borrow_mut().log([5 << 60, 0x5000]);
    let illegal = Misbehaviour::IllegalCommand { at: 0x5000 };
    assert_eq!(unit.events(drop), Err(Error::Broken(illegal)));
    assert_eq!(unit.broken(), Some(illegal));
}

#[test]
fn a_log_that_overflows_starts_again_and_says_so() {
    let (fake, mut unit) = ready();
    let id = device(3).requester_id();
    for round in 0..3u64 {
        for at in 0..2000u64 {
            assert_eq!(fake.access(id, (round << 40) + (at << 12), true), None);
        }
        let mut count = 0;
        let read = unit.events(|_| count += 1).unwrap();
        assert_eq!((read.events, count, read.overflowed), (511, 511, true));
        assert_eq!(unit.events(drop).unwrap(), Read::default());
        // The next is logged again.
        fake.access(id, 7 << 30, false);
        assert_eq!(unit.events(drop).unwrap().events, 1);
    }
}

#[test]
fn a_log_that_does_not_start_again_or_points_nowhere_ends_the_unit() {
    let (fake, mut unit) = ready();
    fake.misbehave(Mischief::DeadLog);
    for at in 0..600u64 {
        fake.access(device(3).requester_id(), at << 12, true);
    }
    assert_eq!(unit.events(drop), Err(Error::Broken(Misbehaviour::EventLog)));
    for tail in [0x2000, 0x7_fff0, u64::MAX] {
        let (fake, mut unit) = ready();
        fake.misbehave(Mischief::Tail(tail));
        assert_eq!(
            unit.events(drop),
            Err(Error::Broken(Misbehaviour::EventTail { tail }))
        );
    }
}

#[test]
fn an_event_that_is_never_written_does_not_stop_the_others() {
    let (fake, mut unit) = ready();
    let id = device(3).requester_id();
    fake.misbehave(Mischief::Unwritten);
    fake.access(id, 0x1000, false);
    fake.0.borrow_mut().mischief.clear();
    fake.access(id, 0x2000, false);
    let mut seen = Vec::new();
    let mut malformed = 0;
    for _ in 0..8 {
        malformed += unit.events(|event| seen.push(event)).unwrap().malformed;
    }
    assert_eq!(malformed, 1);
    assert!(matches!(
        seen[..],
        [Event::Access {
            address: Some(Iova(0x2000)),
            ..
        }]
    ));
}

#[test]
fn a_tail_that_runs_in_circles_is_read_once_around() {
    let (fake, mut unit) = ready();
    // Every place is "written": none of the codes exists.
    let base = fake.0.borrow().registers[&0x10] & 0x000f_ffff_ffff_f000;
    for place in 0..512u64 {
        let mut shared = fake.clone();
        Hardware::store(&mut shared, HostPhys(base + place * 16), 0xf << 60);
    }
    fake.misbehave(Mischief::Tail(0x1ff0));
    let read = unit.events(drop).unwrap();
    assert_eq!((read.events, read.malformed), (511, 511));
}
