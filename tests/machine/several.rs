//! Guests with several vCPUs: they start, stop and interrupt each other, share devices, and end together.

use boot::config::{Plan, Source};
use boot::linux::{self, Flavour};
use cohort_abi::bundle::Mode;
use libtest_mimic::{Failed, Trial};
use machine_tests::{Change, Run, expect, launch};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("several::two_cpus_work_and_end_together", work),
        Trial::test("several::a_cpu_that_loops_is_stopped_with_the_other", spin),
        Trial::test("several::linux_runs_on_two_cpus", two_cpus),
        Trial::test("several::linux_takes_interrupts_by_lines", lines),
    ]
}

fn work() -> Result<(), Failed> {
    let run = launch::run(&launch::plan("several")?, Mode::Run, Change::Nothing)?;
    // The disk is verified with that.
    expect::success(&run)?;
    expect::said(
        &run,
        &[
            "[work] the second CPU runs, with APIC id 1",
            "[work] INIT stopped the second CPU, and it started again, 3 times",
            "[work] the controller was reset 3 times while the second CPU read it",
            "init-first stopped: instruction fetch of guest physical address 0xfffffff0",
            "halt stopped: halted for ever",
        ],
    )?;
    let end = run.end("work").ok_or("the end of `work` is reported")?;
    expect::that(&run, end.interrupts > 0, "the controller interrupted")
}

/// The first CPU has halted for good, the second loops with interrupts off: only the deadline ends that.
fn spin() -> Result<(), Failed> {
    let mut plan = launch::plan("several")?;
    plan.guests.retain(|guest| guest.name == "halt");
    plan.machine.disks.clear();
    plan.machine.devices.clear();
    plan.deadline_ms = 3000;
    for guest in &mut plan.guests {
        guest.cmdline = "mode=spin".into();
    }
    let run = launch::run(&plan, Mode::Run, Change::Nothing)?;
    expect::success(&run)?;
    expect::said(&run, &["halt stopped: it still ran when the deadline passed"])
}

/// The built-in Linux guest with all its devices and checks on two CPUs, with `more` on its command line.
fn linux_on_two(more: &str) -> Result<Option<Run>, Failed> {
    if let Err(why) = linux::fetch(Flavour::Cloud) {
        eprintln!("SKIPPED: no Linux kernel to boot: {why:#}");
        return Ok(None);
    }
    let mut plan = Plan::load(Source::linux())?;
    plan.machine.cpus = 3;
    for guest in &mut plan.guests {
        guest.cpus = vec![1, 2];
        guest.cmdline = format!("{more} {}", guest.cmdline);
    }
    let run = launch::run(&plan, Mode::Run, Change::Nothing)?;
    expect::success(&run)?;
    expect::said(
        &run,
        &[
            "smp: Brought up 1 node, 2 CPUs",
            ", 2 CPU, clock source",
            "init: everything held",
            "turned its power off",
        ],
    )?;
    for complaint in [
        "Kernel panic",
        "Call Trace",
        "not responding",
        "nobody cared",
        "(irq = 0,",
    ] {
        let heard = |line: &String| line.contains("[linux]") && line.contains(complaint);
        let heard = run.outcome.console.iter().any(heard);
        expect::that(&run, !heard, &format!("the kernel does not say {complaint:?}"))?;
    }
    Ok(Some(run))
}

fn two_cpus() -> Result<(), Failed> {
    let Some(run) = linux_on_two("")? else {
        return Ok(());
    };
    // The console has its line, too, whatever number the kernel gives it.
    expect::said(&run, &["ttyS0 at I/O 0x3f8 (irq = "])
}

/// Without messages all devices have is their INTx pins, which go through the I/O APIC.
fn lines() -> Result<(), Failed> {
    let Some(run) = linux_on_two("pci=nomsi")? else {
        return Ok(());
    };
    let end = run.end("linux").ok_or("its end is reported")?;
    expect::that(&run, end.interrupts == 0, "no message of a device interrupted")
}
