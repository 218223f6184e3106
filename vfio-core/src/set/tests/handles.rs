//! Handles and resets on a set by itself, beside a count of what they should do.

use proptest::prelude::*;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::vec::Vec;

use super::world::{device, set};
use crate::lease::DeviceOps;
use crate::set::{CloseError, Handle, OpenError, Patience, Registration, ResetError, SetPhase, SetTable};
use crate::testing::cases;
use crate::{DeviceId, Fault, Owner};

const GUEST: Owner = Owner::Guest(1);
const MEMBERS: u8 = 3;

/// Notes callbacks.
#[derive(Default)]
struct Notes(RefCell<Vec<(bool, DeviceId)>>);

impl DeviceOps for Notes {
    fn open_device(&self, device: DeviceId, _: Owner) -> Result<(), Fault> {
        self.0.borrow_mut().push((true, device));
        Ok(())
    }

    fn close_device(&self, device: DeviceId, _: Owner) -> Result<(), Fault> {
        self.0.borrow_mut().push((false, device));
        Ok(())
    }
}

fn members(table: &SetTable) -> Vec<Registration> {
    (0..MEMBERS)
        .map(|number| table.register(device(number), Some(set(0))).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(cases(96))]

    /// P3, P20, P21: a device calls back when its handles go from none to one and back; it needs a reset from then until one of
    /// it or of the set works, and a reset of the set happens at most once for a close, with at most the closing one open.
    #[test]
    fn p3_p20_p21_handles_and_resets(steps in prop::collection::vec((0..MEMBERS, 0..5u8, any::<bool>()), 1..60)) {
        let table = SetTable::new();
        let (registrations, ops) = (members(&table), Notes::default());
        let mut handles: Vec<Vec<Handle<'_, Notes>>> = registrations.iter().map(|_| Vec::new()).collect();
        let mut needs = [false; MEMBERS as usize];
        let all: Vec<DeviceId> = (0..MEMBERS).map(device).collect();
        for (number, what, works) in steps {
            let at = usize::from(number);
            let result = if works { Ok(()) } else { Err(Fault::TimedOut) };
            let open: usize = handles.iter().map(Vec::len).sum();
            let owner = (open > 0).then_some(GUEST);
            ops.0.borrow_mut().clear();
            let mut calls = Vec::new();
            match what {
                0 | 1 => {
                    calls.extend(handles[at].is_empty().then_some((true, device(number))));
                    handles[at].push(registrations[at].hold(GUEST, &ops, Patience::NONE).unwrap());
                }
                2 => {
                    let last = handles[at].len() == 1;
                    calls.extend(last.then_some((false, device(number))));
                    needs[at] |= last;
                    drop(handles[at].pop());
                }
                3 => {
                    let reset = registrations[at].set().reset(&[device(number)], owner, Patience::NONE, || result);
                    prop_assert_eq!(reset.is_ok(), works);
                    needs[at] = !works;
                }
                _ => {
                    let mut ran = 0;
                    let reset = registrations[at].set().reset_after_last_close(&all, || {
                        ran += 1;
                        result
                    });
                    let called_for = open <= 1 && needs.contains(&true);
                    prop_assert_eq!(ran, usize::from(called_for));
                    match reset {
                        Ok(did) => prop_assert_eq!(did, called_for),
                        Err(error) => prop_assert!(error == ResetError::Failed(Fault::TimedOut) && !works),
                    }
                    if called_for {
                        needs = [!works; MEMBERS as usize];
                    }
                }
            }
            prop_assert_eq!(&*ops.0.borrow(), &calls);
            for number in 0..MEMBERS {
                let counts = registrations[0].set().counts(device(number));
                prop_assert_eq!(counts.device as usize, handles[usize::from(number)].len());
                prop_assert_eq!(counts.set as usize, handles.iter().map(Vec::len).sum::<usize>());
                prop_assert_eq!(registrations[0].set().needs_reset(device(number)), needs[usize::from(number)]);
            }
        }
    }
}

#[test]
fn a_reset_of_part_of_a_set_or_of_strangers_is_none_of_the_set() {
    let table = SetTable::new();
    let (registrations, ops) = (members(&table), Notes::default());
    let of = registrations[0].set();
    drop(registrations[0].hold(GUEST, &ops, Patience::NONE).unwrap());
    let never = || panic!("it must not run");
    for part in [&[device(0), device(1)][..], &[device(0), device(1), device(5)]] {
        assert_eq!(of.reset_after_last_close(part, never), Ok(false));
    }
    let stranger = of.reset(&[device(0), device(5)], None, Patience::NONE, never);
    assert_eq!(stranger, Err(ResetError::NotMember(device(5))));
    let handle = registrations[0].hold(GUEST, &ops, Patience::NONE).unwrap();
    for other in [None, Some(Owner::Guest(2))] {
        let taken = of.reset(&[device(1)], other, Patience::NONE, never);
        assert_eq!(taken, Err(ResetError::OwnedByAnother(GUEST)));
    }
    drop(handle);
}

/// From within a reset: opens and last closes are refused, a close that is not the last goes on.
#[test]
fn a_reset_refuses_what_would_call_back() {
    let table = SetTable::new();
    let (registrations, ops) = (members(&table), Notes::default());
    let of = registrations[0].set();
    let open = |at: usize| registrations[at].open(GUEST, &ops);
    let (first, second) = (open(0).unwrap(), open(0).unwrap());
    let mut left = None;
    of.reset(&[device(0)], Some(GUEST), Patience::NONE, || {
        assert_eq!(of.phase(), SetPhase::Resetting);
        assert_eq!(open(1).map(|_| ()), Err(OpenError::Resetting));
        first.close(&ops).unwrap();
        match second.close(&ops) {
            Err(CloseError::Busy(SetPhase::Resetting, token)) => left = Some(token),
            other => panic!("{other:?}"),
        }
        let inner = of.reset(&[device(1)], Some(GUEST), Patience::NONE, || Ok(()));
        assert_eq!(inner, Err(ResetError::Busy(SetPhase::Resetting)));
        Ok(())
    })
    .unwrap();
    assert_eq!(of.counts(device(0)).device, 1);
    left.unwrap().close(&ops).unwrap();
    assert_eq!(of.phase(), SetPhase::Idle);
}

#[test]
fn phases_are_said_in_words() {
    let (first, guest) = (device(0), GUEST);
    for (phase, said) in [
        (SetPhase::Idle, std::string::String::from("idle")),
        (SetPhase::Opening(first), std::format!("{first} is being opened")),
        (SetPhase::Open(guest), std::format!("open for {guest}")),
        (SetPhase::Closing(first), std::format!("{first} is being closed")),
        (SetPhase::Resetting, std::string::String::from("being reset")),
    ] {
        assert_eq!(std::format!("{phase}"), said);
    }
}

/// A device can leave while a sibling is opened or closed.
#[test]
fn a_device_leaves_although_a_sibling_is_at_work() {
    struct Leaves<'t>(&'t SetTable, RefCell<Vec<Registration>>);
    impl DeviceOps for Leaves<'_> {
        fn open_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
            let leaving = self.1.borrow_mut().pop().unwrap();
            assert!(matches!(
                leaving.set().phase(),
                SetPhase::Opening(..) | SetPhase::Closing(..)
            ));
            self.0.unregister(leaving).unwrap();
            Ok(())
        }

        fn close_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
            self.open_device(device, owner)
        }
    }
    let table = SetTable::new();
    let mut leaving = members(&table);
    let stays = leaving.remove(0);
    let ops = Leaves(&table, RefCell::new(leaving));
    stays.open(GUEST, &ops).unwrap().close(&ops).unwrap();
    assert_eq!(stays.set().members(), [device(0)]);
}

/// A handle that is dropped while its set is busy for longer than its patience: nobody can close that open any more, and
/// the set says so.
#[test]
fn a_handle_that_cannot_close_puts_its_set_out_of_service() {
    let table = SetTable::new();
    let (registrations, ops) = (members(&table), Notes::default());
    let of = registrations[0].set();
    let handle = registrations[0].hold(GUEST, &ops, Patience::NONE).unwrap();
    of.reset(&[device(1)], Some(GUEST), Patience::NONE, || {
        drop(handle);
        Ok(())
    })
    .unwrap();
    assert_eq!(of.phase(), SetPhase::Broken(device(0), Fault::Busy));
    let refused = registrations[1].open(GUEST, &ops).map(|_| ());
    assert_eq!(refused, Err(OpenError::Broken(device(0), Fault::Busy)));
    assert!(!of.mend(), "it is open still");
}

/// Patience is for what passes. What is another's stays so, and whoever asks is told at once.
#[test]
fn what_does_not_pass_is_not_waited_for() {
    let table = SetTable::new();
    let (registrations, ops) = (members(&table), Notes::default());
    let held = registrations[0].hold(GUEST, &ops, Patience::NONE).unwrap();
    let waits = AtomicU32::new(0);
    let relax = || {
        waits.fetch_add(1, Ordering::SeqCst);
    };
    let (other, patience) = (Owner::Guest(2), Patience::times(5, &relax));
    let refused = registrations[1].hold(other, &ops, patience).map(drop);
    assert_eq!(refused, Err(OpenError::OwnedByAnother(GUEST)));
    let reset = registrations[0]
        .set()
        .reset(&[device(0)], Some(other), patience, || Ok(()));
    assert_eq!(reset, Err(ResetError::OwnedByAnother(GUEST)));
    assert_eq!(waits.load(Ordering::SeqCst), 0);
    drop(held);
}
