//! What interrupts of a guest's devices stand for: host vector to vCPU and guest vector.
//!
//! Written under the lock of the guest's devices, read by every CPU that one arrives at.

use core::sync::atomic::{AtomicU32, Ordering};

const USED: u32 = 1 << 31;

/// By host vector.
#[derive(Debug)]
pub(super) struct Routes([AtomicU32; 256]);

impl Routes {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; 256])
    }

    /// From now on `host` stands for `vector` of the vCPU `apic`, or for nothing.
    pub(super) fn set(&self, host: u8, to: Option<(u8, u8)>) {
        let value = to.map_or(0, |(apic, vector)| {
            USED | u32::from(apic) << 8 | u32::from(vector)
        });
        self.0[usize::from(host)].store(value, Ordering::Release);
    }

    /// The vCPU and its vector.
    pub(super) fn get(&self, host: u8) -> Option<(u8, u8)> {
        let value = self.0[usize::from(host)].load(Ordering::Acquire);
        (value & USED != 0).then_some(((value >> 8) as u8, value as u8))
    }
}
