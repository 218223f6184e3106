//! Another life of a guest, begun on its own CPU: its cohorts rest, its memory is wiped and loaded again, its processor and its virtual
//! devices are made new, and the cohorts come back to it.
//!
//! The waits of resets pass on the guest's CPU, so that the boot CPU and the other guests go on meanwhile. Domain and mappings stay: they
//! name the same memory.

use super::Partition;
use super::prepare::Ready;
use crate::assign::{NotAnew, anew};
use crate::console;
use crate::cpu::clock;
use crate::survey::Table;
use crate::virt::svm::Features;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use cohort_abi::end::EndReason;
use cohort_abi::report::{Record, Restart};
use vfio_core::cohort::CohortId;

/// What a guest is to be started again with, by the boot CPU.
pub(super) struct Again {
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

/// The partition as it is to be run: itself, or a new one where it is to start again. All of its CPUs have left it.
///
/// # Errors
/// It cannot be started again. It is given back as it ended, with the reason, and with what it still holds.
pub(super) fn begin(mut old: Box<Partition>) -> Result<Box<Partition>, Box<Partition>> {
    let Some(again) = old.again.take() else {
        return Ok(old);
    };
    let mut leases = core::mem::take(&mut old.backend.leases);
    // What devices reach is wiped whole when the new partition is built; the rest only as far as it is touched again.
    let lazy = again.ready.guest.devices.is_empty();
    let built = anew(&mut leases, || {
        if lazy {
            old.wipe();
        }
        Partition::build(&again.ready, again.table, again.features, old.entry_ticks)
    });
    match built {
        Ok(mut new) => {
            new.backend.leases = leases;
            new.restarts = again.number;
            new.first_start = Some(old.start_ticks());
            let restart = Restart {
                guest: old.name.clone(),
                number: again.number,
                of: again.of,
                reason: again.reason,
                how: again.how,
                interrupts: old.interrupts(),
                ticks: clock::ticks().saturating_sub(again.since),
            };
            log::info!("{restart}");
            console::report(&Record::Restart(restart));
            Ok(new)
        }
        Err(error) => {
            old.backend.leases = leases;
            old.failed = Some(Failed {
                cohort: NotAnew::cohort(&error),
                why: error.to_string(),
            });
            Err(old)
        }
    }
}
