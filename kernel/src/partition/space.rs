//! A guest's address space: its nested page tables, which all its processors walk, and who must hear of a change.

use super::backing::Backing;
use super::cpus::Cpus;
use crate::cpu::clock;
use crate::guest::GuestMemory;
use crate::guest::layout::MemoryRegion;
use crate::virt::NestedFault;
use crate::virt::gate::Gate;
use crate::virt::nested::MapError;
use alloc::sync::Arc;
use spin::Mutex;

/// How long a vCPU may take to leave the guest when it is kicked, in microseconds. One that takes longer is not on its way.
const LEAVE_US: u64 = 1_000_000;
/// A vCPU that has not left is kicked again after this many microseconds.
const KICK_AGAIN_US: u64 = 10_000;

/// The address space of one guest.
pub(super) struct Space {
    backing: Mutex<Backing>,
    pub(super) gate: Gate,
    cpus: Arc<Cpus>,
    root: u64,
}

impl Space {
    pub(super) fn new(backing: Backing, cpus: Arc<Cpus>) -> Self {
        let root = backing.root();
        Self {
            backing: Mutex::new(backing),
            gate: Gate::new(cpus.count()),
            cpus,
            root,
        }
    }

    /// Host physical address of the top table.
    pub(super) const fn root(&self) -> u64 {
        self.root
    }

    /// Brings in the RAM that `fault` wants, if it does. Says whether that is so.
    ///
    /// # Errors
    /// No memory for tables; the guest cannot go on.
    pub(super) fn bring_in(&self, memory: &GuestMemory, fault: NestedFault) -> Result<bool, MapError> {
        Backing::wipe_for(memory, fault).map_or(Ok(false), |piece| {
            self.backing.lock().bring_in(memory, fault, piece).map(|()| true)
        })
    }

    /// Maps `region`, which nothing is mapped in.
    pub(super) fn map(&self, region: MemoryRegion) {
        let mut backing = self.backing.lock();
        if let Err(error) = backing.map_region(region) {
            log::warn!("registers at {} are not mapped and trap: {error}", region.gpa);
            // Of what it took back, processors may remember the way there.
            self.flush(&mut backing);
        }
    }

    /// Takes `region` back. When this returns, no vCPU reaches it, nor has what it did on the way; one that cannot be made to leave the
    /// guest ends it.
    pub(super) fn unmap(&self, region: MemoryRegion) {
        let mut backing = self.backing.lock();
        if let Err(error) = backing.unmap_region(region) {
            log::error!("registers at {} stay mapped: {error}", region.gpa);
        }
        self.flush(&mut backing);
    }

    /// Waits until no processor remembers what was taken out, and gives back the frames of tables that were.
    fn flush(&self, backing: &mut Backing) {
        let start = clock::ticks();
        let mut kicked: Option<u64> = None;
        let kick = |vcpu| {
            let now = clock::ticks();
            if kicked.is_none_or(|last| now - last > clock::micros(KICK_AGAIN_US)) {
                self.cpus.kick(vcpu);
                kicked = Some(now);
            }
        };
        let patient = || clock::ticks() - start < clock::micros(LEAVE_US);
        match self.gate.flush(kick, patient) {
            Ok(()) => backing.release(),
            // Its CPU does not answer, so nothing that it has can be closed; the run ends with that.
            Err(stuck) => {
                log::error!("{stuck}; the guest is stopped");
                self.cpus.stop();
            }
        }
    }
}
