//! The machine tests: the demo, guests that misbehave, and everything that must be refused.
//!
//! `cargo test --test machine` runs them, `cargo test --test machine demo` those with `demo` in their name.

mod amdvi;
mod demo;
mod faulty;
mod host;
mod linux;
mod on_fault;
mod platform;
mod refusal;
mod reset;
mod restart;
mod several;
mod tool;
mod vtd;

use std::process::ExitCode;

use libtest_mimic::Trial;

fn main() -> ExitCode {
    let mut trials: Vec<Trial> = Vec::new();
    trials.extend(host::trials());
    trials.extend(tool::trials());
    trials.extend(demo::trials());
    trials.extend(amdvi::trials());
    trials.extend(faulty::trials());
    trials.extend(refusal::trials());
    trials.extend(reset::trials());
    trials.extend(restart::trials());
    trials.extend(several::trials());
    trials.extend(platform::trials());
    trials.extend(vtd::trials());
    trials.extend(on_fault::trials());
    trials.extend(linux::trials());
    machine_tests::run(trials).exit_code()
}
