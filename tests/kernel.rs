//! The hypervisor's own tests, on bare metal: one boot, one line for each test that its console names.
//!
//! The same as `cargo test -p kernel --target x86_64-unknown-none`, but with names that can be filtered and the
//! console's tail on failure.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use boot::config::{Plan, Source};
use boot::session::{Options, Outcome, Session};
use cohort_abi::exit::Outcome as Exit;
use libtest_mimic::{Failed, Trial};

/// Longest time for all in-kernel tests together.
const TIMEOUT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    boot::qemu::process::end_on_signals();
    let (mut trials, whole) = match boot_tests() {
        Ok(outcome) => (trials(&outcome), whole(&outcome)),
        Err(error) => (Vec::new(), Err(Failed::from(format!("{error:#}")))),
    };
    trials.push(Trial::test("kernel::the_machine_ends_with_success", move || {
        whole
    }));
    machine_tests::run(trials).exit_code()
}

fn boot_tests() -> anyhow::Result<Outcome> {
    boot::tools::rust_target()?;
    let verb = ["test", "--no-run"];
    let built = boot::cargo::build(
        "Building the in-kernel tests",
        &verb,
        &["-p", "kernel", "--test", "inkernel"],
    )?;
    let (_, elf) = built
        .into_iter()
        .find(|(name, _)| name == "inkernel")
        .context("cargo built no `inkernel`")?;
    let plan = Plan::load(Source::demo())?;
    Session::bare(&plan, &elf)?.run(
        &Options {
            icount: false,
            timeout: TIMEOUT,
        },
        &mut |_| {},
    )
}

/// One trial for each line `test NAME ... ok` or `... FAILED`.
fn trials(outcome: &Outcome) -> Vec<Trial> {
    let mut trials = Vec::new();
    for line in &outcome.console {
        let Some((name, verdict)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
        else {
            continue;
        };
        let result = if verdict.trim() == "ok" {
            Ok(())
        } else {
            Err(Failed::from(tail(outcome)))
        };
        trials.push(Trial::test(format!("kernel::{name}"), move || result));
    }
    trials
}

/// The machine ends in order, after at least one test.
fn whole(outcome: &Outcome) -> Result<(), Failed> {
    if trials(outcome).is_empty() {
        return Err(format!("no test ran\n{}", tail(outcome)).into());
    }
    match outcome.ended.outcome() {
        Some(Exit::Success) => Ok(()),
        other => Err(format!("it ended with {other:?} ({:?})\n{}", outcome.ended, tail(outcome)).into()),
    }
}

fn tail(outcome: &Outcome) -> String {
    let lines = outcome
        .console
        .iter()
        .skip(outcome.console.len().saturating_sub(60));
    lines.map(String::as_str).collect::<Vec<_>>().join("\n")
}
