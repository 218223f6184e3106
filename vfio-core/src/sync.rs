//! Locks and shared pointers, in one place so that loom can take their part and tests can watch the order.
//!
//! Everything here is held for a few instructions and never across a wait; that is why a spin lock is enough.
//!
//! The order of locks is that there is none: of the locks with a [`Rank`] at most one is held at a time, and none while
//! the platform works. Tests hold every thread to that; under loom a second lock would show as a deadlock.

#[cfg(not(loom))]
pub(crate) use alloc::sync::Arc;
#[cfg(loom)]
pub(crate) use loom::sync::Arc;

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU8, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, Ordering};

use core::ops::{Deref, DerefMut};

#[cfg(not(loom))]
type Inner<T> = spin::Mutex<T>;
#[cfg(loom)]
type Inner<T> = loom::sync::Mutex<T>;

#[cfg(not(loom))]
type InnerGuard<'a, T> = spin::MutexGuard<'a, T>;
#[cfg(loom)]
type InnerGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

/// What a lock guards, which says what may be held beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// How a cohort stands.
    Cohort,
    /// The table of sets.
    Table,
    /// The state of one set.
    Set,
    /// A leaf: nothing of this crate is called while it is held, so that it may be taken below any other.
    Leaf,
}

/// A spin lock; under loom, loom's model of a lock.
pub(crate) struct Mutex<T> {
    inner: Inner<T>,
    rank: Rank,
}

/// The lock, held.
pub(crate) struct Guard<'a, T> {
    inner: InnerGuard<'a, T>,
    /// Given back after the lock itself is.
    _held: watch::Held,
}

impl<T> Mutex<T> {
    /// A lock that is a leaf.
    pub(crate) fn new(value: T) -> Self {
        Self::ranked(Rank::Leaf, value)
    }

    /// A lock of this rank.
    pub(crate) fn ranked(rank: Rank, value: T) -> Self {
        Self {
            inner: Inner::new(value),
            rank,
        }
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        let held = watch::Held::take(self.rank);
        Guard {
            inner: acquire(&self.inner),
            _held: held,
        }
    }
}

#[cfg(not(loom))]
fn acquire<T>(inner: &Inner<T>) -> InnerGuard<'_, T> {
    inner.lock()
}

#[cfg(loom)]
fn acquire<T>(inner: &Inner<T>) -> InnerGuard<'_, T> {
    inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What one CPU has at a time, perhaps across a wait. Nobody spins for it: who comes meanwhile is told so.
pub(crate) struct Claim<T>(Inner<T>);

/// The claim, taken.
pub(crate) type Claimed<'a, T> = InnerGuard<'a, T>;

impl<T> Claim<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Inner::new(value))
    }

    #[cfg(not(loom))]
    pub(crate) fn take(&self) -> Option<Claimed<'_, T>> {
        self.0.try_lock()
    }

    #[cfg(loom)]
    pub(crate) fn take(&self) -> Option<Claimed<'_, T>> {
        self.0.try_lock().ok()
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// Called before anything is handed to the platform, which may wait: no lock with a rank is held.
pub(crate) fn assert_unlocked() {
    watch::assert_unlocked();
}

/// Outside tests nobody watches, and it costs nothing. (Under loom all threads are one to the operating system.)
#[cfg(not(all(test, not(loom))))]
mod watch {
    pub(super) struct Held;

    impl Held {
        pub(super) fn take(_: super::Rank) -> Self {
            Self
        }
    }

    pub(super) fn assert_unlocked() {}
}

#[cfg(all(test, not(loom)))]
mod watch {
    use super::Rank;
    use std::cell::Cell;
    use std::thread;

    std::thread_local! {
        static HELD: Cell<Option<Rank>> = const { Cell::new(None) };
    }

    pub(super) struct Held(Rank);

    impl Held {
        pub(super) fn take(rank: Rank) -> Self {
            if rank != Rank::Leaf {
                let held = HELD.replace(Some(rank));
                assert_eq!(held, None, "a {rank:?} lock is taken while another is held");
            }
            Self(rank)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            if self.0 != Rank::Leaf {
                HELD.set(None);
            }
        }
    }

    pub(super) fn assert_unlocked() {
        // A test that fails already says more than this would.
        if !thread::panicking() {
            assert_eq!(HELD.get(), None, "the platform works while a lock is held");
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn p24_locks_with_a_rank_are_held_alone() {
        let (set, leaf) = (Mutex::ranked(Rank::Set, 1), Mutex::new(2));
        let sum = *set.lock() + *leaf.lock();
        assert_eq!(sum, 3);
        {
            let _set = set.lock();
            let _leaf = leaf.lock();
        }
        assert_unlocked();
    }

    #[test]
    #[should_panic(expected = "while another is held")]
    fn p24_a_second_lock_is_noticed() {
        let (set, table) = (Mutex::ranked(Rank::Set, ()), Mutex::ranked(Rank::Table, ()));
        let _set = set.lock();
        let _table = table.lock();
    }

    #[test]
    #[should_panic(expected = "while a lock is held")]
    fn p24_a_lock_across_the_platform_is_noticed() {
        let cohort = Mutex::ranked(Rank::Cohort, ());
        let _cohort = cohort.lock();
        assert_unlocked();
    }
}

/// What a CPU does between two looks at something that another one changes.
pub(crate) fn relax() {
    #[cfg(not(any(loom, test)))]
    core::hint::spin_loop();
    // A thread is not a CPU: who is waited for may need this one.
    #[cfg(all(test, not(loom)))]
    std::thread::yield_now();
    #[cfg(loom)]
    loom::thread::yield_now();
}
