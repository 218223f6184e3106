//! Units that lack something, do not obey, complain, or go away; and memory that runs out.

use super::*;
use crate::iommu::{Source, Target};
use vfio_core::pci::Bdf;

#[test]
fn a_unit_that_cannot_do_what_is_needed_is_refused() {
    let with = |capability, extended| start(&Device::new(capability, extended));
    assert_eq!(
        with(CAPABILITY, EXTENDED & !2),
        Err(InitErrorKind::Missing("queued invalidation"))
    );
    assert_eq!(
        with(CAPABILITY & !(0x1f << 8) | 1 << 8, EXTENDED),
        Err(InitErrorKind::Widths(1))
    );
    assert_eq!(
        with(CAPABILITY | 0x3ff << 24, EXTENDED),
        Err(InitErrorKind::Window)
    );
    let text = Vtd::init(
        Device::new(CAPABILITY, 0),
        Device::new(0, 0),
        Device::new(0, 0),
        describe(),
    );
    assert_eq!(
        text.map(drop).unwrap_err().to_string(),
        "the VT-d unit at 0xfed90000: it does not have queued invalidation"
    );
}

#[test]
fn a_unit_that_does_not_obey_at_the_start_is_refused_and_named() {
    let with = |habit| {
        let device = Device::new(CAPABILITY | BUFFERS | 0b11 << 5, EXTENDED);
        device.set(|state| {
            state.status = 1 << 26;
            state.protected = 1 << 31 | 1;
            state.habit = habit;
        });
        start(&device)
    };
    let ignored = |bit: u32| with(Habit::Ignores(1 << bit));
    let command = |act| Err(InitErrorKind::Misbehaviour(Misbehaviour::Command(act)));
    assert_eq!(ignored(31), command(Act::Translation));
    assert_eq!(ignored(30), command(Act::RootTable));
    assert_eq!(ignored(27), command(Act::WriteBuffers));
    assert_eq!(ignored(26), command(Act::Stop));
    assert_eq!(ignored(25), command(Act::Interrupts));
    assert_eq!(ignored(24), command(Act::InterruptTable));
    assert_eq!(ignored(0), command(Act::ProtectedMemory));
    let broken = |habit, how| assert_eq!(with(habit), Err(InitErrorKind::Misbehaviour(how)));
    broken(Habit::Sleeps, Misbehaviour::Invalidation);
    broken(Habit::Complains(1 << 4), Misbehaviour::Queue);
    broken(Habit::Complains(1 << 5), Misbehaviour::Completion);
    broken(Habit::Complains(1 << 6), Misbehaviour::TimeOut);
    broken(Habit::Gone, Misbehaviour::Gone);
    assert_eq!(with(Habit::Obeys), Ok(()));
}

#[test]
fn after_the_first_error_nothing_opens_and_quarantine_holds() {
    for (habit, how) in [
        (Habit::Sleeps, Misbehaviour::Invalidation),
        (Habit::Complains(1 << 4), Misbehaviour::Queue),
        (Habit::Complains(1 << 5), Misbehaviour::Completion),
        (Habit::Complains(1 << 6), Misbehaviour::TimeOut),
    ] {
        let device = Device::new(CAPABILITY, EXTENDED);
        let mut unit = ready(&device);
        unit.attach(DomainId(1), by(A)).unwrap();
        unit.map(DomainId(1), region(0, 0x4000_0000, 0x20_0000)).unwrap();
        let frames = device.frames();
        device.set(|state| state.habit = habit);
        let broken = Error::Broken(how);
        assert_eq!(unit.unmap(DomainId(1), range(0, 0x20_0000)), Err(broken));
        device.set(|state| (state.habit, state.fault_status) = (Habit::Obeys, 0));
        let sent = unit.commands();
        assert_eq!(unit.attach(DomainId(1), by(B)), Err(broken));
        assert_eq!(unit.quarantine(by(A)), Err(broken));
        assert_eq!(unit.map(DomainId(1), region(0, 0, 4096)), Err(broken));
        assert_eq!(unit.take_faults(&mut |_| ()), Err(broken));
        let source = Source {
            function: Bdf::from_requester_id(0, A),
            requester: by(A),
            entry: 0,
        };
        let target = Target {
            apic: 1,
            vector: 0x41,
        };
        assert_eq!(unit.route(source, target), Err(broken));
        assert_eq!(unit.commands(), sent, "it is not talked to any more");
        assert_eq!(device.access(B, 0, false), None, "{habit:?}");
        assert_eq!(device.frames(), frames, "no table that it may walk is given away");
        assert_eq!(unit.broken(), Some(how));
    }
}

#[test]
fn a_unit_that_is_gone_is_found_out_by_its_faults() {
    let device = Device::new(CAPABILITY, EXTENDED);
    let mut unit = ready(&device);
    device.set(|state| state.habit = Habit::Gone);
    let gone = Err(Error::Broken(Misbehaviour::Gone));
    assert_eq!(unit.take_faults(&mut |_| ()), gone);
    assert_eq!(Fault::from(Error::Broken(Misbehaviour::Gone)), Fault::Gone);
}

#[test]
fn memory_that_runs_out_at_any_frame_leaves_nothing_mapped_and_nothing_leaked() {
    for extended in [EXTENDED, EXTENDED & !1] {
        let mut whole = 0;
        for left in 0..24 {
            let device = Device::new(CAPABILITY | CACHING, extended);
            device.set(|state| state.left = left);
            let Ok(mut unit) = Vtd::init(device.clone(), device.clone(), device.clone(), describe()) else {
                assert!(left < 7, "queue, status, root, four for interrupts");
                continue;
            };
            if unit.attach(DomainId(1), by(A)).is_err() {
                assert_eq!(device.access(A, 0, false), None);
                unit.quarantine(by(A)).unwrap();
                continue;
            }
            let before = device.frames();
            // Pages at the ends of 2 MiB: tables of two levels on either side.
            let mapped = unit.map(DomainId(1), region(0x3fff_f000, 0x1000, 0x2000));
            let reached = device.access(A, 0x3fff_f000, true).is_some();
            assert_eq!(reached, mapped.is_ok());
            if mapped.is_err() {
                assert_eq!(mapped, Err(Error::NoMemory));
                assert_eq!(device.frames(), before);
            } else {
                whole += 1;
                unit.unmap(DomainId(1), range(0x3fff_f000, 0x2000)).unwrap();
                assert_eq!(device.frames(), before);
            }
            unit.quarantine(by(A)).unwrap();
            assert_eq!(device.frames(), before - 1, "the domain's top table");
        }
        assert!(whole > 0);
    }
}
