//! A stock Linux kernel as a guest, where one can be had: from the cache, or through the system's package manager.

use boot::config::{Plan, Source};
use boot::linux::{self, Flavour};
use cohort_abi::bundle::Mode;
use libtest_mimic::{Failed, Trial};
use machine_tests::{Change, Run, expect, launch};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("linux::its_devices_work", its_devices_work),
        Trial::test("linux::beside_storage_and_rogue", beside_storage_and_rogue),
        Trial::test("linux::a_panic_ends_it", a_panic_ends_it),
        Trial::test("linux::a_check_that_fails_fails_the_run", a_failed_check),
    ]
}

/// What the init of a guest says whose devices all work.
const CHECKED: [&str; 4] = [
    "[linux] ok verify:sectors: 16384 sectors hold what the host supplied",
    "[linux] ok filesystem:ext4: ext4 made, 8 files",
    "[linux] ok network: eth0 has address 10.0.2.15/24",
    "524288 bytes received and as many sent, verified on both sides",
];

/// What no kernel says of a machine that it likes.
const COMPLAINTS: [&str; 4] = ["unchecked MSR access", "Kernel panic", "Call Trace", "FAILED"];

/// Whether there is no kernel, which is said aloud.
fn skipped() -> bool {
    let fetched = linux::fetch(Flavour::Cloud);
    if let Err(why) = &fetched {
        eprintln!("SKIPPED: no Linux kernel to boot: {why:#}");
    }
    fetched.is_err()
}

fn nothing_wrong(run: &Run) -> Result<(), Failed> {
    expect::success(run)?;
    let end = run.end("linux").ok_or("its end is reported")?;
    expect::that(run, end.success && end.as_expected, "it ended with success")?;
    expect::that(run, end.interrupts > 0, "its devices interrupt")?;
    expect::that(run, end.dma_faults == 0, "its DMA is never blocked")?;
    expect::said(run, &CHECKED)?;
    expect::said(run, &["init: everything held", "turned its power off"])?;
    for complaint in COMPLAINTS {
        let heard = |line: &&String| line.contains("[linux]") && line.contains(complaint);
        let heard = run.outcome.console.iter().find(heard);
        expect::that(run, heard.is_none(), &format!("it does not say {complaint:?}"))?;
    }
    Ok(())
}

/// Of the first NVMe controller and the network card: has Linux put their BARs somewhere else, above 4 GiB where they have 64 bits.
const MOVE_BARS: &str = " pci=resource_alignment=20@00:01.0;21@00:03.0";

fn its_devices_work() -> Result<(), Failed> {
    if skipped() {
        return Ok(());
    }
    let mut plan = Plan::load(Source::linux())?;
    let guest = plan.guests.first_mut().ok_or("it has a guest")?;
    guest.cmdline.push_str(MOVE_BARS);
    let run = launch::run(&plan, Mode::Run, Change::Nothing)?;
    nothing_wrong(&run)?;
    expect::said(&run, &["ok verify:virtio: 2048 sectors hold"])?;
    for (function, place) in [
        ("0000:00:01.0: BAR 0", "0x10002"),
        ("0000:00:03.0: BAR 4", "0x10000"),
    ] {
        let moved = |line: &String| {
            [function, place, "assigned"]
                .iter()
                .all(|part| line.contains(part))
        };
        let moved = run.outcome.console.iter().any(moved);
        expect::that(&run, moved, &format!("{function} was moved above 4 GiB"))?;
    }
    Ok(())
}

fn beside_storage_and_rogue() -> Result<(), Failed> {
    if skipped() {
        return Ok(());
    }
    let run = launch::run(&launch::plan("linux-beside")?, Mode::Run, Change::Nothing)?;
    nothing_wrong(&run)?;
    expect::said(&run, &["26 attacks blocked, 0 succeeded"])
}

/// The built-in Linux guest, told to make these checks.
fn with_checks(checks: &str) -> Result<Run, Failed> {
    let mut plan = Plan::load(Source::linux())?;
    let guest = plan.guests.first_mut().ok_or("it has a guest")?;
    guest.cmdline = format!("console=ttyS0 panic=-1 checks={checks}");
    launch::run(
        &plan,
        Mode::Run,
        Change::Session(&mut |session| session.writers.clear()),
    )
}

fn a_panic_ends_it() -> Result<(), Failed> {
    if skipped() {
        return Ok(());
    }
    let run = with_checks("panic")?;
    expect::that(&run, !run.outcome.success(), "the run fails")?;
    let end = run.end("linux").ok_or("its end is reported")?;
    expect::that(
        &run,
        !end.as_expected && end.how.contains("kernel panicked"),
        &end.how,
    )
}

fn a_failed_check() -> Result<(), Failed> {
    if skipped() {
        return Ok(());
    }
    let run = with_checks("verify:nothing")?;
    expect::that(&run, !run.outcome.success(), "the run fails")?;
    expect::said(
        &run,
        &[
            "FAILED verify:nothing: there is no disk",
            "init: something does not hold",
        ],
    )?;
    let end = run.end("linux").ok_or("its end is reported")?;
    expect::that(
        &run,
        !end.as_expected && end.how.contains("reset itself"),
        &end.how,
    )
}
