//! Guests that misbehave: each is stopped and reported, and the other guest finishes its work.

use cohort_abi::bundle::Mode;
use libtest_mimic::{Failed, Trial};
use machine_tests::{Change, expect, launch};

/// What the guest does (`mode=` on its command line), and a word that its end is reported with.
const MODES: [(&str, &str); 5] = [
    ("triple-fault", "shutdown"),
    ("unmapped", "0x"),
    ("msr", "msr"),
    ("port", "port"),
    ("spin", "deadline"),
];

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |(mode, word): (&'static str, &'static str)| {
        let name = format!("faulty::{}", mode.replace('-', "_"));
        Trial::test(name, move || is_stopped(mode, word))
    };
    MODES.map(trial).into_iter().collect()
}

fn is_stopped(mode: &str, word: &str) -> Result<(), Failed> {
    let mut plan = launch::plan("faulty")?;
    for guest in plan.guests.iter_mut().filter(|guest| guest.name == "faulty") {
        guest.cmdline = format!("mode={mode}");
    }
    let run = launch::run(&plan, Mode::Run, Change::Nothing)?;
    // The other guest is verified with the disk.
    expect::success(&run)?;
    let (storage, faulty) = (run.end("storage"), run.end("faulty"));
    expect::that(
        &run,
        storage.is_some_and(|end| end.success),
        "the other guest finishes its work",
    )?;
    let faulty = faulty.ok_or_else(|| format!("the end of `faulty` is reported\n{}", run.tail()))?;
    expect::that(
        &run,
        !faulty.success && faulty.as_expected,
        "it is stopped, as expected",
    )?;
    let how = faulty.how.to_lowercase();
    let meant = how.contains(word) || (word == "shutdown" && how.contains("triple fault"));
    expect::that(
        &run,
        meant,
        &format!("how it ended names {word:?}: {:?}", faulty.how),
    )
}
