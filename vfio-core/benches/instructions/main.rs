//! What vfio-core costs, in instructions: `cargo bench -p vfio-core`.
//!
//! Each case runs in a process of its own under valgrind's callgrind, which counts the instructions of the measured calls
//! and nothing else. The counts repeat, whatever else the computer does. Only what two threads do to each other is
//! measured in time, as a ratio of times taken side by side.
//!
//! `cargo bench -p vfio-core -- sets` runs the tables whose name contains `sets`.

#![expect(clippy::panic, reason = "a case that does not do what it says must stop")]

mod callgrind;
mod cohorts;
mod contention;
mod fakes;
mod grouping;
mod mappings;
mod sets;
mod table;

use std::process::ExitCode;

/// A case, by name: prepares for the size it is given, passes what is to be counted to [`callgrind::measured`],
/// and says how many operations that were.
type Case = (&'static str, fn(u32) -> u32);

fn cases() -> Vec<Case> {
    [sets::CASES, cohorts::CASES, grouping::CASES, mappings::CASES].concat()
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, size] = words.as_slice()
        && flag == callgrind::CASE
    {
        return callgrind::run(&cases(), name, size);
    }
    let filter = words.iter().find(|word| !word.starts_with('-'));
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    match report(wanted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("Some figures miss their aims; they are marked with *.");
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the tables; whether all aims are met.
fn report(wanted: impl Fn(&str) -> bool) -> Result<bool, callgrind::Problem> {
    let mut met = true;
    for table in [sets::TABLES, cohorts::TABLES, grouping::TABLES, mappings::TABLES].concat() {
        if wanted(table.name) {
            met &= table.print()?;
        }
    }
    if wanted("contention") {
        contention::print();
    }
    Ok(met)
}
