//! A stock Linux kernel as a guest, where one can be had: from the cache, or through the system's package manager.

use boot::config::{Plan, Source};
use boot::linux;
use cohort_abi::bundle::Mode;
use libtest_mimic::{Failed, Trial};
use machine_tests::{Change, Run, expect, launch};

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("linux::boots_to_init_and_powers_off", boots)]
}

/// Runs the built-in Linux guest; `None`, said aloud, where there is no kernel for it.
fn run() -> Result<Option<Run>, Failed> {
    if let Err(why) = linux::fetch() {
        eprintln!("SKIPPED: no Linux kernel to boot: {why:#}");
        return Ok(None);
    }
    let plan = Plan::load(Source::linux())?;
    launch::run(&plan, Mode::Run, Change::Nothing).map(Some)
}

fn boots() -> Result<(), Failed> {
    let Some(run) = run()? else { return Ok(()) };
    expect::success(&run)?;
    expect::said(
        &run,
        &["init: Linux ", "init: clock source ", "turned its power off"],
    )?;
    let end = run.end("linux").ok_or("its end is reported")?;
    expect::that(&run, end.success && end.as_expected, "it ended with success")?;
    for complaint in ["unchecked MSR access", "Kernel panic", "Call Trace"] {
        let heard = run.outcome.console.iter().any(|line| line.contains(complaint));
        expect::that(&run, !heard, &format!("the kernel does not say {complaint:?}"))?;
    }
    Ok(())
}
