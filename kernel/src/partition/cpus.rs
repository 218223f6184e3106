//! The CPUs that run a guest's vCPUs, and the wish that they stop.

use crate::cpu::{CpuIndex, lapic};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

/// The CPUs of one guest.
#[derive(Debug)]
pub(super) struct Cpus {
    /// By number of the vCPU.
    by_vcpu: Vec<CpuIndex>,
    stop: AtomicBool,
}

impl Cpus {
    pub(super) fn new(by_vcpu: Vec<CpuIndex>) -> Self {
        Self {
            by_vcpu,
            stop: AtomicBool::new(false),
        }
    }

    /// How many.
    pub(super) fn count(&self) -> u8 {
        u8::try_from(self.by_vcpu.len()).unwrap_or(u8::MAX)
    }

    /// The CPU of the vCPU `id`.
    pub(super) fn of(&self, id: u8) -> Option<CpuIndex> {
        self.by_vcpu.get(usize::from(id)).copied()
    }

    /// Makes the vCPU `id` leave the guest, or wake up, and look.
    pub(super) fn kick(&self, id: u8) {
        if let Some(cpu) = self.of(id) {
            lapic::kick(cpu);
        }
    }

    /// The same for a set, a bit each.
    pub(super) fn kick_all(&self, set: u64) {
        let mut left = set;
        while left != 0 {
            self.kick(left.trailing_zeros() as u8);
            left &= left - 1;
        }
    }

    /// Has all vCPUs end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        (0..self.count()).for_each(|id| self.kick(id));
    }

    /// Whether they are to end.
    pub(super) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}
