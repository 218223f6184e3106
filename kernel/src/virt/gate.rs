//! Who is in the guest, and what of its nested tables each processor may remember.
//!
//! A vCPU passes the gate on its way in and out. Who takes something out of the tables calls [`Gate::flush`] after it: when that
//! returns, no vCPU is in the guest that entered before, and each flushes before it enters again. So nothing that the guest does
//! from then on goes through what was taken out, and frames of emptied tables can be used for something else.
//!
//! The two sides are two stores and two loads that must not both miss: a vCPU says that it is in and then looks at the generation,
//! the other raises the generation and then looks who is in, with a full fence in between on both sides.

use crate::sync::{AtomicU64, Ordering, fence, spin_loop};
use alloc::boxed::Box;

/// What a processor may remember: nothing newer than this generation of the tables was flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(u64);

/// The gate of one guest.
#[derive(Debug)]
pub struct Gate {
    /// How often something was taken out, from 1 on.
    generation: AtomicU64,
    /// For each vCPU, the generation with which it is in the guest; 0 where it is not.
    inside: Box<[AtomicU64]>,
}

/// A vCPU did not leave the guest in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vCPU {vcpu} does not leave the guest")]
pub struct Stuck {
    /// Which.
    pub vcpu: u8,
}

impl Gate {
    /// For `vcpus` vCPUs, none of them in the guest.
    #[must_use]
    pub fn new(vcpus: u8) -> Self {
        Self {
            generation: AtomicU64::new(1),
            inside: (0..vcpus).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// A processor that remembers anything.
    #[must_use]
    pub const fn unflushed() -> Seen {
        Seen(0)
    }

    /// The vCPU `id` goes in. Says whether its processor must be flushed first; it counts as flushed then.
    #[must_use]
    pub fn enter(&self, id: u8, seen: &mut Seen) -> bool {
        let Some(inside) = self.inside.get(usize::from(id)) else {
            return true;
        };
        let mut now = self.generation.load(Ordering::Acquire);
        loop {
            inside.store(now, Ordering::Release);
            fence(Ordering::SeqCst);
            let newer = self.generation.load(Ordering::Acquire);
            if newer == now {
                break;
            }
            now = newer;
        }
        let stale = seen.0 != now;
        seen.0 = now;
        stale
    }

    /// The vCPU `id` is out.
    pub fn leave(&self, id: u8) {
        if let Some(inside) = self.inside.get(usize::from(id)) {
            inside.store(0, Ordering::Release);
        }
    }

    /// Whether the vCPU `id` is in the guest with what it remembers from before `generation`.
    fn remembers(&self, id: u8, generation: u64) -> bool {
        let inside = self.inside.get(usize::from(id));
        inside.is_some_and(|inside| (1..generation).contains(&inside.load(Ordering::Acquire)))
    }

    /// Something was taken out of the tables: waits until nobody in the guest remembers it. `kick` makes a vCPU leave, and is called
    /// again as long as it does not; `patient` says whether to wait on. The caller is outside.
    ///
    /// # Errors
    /// The first vCPU that has not left when the patience is over; the others may not have either.
    pub fn flush(&self, mut kick: impl FnMut(u8), mut patient: impl FnMut() -> bool) -> Result<(), Stuck> {
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        fence(Ordering::SeqCst);
        for vcpu in 0..self.inside.len() as u8 {
            while self.remembers(vcpu, generation) {
                kick(vcpu);
                spin_loop();
                if self.remembers(vcpu, generation) && !patient() {
                    return Err(Stuck { vcpu });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn who_was_outside_flushes_once_before_it_goes_in() {
        let gate = Gate::new(2);
        let mut seen = Gate::unflushed();
        assert!(gate.enter(0, &mut seen));
        gate.leave(0);
        assert!(!gate.enter(0, &mut seen), "nothing was taken out");
        gate.leave(0);
        gate.flush(|_| panic!("nobody is in"), || false).unwrap();
        gate.flush(|_| panic!("nobody is in"), || false).unwrap();
        assert!(gate.enter(0, &mut seen));
    }

    #[test]
    fn who_is_in_is_kicked_until_it_leaves_and_those_who_entered_since_are_not() {
        let gate = Gate::new(3);
        let (mut first, mut second) = (Gate::unflushed(), Gate::unflushed());
        assert!(gate.enter(1, &mut first) && gate.enter(2, &mut second));
        let mut kicks = Vec::new();
        let flushed = gate.flush(
            |vcpu| {
                kicks.push(vcpu);
                // The first kick of vCPU 1 is slow; it comes back at once.
                if vcpu == 2 || kicks.len() == 2 {
                    gate.leave(vcpu);
                    if vcpu == 1 {
                        assert!(gate.enter(1, &mut first));
                    }
                }
            },
            || true,
        );
        assert_eq!((flushed, kicks), (Ok(()), vec![1, 1, 2]));
    }

    #[test]
    fn who_stays_in_is_named() {
        let gate = Gate::new(2);
        assert!(gate.enter(1, &mut Gate::unflushed()));
        let mut patience = 3;
        let flushed = gate.flush(
            |_| {},
            || {
                patience -= 1;
                patience > 0
            },
        );
        assert_eq!(flushed, Err(Stuck { vcpu: 1 }));
    }

    #[test]
    fn a_vcpu_that_is_not_there_always_flushes() {
        let gate = Gate::new(1);
        assert!(gate.enter(9, &mut Gate::unflushed()));
        gate.leave(9);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// A vCPU that goes in twice looks, while it is in, at an entry that the other side takes out and then reuses. It must never see
    /// it reused while it remembers it.
    #[test]
    fn nobody_is_in_with_what_was_taken_out() {
        loom::model(|| {
            let gate = Arc::new(Gate::new(1));
            let entry = Arc::new(AtomicU64::new(1));
            let reused = Arc::new(AtomicU64::new(0));
            let vcpu = {
                let (gate, entry, reused) = (gate.clone(), entry.clone(), reused.clone());
                thread::spawn(move || {
                    let (mut seen, mut remembered) = (Gate::unflushed(), 0);
                    for _ in 0..2 {
                        if gate.enter(0, &mut seen) {
                            remembered = 0;
                        }
                        if remembered == 0 {
                            remembered = entry.load(Ordering::Relaxed);
                        }
                        if remembered == 1 {
                            assert_eq!(reused.load(Ordering::Relaxed), 0);
                        }
                        gate.leave(0);
                    }
                })
            };
            entry.store(0, Ordering::Relaxed);
            gate.flush(|_| thread::yield_now(), || true).unwrap();
            reused.store(1, Ordering::Relaxed);
            vcpu.join().unwrap();
        });
    }
}
