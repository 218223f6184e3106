//! Guests that reset their own devices: the device comes back to its guest, and nobody else notices.

use cohort_abi::bundle::Mode;
use libtest_mimic::{Failed, Trial};
use machine_tests::{Change, expect, launch};

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "reset::guests_reset_their_devices_and_go_on",
        both_go_on,
    )]
}

/// Each guest, how many resets it asks for, and how many of these while its controller reads.
const GUESTS: [(&str, usize, usize); 2] = [("first", 3, 2), ("second", 2, 1)];

fn both_go_on() -> Result<(), Failed> {
    let run = launch::run(&launch::plan("resets")?, Mode::Run, Change::Nothing)?;
    // The disks are verified with that, so all work was done.
    expect::success(&run)?;
    let said = |part: String| {
        run.outcome
            .console
            .iter()
            .filter(|line| line.contains(&part))
            .count()
    };
    for (name, resets, busy) in GUESTS {
        let end = run
            .end(name)
            .ok_or_else(|| format!("the end of `{name}` is reported\n{}", run.tail()))?;
        expect::that(
            &run,
            end.success && end.interrupts > 0,
            "it ends with success, by interrupts",
        )?;
        expect::that(
            &run,
            end.dma_faults == 0,
            "no access of a controller that is reset is blocked",
        )?;
        let found = said(format!("[{name}] slept, was reset"));
        expect::that(
            &run,
            found == resets,
            &format!("{name} was reset {resets} times, not {found}"),
        )?;
        let found = said(format!("[{name}] slept, was reset while it read"));
        expect::that(
            &run,
            found == busy,
            &format!("{name} was reset {busy} times while it read"),
        )?;
    }
    let carried_out = said("was reset by its guest".into());
    expect::that(&run, carried_out == 5, "the hypervisor carried each of them out")
}
