//! Another life of a guest, begun on the CPU of its first vCPU: its cohorts rest, its memory is wiped and loaded again, its processors and
//! its virtual devices are made new, and the cohorts come back to it. The boot CPU then hands out the new vCPUs.
//!
//! The waits of resets pass on the guest's CPU, so that the boot CPU and the other guests go on meanwhile. Domain and mappings stay: they
//! name the same memory.

use super::Partition;
use super::prepare::Ready;
use super::vcpu::Vcpu;
use crate::assign::{NotAnew, anew};
use crate::console;
use crate::cpu::clock;
use crate::survey::Table;
use crate::virt::svm::Features;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use cohort_abi::end::EndReason;
use cohort_abi::report::{Record, Restart};
use vfio_core::cohort::CohortId;

/// What a guest is to be started again with, by the boot CPU.
pub(super) struct Again {
    /// Its life that has ended. All CPUs have left it, and nothing interrupts for it.
    pub(super) old: Arc<Partition>,
    /// Interrupts of its devices in that life.
    pub(super) interrupts: u64,
    /// The guest.
    pub(super) ready: Arc<Ready>,
    /// Where its cohorts are.
    pub(super) table: Option<&'static Table>,
    /// Of the processor.
    pub(super) features: Features,
    /// Which restart this is, and of how many.
    pub(super) number: u32,
    /// How many there may be.
    pub(super) of: u32,
    /// How it ended, for programs and for people.
    pub(super) reason: EndReason,
    /// The same for people.
    pub(super) how: String,
    /// When that was.
    pub(super) since: u64,
}

/// Why a guest that was to be started again was not.
pub(super) struct Failed {
    /// For people.
    pub(super) why: String,
    /// The cohort that stood in the way.
    pub(super) cohort: Option<CohortId>,
}

/// A life that can begin: the partition, and its vCPUs in order.
pub(super) type Begun = (Arc<Partition>, Vec<Vcpu>);

/// Makes the guest anew.
///
/// # Errors
/// It cannot be started again. Its former life still has what it held.
pub(super) fn begin(again: Again) -> Result<Begun, Failed> {
    let old = &again.old;
    let mut leases = old.take_leases();
    // What devices reach is wiped whole when the new partition is built; the rest only as far as it is touched again.
    let lazy = again.ready.guest.devices.is_empty();
    let built = anew(&mut leases, || {
        if lazy {
            old.wipe();
        }
        Partition::build(&again.ready, again.table, again.features, old.entry_ticks)
    });
    match built {
        Ok((new, vcpus)) => {
            new.hold(leases);
            let restart = Restart {
                guest: old.name.clone(),
                number: again.number,
                of: again.of,
                reason: again.reason,
                how: again.how,
                interrupts: again.interrupts,
                ticks: clock::ticks().saturating_sub(again.since),
            };
            log::info!("{restart}");
            console::report(&Record::Restart(restart));
            Ok((new, vcpus))
        }
        Err(error) => {
            old.assigned.lock().backend.leases = leases;
            Err(Failed {
                cohort: NotAnew::cohort(&error),
                why: error.to_string(),
            })
        }
    }
}
