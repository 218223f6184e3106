//! The lock protocol under every interleaving that loom finds.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p vfio-core --release --lib loom`

#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use crate::lease::DeviceOps;
use crate::pci::Bdf;
use crate::set::{CloseError, OpenError, OpenToken, Patience, Registration, ResetError, SetPhase, SetTable};
use crate::{DeviceId, Fault, Owner, SetId};

const SET: SetId = SetId::PciBus { segment: 0, bus: 1 };
const GUEST: Owner = Owner::Guest(1);

fn device(number: u8) -> DeviceId {
    Bdf::from_devfn(0, 1, number).into()
}

/// Checks that callbacks do not overlap, and counts those that were the last close in the set.
struct Ops {
    table: Arc<SetTable>,
    running: AtomicU32,
    last_closes: AtomicU32,
}

impl Ops {
    fn new(table: &Arc<SetTable>) -> Arc<Self> {
        let (running, last_closes) = (AtomicU32::new(0), AtomicU32::new(0));
        Arc::new(Self {
            table: Arc::clone(table),
            running,
            last_closes,
        })
    }

    fn enter(&self) {
        assert_eq!(
            self.running.fetch_add(1, Ordering::SeqCst),
            0,
            "two callbacks of one set overlap"
        );
    }

    fn leave(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl DeviceOps for Ops {
    fn open_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        self.enter();
        self.leave();
        Ok(())
    }

    fn close_device(&self, device: DeviceId, _: Owner) -> Result<(), Fault> {
        self.enter();
        let counts = self.table.set(SET).unwrap().counts(device);
        assert_eq!(counts.device, 1);
        if counts.set == 1 {
            self.last_closes.fetch_add(1, Ordering::SeqCst);
        }
        self.leave();
        Ok(())
    }
}

fn close(mut token: OpenToken, ops: &Ops) {
    while let Err(error) = token.close(ops) {
        match error {
            CloseError::Busy(_, again) => token = again,
            CloseError::Failed(fault) => panic!("{fault}"),
        }
        thread::yield_now();
    }
}

#[test]
fn loom_join_against_free_on_last() {
    loom::model(|| {
        let table = Arc::new(SetTable::new());
        let old = table.register(device(0), Some(SET)).unwrap();
        let first = old.set().generation();
        let leaver = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.unregister(old).unwrap())
        };
        let new = table.register(device(1), Some(SET)).unwrap();
        leaver.join().unwrap();
        // Whether it joined the old set or a new one, it is in the one that the table knows.
        assert_eq!(new.set().generation(), table.set(SET).unwrap().generation());
        assert!(new.set().generation() == first || new.set().generation() == first + 1);
        assert_eq!(new.set().members(), [device(1)]);
        assert_eq!((table.member_count(SET), table.len()), (1, (1, 1)));
        table.unregister(new).unwrap();
        assert!(table.is_empty());
    });
}

#[test]
fn loom_joins_make_one_set() {
    loom::model(|| {
        let table = Arc::new(SetTable::new());
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.register(device(0), Some(SET)).unwrap())
        };
        let mine = table.register(device(1), Some(SET)).unwrap();
        let theirs = other.join().unwrap();
        assert_eq!(mine.set().generation(), theirs.set().generation());
        assert_eq!((table.member_count(SET), mine.set().members().len()), (2, 2));
    });
}

fn open_or_busy(registration: &Registration, owner: Owner, ops: &Ops) -> Option<OpenToken> {
    match registration.open(owner, ops) {
        Ok(token) => Some(token),
        Err(OpenError::Busy(_) | OpenError::OwnedByAnother(_)) => None,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn loom_open_against_open() {
    loom::model(|| {
        let table = Arc::new(SetTable::new());
        let (a, b) = (
            table.register(device(0), Some(SET)).unwrap(),
            table.register(device(1), Some(SET)).unwrap(),
        );
        let ops = Ops::new(&table);
        let other = {
            let ops = Arc::clone(&ops);
            thread::spawn(move || open_or_busy(&a, GUEST, &ops))
        };
        let mine = open_or_busy(&b, GUEST, &ops);
        let theirs = other.join().unwrap();
        let opens = u32::from(mine.is_some()) + u32::from(theirs.is_some());
        assert!(opens >= 1, "somebody must win");
        assert_eq!(table.set(SET).unwrap().counts(device(0)).set, opens);
        for token in [mine, theirs].into_iter().flatten() {
            close(token, &ops);
        }
        assert_eq!(ops.last_closes.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn loom_open_against_open_by_another_owner() {
    loom::model(|| {
        let table = Arc::new(SetTable::new());
        let a = Arc::new(table.register(device(0), Some(SET)).unwrap());
        let ops = Ops::new(&table);
        let other = {
            let (a, ops) = (Arc::clone(&a), Arc::clone(&ops));
            thread::spawn(move || open_or_busy(&a, Owner::Guest(2), &ops))
        };
        let mine = open_or_busy(&a, GUEST, &ops);
        let theirs = other.join().unwrap();
        assert_ne!(mine.is_some(), theirs.is_some(), "exactly one owner");
        for token in [mine, theirs].into_iter().flatten() {
            close(token, &ops);
        }
    });
}

#[test]
fn loom_close_against_close() {
    loom::model(|| {
        let table = Arc::new(SetTable::new());
        let (a, b) = (
            table.register(device(0), Some(SET)).unwrap(),
            table.register(device(1), Some(SET)).unwrap(),
        );
        let ops = Ops::new(&table);
        let (first, second) = (a.open(GUEST, &*ops).unwrap(), b.open(GUEST, &*ops).unwrap());
        let other = {
            let ops = Arc::clone(&ops);
            thread::spawn(move || close(first, &ops))
        };
        close(second, &ops);
        other.join().unwrap();
        // Neither both nor none of them sees itself as the last one in the set.
        assert_eq!(ops.last_closes.load(Ordering::SeqCst), 1);
        assert_eq!(a.set().counts(device(0)).set, 0);
    });
}

#[test]
fn loom_open_against_unregister() {
    loom::model(|| {
        let table = Arc::new(SetTable::new());
        let a = table.register(device(0), Some(SET)).unwrap();
        // A second name for the registration: its owner gives it away while somebody opens.
        let (again, ops) = (a.second(), Ops::new(&table));
        let leaver = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.unregister(a))
        };
        let opened = again.open(GUEST, &*ops);
        match (opened, leaver.join().unwrap()) {
            (Err(OpenError::Unregistering(_)), Ok(())) => {}
            (Ok(token), Err(still)) => {
                let late = still.registration.open(GUEST, &*ops).map(|_| ());
                assert_eq!(late, Err(OpenError::Unregistering(device(0))));
                close(token, &ops);
                table.unregister(still.registration).unwrap();
            }
            (opened, left) => panic!("{opened:?} and {left:?}"),
        }
        assert!(table.is_empty());
    });
}

/// An open and a reset of one set: they never overlap, and whoever comes second is refused.
#[test]
fn loom_open_against_reset() {
    loom::model(|| {
        let table = Arc::new(SetTable::new());
        let a = Arc::new(table.register(device(0), Some(SET)).unwrap());
        let ops = Ops::new(&table);
        let resetter = {
            let (a, ops) = (Arc::clone(&a), Arc::clone(&ops));
            thread::spawn(move || {
                a.set().reset(&[device(0)], None, Patience::NONE, || {
                    ops.enter();
                    ops.leave();
                    Ok(())
                })
            })
        };
        let opened = a.open(GUEST, &*ops);
        match (&opened, resetter.join().unwrap()) {
            (Ok(_), Ok(()) | Err(ResetError::Busy(_) | ResetError::OwnedByAnother(GUEST)))
            | (Err(OpenError::Resetting), Ok(())) => {}
            (opened, reset) => panic!("{opened:?} and {reset:?}"),
        }
        if let Ok(token) = opened {
            close(token, &ops);
        }
        assert_eq!(a.set().phase(), SetPhase::Idle);
    });
}

/// A handle that waits while a sibling is opened, and a last close that waits while another runs: all get through, and
/// exactly one close is the last in the set.
#[test]
fn loom_handles_wait_for_each_other() {
    loom::model(|| {
        let table = Arc::new(SetTable::new());
        let (a, b) = (
            table.register(device(0), Some(SET)).unwrap(),
            table.register(device(1), Some(SET)).unwrap(),
        );
        let ops = Ops::new(&table);
        let other = {
            let ops = Arc::clone(&ops);
            thread::spawn(move || {
                let relax = || thread::yield_now();
                drop(a.hold(GUEST, &*ops, Patience::times(u32::MAX, &relax)).unwrap());
            })
        };
        let relax = || thread::yield_now();
        drop(b.hold(GUEST, &*ops, Patience::times(u32::MAX, &relax)).unwrap());
        other.join().unwrap();
        assert_eq!(table.set(SET).unwrap().counts(device(0)).set, 0);
        assert_eq!(table.set(SET).unwrap().phase(), SetPhase::Idle);
        let lasts = ops.last_closes.load(Ordering::SeqCst);
        assert!((1..=2).contains(&lasts), "{lasts}");
    });
}

/// Two last closes and the reset that follows each: the set is reset with nothing open, and needs none in the end.
#[test]
fn loom_close_against_close_with_a_reset_after() {
    loom::model(|| {
        let table = Arc::new(SetTable::new());
        let (a, b) = (
            table.register(device(0), Some(SET)).unwrap(),
            table.register(device(1), Some(SET)).unwrap(),
        );
        let ops = Ops::new(&table);
        let (first, second) = (a.open(GUEST, &*ops).unwrap(), b.open(GUEST, &*ops).unwrap());
        let all = [device(0), device(1)];
        let finish = move |token: OpenToken, ops: &Ops, set: &crate::set::DeviceSet| {
            close(token, ops);
            match set.reset_after_last_close(&all, || {
                ops.enter();
                ops.leave();
                Ok(())
            }) {
                Ok(_) | Err(ResetError::Busy(_)) => {}
                Err(other) => panic!("{other}"),
            }
        };
        let other = {
            let ops = Arc::clone(&ops);
            thread::spawn(move || finish(first, &ops, a.set()))
        };
        finish(second, &ops, b.set());
        other.join().unwrap();
        // The last close in the set asks after it; a reset of one member's close alone may have come before.
        let again = b.set().reset_after_last_close(&all, || Ok(()));
        assert!(again.is_ok());
        assert!(!b.set().needs_reset(device(0)) && !b.set().needs_reset(device(1)));
    });
}

/// A device that is reset cannot leave its set meanwhile.
#[test]
fn loom_reset_against_unregister() {
    loom::model(|| {
        let table = Arc::new(SetTable::new());
        let a = table.register(device(0), Some(SET)).unwrap();
        let again = a.second();
        let leaver = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.unregister(a))
        };
        let reset = again.set().reset(&[device(0)], None, Patience::NONE, || Ok(()));
        match (reset, leaver.join().unwrap()) {
            (Ok(()) | Err(ResetError::NotMember(_)), Ok(())) => {}
            (Ok(()), Err(still)) => table.unregister(still.registration).unwrap(),
            (reset, left) => panic!("{reset:?} and {left:?}"),
        }
        assert!(table.is_empty());
    });
}
