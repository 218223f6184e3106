//! Guests that end and are started again: with the devices that they had, as often as they may, and nobody else notices.

use boot::summary;
use cohort_abi::bundle::Mode;
use cohort_abi::end::{EndReason, FaultKind, ResetBy};
use cohort_abi::report::{GuestEnd, Record, Restart};
use libtest_mimic::{Failed, Trial};
use machine_tests::{Change, Run, expect, launch};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "restart::fifty_in_a_row_with_the_same_nvme",
            fifty_in_a_row_with_the_same_nvme,
        ),
        Trial::test(
            "restart::every_end_has_its_reason_and_its_consequence",
            every_end_has_its_reason_and_its_consequence,
        ),
    ]
}

fn restarts<'r>(run: &'r Run, name: &str) -> Vec<&'r Restart> {
    let records = run.outcome.report.records.iter();
    records
        .filter_map(|record| match record {
            Record::Restart(restart) if restart.guest == name => Some(restart),
            _ => None,
        })
        .collect()
}

fn end<'r>(run: &'r Run, name: &str) -> Result<&'r GuestEnd, Failed> {
    run.end(name)
        .ok_or_else(|| format!("the end of `{name}` is reported\n{}", run.tail()).into())
}

fn lines(run: &Run, part: &str) -> usize {
    let lines = run.outcome.console.iter();
    lines.filter(|line| line.contains(part)).count()
}

fn fifty_in_a_row_with_the_same_nvme() -> Result<(), Failed> {
    const RESTARTS: u32 = 50;
    let run = launch::run(&launch::plan("restarts")?, Mode::Run, Change::Nothing)?;
    // Both disks are verified with that.
    expect::success(&run)?;
    let reset = EndReason::Reset(ResetBy::Register);
    let restarts = restarts(&run, "phoenix");
    let numbers: Vec<u32> = restarts.iter().map(|restart| restart.number).collect();
    expect::that(
        &run,
        numbers == (1..=RESTARTS).collect::<Vec<_>>(),
        &format!("it was started again {RESTARTS} times: {numbers:?}"),
    )?;
    expect::that(
        &run,
        restarts
            .iter()
            .all(|restart| restart.reason == reset && restart.of == RESTARTS && restart.interrupts > 0),
        "each life did its work by interrupts and reset itself: one that does not find its disk as it must be says failure",
    )?;
    let (phoenix, other) = (end(&run, "phoenix")?, end(&run, "other")?);
    expect::that(
        &run,
        phoenix.reason == reset && phoenix.restarts == RESTARTS && !phoenix.success,
        "its last life ended like the others",
    )?;
    expect::that(
        &run,
        phoenix.how.contains("50 of 50 restarts are used up"),
        &format!("why it is not started again is said: {}", phoenix.how),
    )?;
    expect::that(
        &run,
        phoenix.dma_faults == 0,
        "a controller that reads when its guest ends is quiet before it is denied memory",
    )?;
    expect::that(
        &run,
        other.success && other.restarts == 0 && other.dma_faults == 0,
        "the other guest does not notice",
    )?;
    let text = summary::text(&run.outcome);
    expect::that(
        &run,
        text.contains("restart 12 of 50: it reset itself") && text.contains("restarted 38 times more"),
        &format!("the summary tells of it:\n{text}"),
    )
}

/// How often each guest of `ends.toml` is started again, and how it ends each time.
const ENDS: [(&str, u32, EndReason); 9] = [
    ("storage", 0, EndReason::Success),
    // The default.
    ("mid-dma", 3, EndReason::Fault(FaultKind::TripleFault)),
    ("bridged", 4, EndReason::Reset(ResetBy::Keyboard)),
    ("msr", 2, EndReason::Fault(FaultKind::DeniedMsr)),
    ("failure", 1, EndReason::Failure),
    ("success", 0, EndReason::Success),
    ("power-off", 0, EndReason::PowerOff),
    ("reset", 0, EndReason::Reset(ResetBy::Register)),
    ("lenient", 2, EndReason::Fault(FaultKind::HaltForever)),
];

fn every_end_has_its_reason_and_its_consequence() -> Result<(), Failed> {
    let run = launch::run(&launch::plan("ends")?, Mode::Run, Change::Nothing)?;
    expect::success(&run)?;
    for (name, times, reason) in ENDS {
        let (end, restarts) = (end(&run, name)?, restarts(&run, name));
        expect::that(
            &run,
            restarts.len() == times as usize && end.restarts == times,
            &format!("`{name}` is started again {times} times, not {}", restarts.len()),
        )?;
        let same = restarts.iter().all(|restart| restart.reason == reason) && end.reason == reason;
        expect::that(
            &run,
            same && end.as_expected,
            &format!("`{name}` ends by {reason:?} each time: {restarts:?}, {end:?}"),
        )?;
    }
    let json = summary::json(&run.outcome)?;
    expect::that(
        &run,
        json.contains("\"Fault\": \"DeniedMsr\""),
        "programs read the reason",
    )?;
    let stays = end(&run, "reset")?;
    expect::that(
        &run,
        stays.how.contains("on-exit is \"stop\""),
        &format!("a guest that wanted to be started again is told: {}", stays.how),
    )?;
    expect::that(
        &run,
        lines(&run, "nothing resets 0000:00:03.0") == 3,
        "what nothing resets is said to come back as it was left",
    )?;
    expect::that(
        &run,
        end(&run, "storage")?.dma_faults == 0,
        "the guest that is verified does not notice",
    )
}
