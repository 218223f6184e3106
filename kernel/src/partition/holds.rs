//! What a guest holds while it lives, and how its vCPUs go out to their CPUs and come back.

use super::anew::Failed;
use super::guest::Ending;
use super::prepare::Ready;
use super::vcpu::{Parcel, Vcpu};
use super::{MAILBOXES, Partition};
use crate::assign::MachineAssigner;
use crate::cpu::clock;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use vfio_core::Requester;
use vfio_core::lease::Domain;

/// How long a guest may take to leave after it was asked to, in milliseconds: longer than the reset of a function, for which its other vCPUs
/// wait if they need the function too.
const STOP_MS: u64 = 10_000;

/// What a guest holds while it lives, beside what its partition does.
pub(super) struct Holds {
    pub(super) ready: Arc<Ready>,
    pub(super) cpus: Vec<usize>,
    pub(super) partition: Arc<Partition>,
    /// Its vCPUs that have ended.
    pub(super) ended: Vec<Vcpu>,
    /// When the first of them did, or was asked to.
    pub(super) ending_since: Option<u64>,
    /// How often it was started again.
    pub(super) restarts: u32,
    /// Ticks from the hypervisor's entry to the first instruction of its first life, once that is over.
    pub(super) first_start: Option<u64>,
    pub(super) domain: Option<Domain<'static, MachineAssigner>>,
    pub(super) sets: u32,
    /// Who speaks for its devices, and how often these had been blocked before it had them.
    pub(super) requesters: Vec<Requester>,
    pub(super) blocked_before: u64,
    pub(super) done: bool,
}

/// What the CPUs of a guest have given back.
pub(super) enum Collected {
    /// Not all that is out.
    Nothing,
    /// All its vCPUs.
    All,
    /// The guest cannot be made anew.
    Failed(Failed),
}

impl Holds {
    pub(super) fn name(&self) -> &str {
        &self.ready.guest.name
    }

    /// Hands out the vCPUs of a life.
    pub(super) fn send(&mut self, vcpus: Vec<Vcpu>, failures: &mut Vec<String>) {
        for (cpu, vcpu) in self.cpus.iter().zip(vcpus) {
            // A CPU that does not take its vCPU would be waited for without end.
            if let Err(Parcel::Vcpu(vcpu)) = MAILBOXES.send(*cpu, Parcel::Vcpu(Box::new(vcpu))) {
                failures.push(alloc::format!("CPU {cpu} is busy"));
                self.ended.push(*vcpu);
                self.partition.cpus.stop();
            }
        }
    }

    /// Takes in what its CPUs have given back: vCPUs that have ended, or another life, whose vCPUs are handed out at once. `late` says
    /// that the deadline has passed.
    pub(super) fn collect(&mut self, now: u64, late: bool, failures: &mut Vec<String>) -> Collected {
        for cpu in self.cpus.clone() {
            match MAILBOXES.collect(cpu) {
                None | Some(Parcel::Again(_)) => {}
                Some(Parcel::Vcpu(vcpu)) => {
                    self.ended.push(*vcpu);
                    self.ending_since.get_or_insert(now);
                }
                Some(Parcel::Anew(made)) => match *made {
                    Err(failed) => return Collected::Failed(failed),
                    Ok((partition, vcpus)) => {
                        self.partition = partition;
                        self.restarts += 1;
                        if late {
                            self.partition.end(Ending::Deadline);
                        }
                        self.send(vcpus, failures);
                    }
                },
            }
        }
        if self.ended.len() == self.cpus.len() {
            Collected::All
        } else {
            Collected::Nothing
        }
    }

    /// Whether some of its vCPUs have not ended, long after they were to.
    pub(super) fn is_stuck(&self, now: u64) -> bool {
        !self.done
            && self
                .ending_since
                .is_some_and(|since| now - since > STOP_MS * clock::khz())
    }

    /// Interrupts of its devices in the life that has ended.
    pub(super) fn interrupts(&self) -> u64 {
        self.ended.iter().map(|vcpu| vcpu.platform.interrupts()).sum()
    }

    /// Exits of all vCPUs in the life that has ended, by reason.
    pub(super) fn exits(&self) -> Vec<(String, u64)> {
        let mut sums = BTreeMap::new();
        for (kind, count) in self.ended.iter().flat_map(|vcpu| vcpu.platform.exits()) {
            *sums.entry(kind).or_insert(0) += count;
        }
        let named = sums
            .into_iter()
            .map(|(kind, count)| (String::from(kind.name()), count));
        named.collect()
    }
}
