//! The host tool's verdict, on images that only say what a hypervisor might say.

use std::time::Duration;

use boot::minimal;
use boot::session::{Failure, Options, Outcome, Session};
use cohort_abi::exit::Outcome as Exit;
use cohort_abi::report::{self, Figure, Record, Summary};
use libtest_mimic::{Failed, Trial};
use machine_tests::launch;

/// Longest time for an image that does nothing.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "tool::success_needs_exit_and_summary",
            success_needs_exit_and_summary,
        ),
        Trial::test("tool::damaged_records_are_noticed", damaged_records_are_noticed),
        Trial::test("tool::the_disk_is_verified", the_disk_is_verified),
        Trial::test("tool::silence_ends", silence_ends),
        Trial::test("tool::a_triple_fault_fails", a_triple_fault_fails),
    ]
}

fn boot(code: &[u8]) -> Result<Outcome, Failed> {
    let plan = launch::demo()?;
    let file = std::env::temp_dir().join(format!("cohort-minimal-{}-{:p}", std::process::id(), code));
    std::fs::write(&file, minimal::elf(code, true))?;
    let outcome = Session::bare(&plan, &file).and_then(|session| {
        session.run(
            &Options {
                icount: false,
                timeout: TIMEOUT,
            },
            &mut |_| {},
        )
    });
    std::fs::remove_file(&file)?;
    Ok(outcome?)
}

/// A figure whose bytes need COBS to hide zeroes, and a summary.
fn records(success: bool) -> Result<Vec<u8>, Failed> {
    let figure = Record::Figure(Figure {
        name: "\0zero\0".into(),
        value: 0,
        unit: "ticks".into(),
    });
    let summary = Summary {
        success,
        failures: Vec::new(),
        sets_opened: 3,
        resident_bytes: 1 << 20,
    };
    Ok([
        report::encode(&figure)?,
        report::encode(&Record::Summary(summary))?,
    ]
    .concat())
}

fn success_needs_exit_and_summary() -> Result<(), Failed> {
    let (success, failure) = (Exit::Success as u8, Exit::Failure as u8);
    for (said, exit, holds) in [
        (true, success, true),
        (false, success, false),
        (true, failure, false),
        (false, failure, false),
    ] {
        let outcome = boot(&minimal::speaking("hello\n", &records(said)?, Some(exit)))?;
        let whole = outcome.report.records.len() == 2 && outcome.console == ["hello"];
        if !whole || outcome.success() != holds {
            return Err(format!("summary {said}, exit {exit:#x}: {outcome:?}").into());
        }
    }
    Ok(())
}

fn damaged_records_are_noticed() -> Result<(), Failed> {
    let whole = records(true)?;
    let (first, last) = (&whole[1..], &whole[..whole.len() - 3]);
    for bytes in [first, last] {
        let outcome = boot(&minimal::speaking("", bytes, Some(Exit::Success as u8)))?;
        if !outcome
            .failures
            .iter()
            .any(|failure| matches!(failure, Failure::Damaged(_)))
        {
            return Err(format!("a lost byte is noticed: {outcome:?}").into());
        }
    }
    Ok(())
}

fn silence_ends() -> Result<(), Failed> {
    let outcome = boot(&minimal::speaking("", &records(true)?, None))?;
    let [Failure::Timeout(_)] = outcome.failures[..] else {
        return Err(format!("{outcome:?}").into());
    };
    Ok(())
}

fn a_triple_fault_fails() -> Result<(), Failed> {
    // ud2 without an interrupt table
    let outcome = boot(&[0x0f, 0x0b])?;
    let told = outcome
        .failures
        .iter()
        .any(|failure| matches!(failure, Failure::NoOutcome(_)));
    if told {
        Ok(())
    } else {
        Err(format!("{outcome:?}").into())
    }
}

/// The storage guest on a machine of its own, without a hypervisor: it does write, and where it must not the disk shows it.
fn the_disk_is_verified() -> Result<(), Failed> {
    let arguments = ["-p", "guests", "--bin", "storage"];
    let built = boot::cargo::build("Building the storage guest", &["build"], &arguments)?;
    let (_, guest) = built
        .into_iter()
        .find(|(name, _)| name == "storage")
        .ok_or("cargo built it")?;
    let mut session = Session::bare(&launch::demo()?, &guest)?;
    session.cmdline = "rounds=1 pause=1".into();
    for must_write in [true, false] {
        session.writers = must_write.then(|| "storage".into()).into_iter().collect();
        let options = Options {
            icount: false,
            timeout: Duration::from_secs(60),
        };
        let outcome = session.run(&options, &mut |_| {})?;
        let changed = outcome
            .failures
            .iter()
            .any(|failure| matches!(failure, Failure::Disk(_)));
        if outcome.ended.outcome() != Some(Exit::Success) || changed == must_write {
            return Err(format!("it must write: {must_write}; {outcome:?}").into());
        }
    }
    Ok(())
}
