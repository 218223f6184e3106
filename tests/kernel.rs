//! The hypervisor's own tests, on bare metal: one boot, one line for each test that its console names.
//!
//! The same as `cargo test -p kernel --target x86_64-unknown-none --test inkernel`, but with names that can be filtered and the
//! console's tail on failure.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use boot::config::{Plan, Source};
use boot::session::{Options, Outcome, Session};
use cohort_abi::exit::Outcome as Exit;
use libtest_mimic::{Failed, Trial};

/// Longest time for all in-kernel tests together.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Deaths that the tests' image can be asked for with `die=`: each must print where, and end the machine with the
/// status of a panic.
const DEATHS: [&str; 5] = ["panic", "overflow", "write-text", "execute-data", "null"];

fn main() -> ExitCode {
    boot::qemu::process::end_on_signals();
    let built = build();
    let failed = |error: &anyhow::Error| (Vec::new(), Err(Failed::from(format!("{error:#}"))));
    let (mut trials, whole) = match built.as_ref().map(|elf| run(elf, "")) {
        Ok(Ok(outcome)) => (trials(&outcome), whole(&outcome)),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(error),
    };
    trials.push(Trial::test("kernel::the_machine_ends_with_success", move || {
        whole
    }));
    if let Ok(elf) = built {
        trials.extend(DEATHS.map(|how| {
            let elf = elf.clone();
            Trial::test(
                format!("kernel::dies_in_order::{}", how.replace('-', "_")),
                move || dies(&elf, how),
            )
        }));
    }
    machine_tests::run(trials).exit_code()
}

fn build() -> anyhow::Result<PathBuf> {
    boot::tools::rust_target()?;
    let verb = ["test", "--no-run"];
    let built = boot::cargo::build(
        "Building the in-kernel tests",
        &verb,
        &["-p", "kernel", "--test", "inkernel"],
    )?;
    let found = built.into_iter().find(|(name, _)| name == "inkernel");
    Ok(found.context("cargo built no `inkernel`")?.1)
}

fn run(elf: &Path, cmdline: &str) -> anyhow::Result<Outcome> {
    let mut session = Session::bare(&Plan::load(Source::demo())?, elf)?;
    session.cmdline = cmdline.into();
    session.run(
        &Options {
            icount: false,
            timeout: TIMEOUT,
        },
        &mut |_| {},
    )
}

fn dies(elf: &Path, how: &str) -> Result<(), Failed> {
    let outcome = run(elf, &format!("die={how}"))?;
    let says_where = outcome
        .console
        .iter()
        .any(|line| line.trim_start().starts_with("at 0x"))
        || outcome.console.iter().any(|line| line.contains(".rs:"));
    match outcome.ended.outcome() {
        Some(Exit::Panic) if says_where => Ok(()),
        other => Err(format!(
            "it ended with {other:?}, says where: {says_where}\n{}",
            tail(&outcome)
        )
        .into()),
    }
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
