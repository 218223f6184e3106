//! Invariants that need several threads, or a callback that tries what it must not get.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::vec::Vec;

use super::world::{device, set};
use crate::lease::DeviceOps;
use crate::set::{CloseError, OpenError, OpenToken, Registration, SetTable};
use crate::testing::scaled;
use crate::{DeviceId, Fault, Owner};

const GUEST: Owner = Owner::Guest(1);
const ROUNDS: usize = scaled(200, 5);

/// Counts the callbacks that run at the same time.
#[derive(Default)]
struct Overlap {
    running: AtomicU32,
    most: AtomicU32,
}

impl Overlap {
    fn run(&self) -> Result<(), Fault> {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        thread::yield_now();
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

impl DeviceOps for Overlap {
    fn open_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        self.run()
    }

    fn close_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        self.run()
    }
}

fn close(mut token: OpenToken, ops: &impl DeviceOps) {
    loop {
        match token.close(ops) {
            Ok(()) => return,
            Err(CloseError::Busy(_, again)) => token = again,
            Err(CloseError::Failed(fault)) => panic!("{fault}"),
        }
        thread::yield_now();
    }
}

#[test]
fn p2_callbacks_of_one_set_never_overlap() {
    let table = SetTable::new();
    let members: Vec<Registration> = (0..3)
        .map(|number| table.register(device(number), Some(set(0))).unwrap())
        .collect();
    let ops = Overlap::default();
    thread::scope(|scope| {
        for member in &members {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    match member.open(GUEST, &ops) {
                        Ok(token) => close(token, &ops),
                        Err(OpenError::Busy(_)) => thread::yield_now(),
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
    });
    assert_eq!(ops.most.load(Ordering::SeqCst), 1);
    assert_eq!(members[0].set().counts(device(0)).set, 0);
}

/// Tries, from within a callback, to open a sibling and a device of another set.
struct Reenters<'a> {
    sibling: &'a Registration,
    stranger: &'a Registration,
    inner: Overlap,
}

impl DeviceOps for Reenters<'_> {
    fn open_device(&self, device: DeviceId, _: Owner) -> Result<(), Fault> {
        let refused = self.sibling.open(GUEST, &self.inner).map(|_| ());
        assert_eq!(refused, Err(OpenError::Busy(device)), "a sibling must wait");
        close(self.stranger.open(GUEST, &self.inner).unwrap(), &self.inner);
        Ok(())
    }

    fn close_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        self.open_device(device, owner)
    }
}

/// The other half of P2: a callback sees its siblings refused and other sets at work. Also: no lock is held.
#[test]
fn p2_callbacks_of_other_sets_may_overlap() {
    let table = SetTable::new();
    let register = |number, of| table.register(device(number), Some(set(of))).unwrap();
    let (member, sibling, stranger) = (register(0, 0), register(1, 0), register(2, 1));
    let ops = Reenters {
        sibling: &sibling,
        stranger: &stranger,
        inner: Overlap::default(),
    };
    let token = member.open(GUEST, &ops).unwrap();
    close(token, &ops);
}

/// An owner keeps others out of the whole set, not just of a device.
#[test]
fn a_set_has_one_owner() {
    let table = SetTable::new();
    let register = |number| table.register(device(number), Some(set(0))).unwrap();
    let (a, b) = (register(0), register(1));
    let ops = Overlap::default();
    let token = a.open(GUEST, &ops).unwrap();
    let refused = b.open(Owner::Guest(2), &ops).map(|_| ());
    assert_eq!(refused, Err(OpenError::OwnedByAnother(GUEST)));
    close(token, &ops);
    close(b.open(Owner::Guest(2), &ops).unwrap(), &ops);
}

#[test]
fn p12_joins_at_the_same_time_make_one_set() {
    const THREADS: u8 = 4;
    for _ in 0..ROUNDS / 4 + 1 {
        let table = SetTable::new();
        let start = Barrier::new(usize::from(THREADS));
        let registered: Vec<Registration> = thread::scope(|scope| {
            let join = |number| {
                let (table, start) = (&table, &start);
                scope.spawn(move || {
                    start.wait();
                    table.register(device(number), Some(set(0))).unwrap()
                })
            };
            let threads: Vec<_> = (0..THREADS).map(join).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(table.member_count(set(0)), usize::from(THREADS));
        assert_eq!(table.len(), (1, usize::from(THREADS)));
        let generation = registered[0].set().generation();
        assert!(registered.iter().all(|one| one.set().generation() == generation));
        assert_eq!(registered[0].set().members().len(), usize::from(THREADS));
    }
}
