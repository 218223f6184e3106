//! The host tool `cohort`.

use std::process::ExitCode;

fn main() -> ExitCode {
    boot::cli::main(std::env::args_os())
}
