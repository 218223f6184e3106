//! Counting instructions: this program, started again under valgrind for one case.

use std::hint::black_box;
use std::process::{Command, ExitCode};

use crate::Case;

/// The word before a case's name and size.
pub(crate) const CASE: &str = "--case";

/// Why there is no count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// Valgrind cannot be started.
    #[error(
        "valgrind cannot be started: {0}\n\
         It counts the instructions. Install it: `sudo apt-get install valgrind` (Debian, Ubuntu), \
         `sudo dnf install valgrind` (Fedora), or see https://valgrind.org"
    )]
    NoValgrind(std::io::Error),
    /// It ran, and the case failed.
    #[error("{case} with {size} failed under valgrind:\n{said}")]
    Failed {
        /// The case.
        case: &'static str,
        /// Its size.
        size: u32,
        /// What valgrind and the case said.
        said: String,
    },
}

/// Runs what is counted; everything around a call of this is not.
#[inline(never)]
pub(crate) fn measured<R>(run: impl FnOnce() -> R) -> R {
    black_box(run())
}

/// Instructions for each operation of a case.
pub(crate) fn count(case: &'static str, size: u32) -> Result<f64, Problem> {
    let this = std::env::current_exe().map_err(Problem::NoValgrind)?;
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--collect-atstart=no",
            "--toggle-collect=*callgrind::measured*",
        ])
        .arg(this)
        .args([CASE, case, &size.to_string()])
        .output()
        .map_err(Problem::NoValgrind)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let operations = String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().ok();
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, number)| number.trim().parse::<f64>().ok());
    match (operations, collected) {
        // Nothing counted means that valgrind did not find `measured`, and not that the work is free.
        (Some(operations), Some(collected)) if output.status.success() && collected > 0.0 => {
            Ok(collected / operations)
        }
        _ => Err(Problem::Failed {
            case,
            size,
            said: said.into_owned(),
        }),
    }
}

/// Runs one case, inside valgrind.
pub(crate) fn run(cases: &[Case], name: &str, size: &str) -> ExitCode {
    let case = cases.iter().find(|(known, _)| *known == name);
    match (case, size.parse()) {
        (Some((_, run)), Ok(size)) => {
            println!("{}", run(size));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("there is no case {name} with size {size}");
            ExitCode::FAILURE
        }
    }
}
