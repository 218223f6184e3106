//! How vCPUs travel between the boot CPU and those that run them.

use crate::cpu::{CpuIndex, MAX_CPUS, lapic};
use spin::Mutex;

/// What lies in a slot.
enum Letter<T> {
    Empty,
    ToRun(T),
    Running,
    Done(T),
}

/// A slot for each CPU.
pub(super) struct Mailboxes<T>([Mutex<Letter<T>>; MAX_CPUS]);

impl<T> Default for Mailboxes<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Mailboxes<T> {
    /// All empty.
    #[must_use]
    pub(super) const fn new() -> Self {
        Self([const { Mutex::new(Letter::Empty) }; MAX_CPUS])
    }

    /// Hands `letter` to `cpu` and wakes it. Gives it back where the CPU is busy.
    ///
    /// # Errors
    /// The CPU has something already.
    pub(super) fn send(&self, cpu: CpuIndex, letter: T) -> Result<(), T> {
        let Some(slot) = self.0.get(cpu) else {
            return Err(letter);
        };
        {
            let mut place = slot.lock();
            if !matches!(*place, Letter::Empty) {
                return Err(letter);
            }
            *place = Letter::ToRun(letter);
        }
        lapic::kick(cpu);
        Ok(())
    }

    /// What `cpu` is to run, once.
    pub(super) fn take(&self, cpu: CpuIndex) -> Option<T> {
        let mut place = self.0.get(cpu)?.lock();
        match core::mem::replace(&mut *place, Letter::Running) {
            Letter::ToRun(letter) => Some(letter),
            other => {
                *place = other;
                None
            }
        }
    }

    /// Whether nothing waits for `cpu` any more.
    pub(super) fn taken(&self, cpu: CpuIndex) -> bool {
        self.0
            .get(cpu)
            .is_none_or(|slot| !matches!(*slot.lock(), Letter::ToRun(_)))
    }

    /// Takes back what `cpu` has not begun with.
    pub(super) fn recall(&self, cpu: CpuIndex) -> Option<T> {
        let mut place = self.0.get(cpu)?.lock();
        match core::mem::replace(&mut *place, Letter::Empty) {
            Letter::ToRun(letter) => Some(letter),
            other => {
                *place = other;
                None
            }
        }
    }

    /// Hands back what `cpu` has run.
    pub(super) fn finish(&self, cpu: CpuIndex, letter: T) {
        if let Some(slot) = self.0.get(cpu) {
            *slot.lock() = Letter::Done(letter);
        }
    }

    /// What `cpu` has finished, once.
    pub(super) fn collect(&self, cpu: CpuIndex) -> Option<T> {
        let mut place = self.0.get(cpu)?.lock();
        match core::mem::replace(&mut *place, Letter::Empty) {
            Letter::Done(letter) => Some(letter),
            other => {
                *place = other;
                None
            }
        }
    }
}
