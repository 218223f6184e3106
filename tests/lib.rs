//! What the machine tests share: booting a configuration, changing it on the way, and looking at what came of it.
//!
//! [`launch`] is one run, [`Change`]s break it, [`expect`] says what must hold and shows the console's tail when
//! it does not, [`gdb`] reaches into a machine before its hypervisor starts, [`bounded`] runs other programs.

pub mod bounded;
pub mod expect;
pub mod gdb;
pub mod launch;

use libtest_mimic::{Arguments, Conclusion, Trial};

pub use launch::{Change, Run};

/// Machines that run side by side: each has threads of its own for its CPUs.
const PARALLEL: usize = 2;

/// Runs `trials` as the command line asks for, at most two at once.
pub fn run(trials: Vec<Trial>) -> Conclusion {
    boot::qemu::process::end_on_signals();
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(PARALLEL).min(PARALLEL));
    libtest_mimic::run(&arguments, trials)
}
