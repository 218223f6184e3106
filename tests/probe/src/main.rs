//! The program that checks and measures devices inside a Linux guest, with nothing of its own but system calls.
//!
//! ```text
//! probe verify DISK          every sector is as the host supplied it
//! probe write DISK           writes the guest's part, flushes, and reads the whole disk back
//! probe exchange ADDRESS PORT    receives sectors over TCP, verifies them, sends others back
//! probe ticks                    the counter, and where it stood at the guest's first instruction
//! probe read DISK BYTES COUNT    what a read costs, in ticks, exits and interrupts
//! ```
//!
//! It is built like the hypervisor, for bare metal, so that it needs no target and no C library beside what a build of
//! Cohort has anyway; on the host, where it is tested, it is an ordinary program. It prints one line and ends with 0, or
//! says what does not hold and ends with 1.

#![cfg_attr(target_os = "none", no_std, no_main)]

mod disk;
mod exchange;
mod failure;
mod measure;
#[cfg(target_os = "none")]
mod start;
mod sys;

use core::fmt::Write as _;
use failure::Failure;
use sys::Output;

/// Does what the arguments ask for.
fn run<'a>(mut arguments: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let mut next = || arguments.next().ok_or(Failure::Usage);
    let number = |text: &str| text.parse::<u32>().map_err(|_| Failure::Usage);
    match next()? {
        "verify" => disk::verify(next()?),
        "write" => disk::write(next()?),
        "exchange" => {
            let address = exchange::address(next()?).ok_or(Failure::Usage)?;
            let port = u16::try_from(number(next()?)?).map_err(|_| Failure::Usage)?;
            exchange::exchange(address, port)
        }
        "ticks" => {
            measure::ticks();
            Ok(())
        }
        "read" => measure::read(next()?, number(next()?)?, number(next()?)?),
        _ => Err(Failure::Usage),
    }
}

/// Does it, says what came of it, and gives the exit status.
fn status<'a>(arguments: impl Iterator<Item = &'a str>) -> i32 {
    match run(arguments) {
        Ok(()) => 0,
        Err(failure) => {
            // Where nothing can be written, the status says it.
            let _ = writeln!(Output, "{failure}");
            1
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    std::process::exit(status(arguments.iter().map(String::as_str)));
}
