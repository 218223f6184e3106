//! The hypervisor's own tests, on bare metal: one boot, one line for each test that its console names.
//!
//! Runs `cargo test -p kernel --target x86_64-unknown-none`, the command of docs/testing.md, and so tests that it works;
//! but with names that can be filtered and the console's tail on failure.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output};
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

/// The command: the profile is the one in which the hypervisor itself is built, so that both share what is built.
const COMMAND: [&str; 7] = [
    "test",
    "-p",
    "kernel",
    "--target",
    boot::cargo::TARGET,
    "--profile",
    "bare",
];

fn main() -> ExitCode {
    boot::qemu::process::end_on_signals();
    let built = build();
    let (mut trials, whole) = match built.as_ref().map(|_| command()) {
        Ok(Ok(output)) => (trials(&output), whole(&output)),
        Ok(Err(error)) => (Vec::new(), Err(Failed::from(format!("{error:#}")))),
        Err(error) => (Vec::new(), Err(Failed::from(format!("{error:#}")))),
    };
    trials.push(Trial::test("kernel::the_command_ends_with_success", move || {
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

/// Builds what the command runs; gives the image of the in-kernel tests.
fn build() -> anyhow::Result<PathBuf> {
    boot::tools::rust_target()?;
    let verb = ["test", "--no-run"];
    let built = boot::cargo::build("Building the in-kernel tests", &verb, &["-p", "kernel"])?;
    let found = built.into_iter().find(|(name, _)| name == "inkernel");
    Ok(found.context("cargo built no `inkernel`")?.1)
}

/// Runs the command, machines and all. The runner of `.cargo/config.toml` bounds each machine.
fn command() -> anyhow::Result<Output> {
    let mut cargo = boot::cargo::command();
    cargo.args(COMMAND).args(["--locked", "--target-dir"]);
    cargo.arg(boot::cargo::target_folder("bare"));
    // The runner is a cargo too: it builds where this test was built.
    cargo.env("CARGO_TARGET_DIR", boot::cargo::target_folder(""));
    cargo.output().context("cannot start `cargo`")
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
fn trials(output: &Output) -> Vec<Trial> {
    let mut trials = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((name, verdict)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
        else {
            continue;
        };
        let result = if verdict.trim() == "ok" {
            Ok(())
        } else {
            Err(Failed::from(said(output)))
        };
        trials.push(Trial::test(format!("kernel::{name}"), move || result));
    }
    trials
}

/// Both images ran: the library's, which has no test here and says so, and the in-kernel tests; and all ended in order.
fn whole(output: &Output) -> Result<(), Failed> {
    let said_where = String::from_utf8_lossy(&output.stdout).contains("unit tests run on the host");
    match (trials(output).is_empty(), said_where, output.status.success()) {
        (false, true, true) => Ok(()),
        (true, ..) => Err(format!("no test ran\n{}", said(output)).into()),
        (_, false, _) => Err(format!("the library's own image did not run\n{}", said(output)).into()),
        (.., false) => Err(format!("it ended with {}\n{}", output.status, said(output)).into()),
    }
}

/// The last lines of the command's output, console and errors.
fn said(output: &Output) -> String {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let last = text.iter().flat_map(|text| {
        let lines: Vec<&str> = text.lines().collect();
        lines
            .into_iter()
            .rev()
            .take(60)
            .rev()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    last.collect::<Vec<_>>().join("\n")
}

fn tail(outcome: &Outcome) -> String {
    let lines = outcome
        .console
        .iter()
        .skip(outcome.console.len().saturating_sub(60));
    lines.map(String::as_str).collect::<Vec<_>>().join("\n")
}
