//! The QEMU process: its console is passed on line by line, and it never outlives its run.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cohort_abi::exit::Outcome;

use super::command::is_noise;

/// Set by the handler of Ctrl-C; every run of this process ends soon after.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ends every machine of this process on Ctrl-C and on a request to terminate, so that none outlives it.
pub fn end_on_signals() {
    // Without the handler the signal ends this process, and a terminal sends the same signal to QEMU.
    let _ = ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed));
}

/// Whether such a signal came.
#[must_use]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Lines of the console that are kept for a failure's message.
const TAIL: usize = 400;

/// Longest line in bytes; a longer one is cut in pieces, whatever a guest prints.
const LINE: usize = 4096;

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// QEMU exited with this status.
    Exited(i32),
    /// A signal ended QEMU.
    Killed,
    /// It had not ended when the time was up.
    Timeout,
    /// The user pressed Ctrl-C.
    Interrupted,
}

impl Ended {
    /// The status with which QEMU ends when it cannot make the machine.
    pub const QEMU_REFUSED: Self = Self::Exited(1);

    /// What the machine said through its exit port, if it did.
    #[must_use]
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Exited(status) if status & 1 == 1 => Outcome::from_byte(u8::try_from(status >> 1).ok()?),
            _ => None,
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "QEMU's exit status was {status}"),
            Self::Killed => f.write_str("a signal ended QEMU"),
            Self::Timeout => f.write_str("its time was up"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// What came of a machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// How it ended.
    pub ended: Ended,
    /// The last lines of its console.
    pub console: VecDeque<String>,
    /// What QEMU itself had to say.
    pub errors: Vec<String>,
}

/// A child that is ended when dropped, whichever way the run is left.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

enum Line {
    Console(String),
    Error(String),
}

/// Runs QEMU with `arguments` for at most `timeout`; `show` gets each line of the console as it comes.
///
/// # Errors
/// Where QEMU cannot be started.
pub fn run(
    qemu: &Path,
    arguments: &[OsString],
    timeout: Duration,
    show: &mut dyn FnMut(&str),
) -> anyhow::Result<Machine> {
    let mut command = Command::new(qemu);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Guard(
        command
            .spawn()
            .with_context(|| format!("cannot start {}", qemu.display()))?,
    );
    let (sender, lines) = mpsc::channel();
    if let Some(out) = child.0.stdout.take() {
        follow(out, sender.clone(), Line::Console);
    }
    if let Some(errors) = child.0.stderr.take() {
        follow(errors, sender, Line::Error);
    }
    let deadline = Instant::now() + timeout;
    let mut machine = Machine {
        ended: Ended::Killed,
        console: VecDeque::new(),
        errors: Vec::new(),
    };
    loop {
        match lines.recv_timeout(Duration::from_millis(50)) {
            Ok(Line::Console(line)) => {
                show(&line);
                if machine.console.len() == TAIL {
                    machine.console.pop_front();
                }
                machine.console.push_back(line);
            }
            Ok(Line::Error(line)) if is_noise(&line) || machine.errors.len() == TAIL => {}
            Ok(Line::Error(line)) => machine.errors.push(line),
            Err(RecvTimeoutError::Timeout) => {}
            // Both outputs are closed, so QEMU is at its end.
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // Looked at after every line too: a guest that prints without end is bounded as well.
        if interrupted() {
            machine.ended = Ended::Interrupted;
            return Ok(machine);
        }
        if Instant::now() >= deadline {
            machine.ended = Ended::Timeout;
            return Ok(machine);
        }
    }
    let status = child.0.wait().context("cannot wait for QEMU")?;
    // A terminal sends its signal to QEMU as well, which may be faster.
    machine.ended = if interrupted() {
        Ended::Interrupted
    } else {
        status.code().map_or(Ended::Killed, Ended::Exited)
    };
    Ok(machine)
}

/// Reads `stream` to its end on a thread of its own and sends its lines.
fn follow(mut stream: impl Read + Send + 'static, sender: Sender<Line>, wrap: fn(String) -> Line) {
    std::thread::spawn(move || {
        let (mut buffer, mut line) = ([0; 4096], Vec::new());
        while let Ok(count) = stream.read(&mut buffer)
            && count > 0
        {
            for byte in buffer.iter().take(count) {
                if *byte != b'\n' {
                    line.push(*byte);
                }
                if (*byte == b'\n' || line.len() == LINE) && sender.send(wrap(clean(&line))).is_err() {
                    return;
                }
                if *byte == b'\n' || line.len() == LINE {
                    line.clear();
                }
            }
        }
        if !line.is_empty() {
            // The receiver is gone only when nobody wants the line.
            let _ = sender.send(wrap(clean(&line)));
        }
    });
}

/// A line without what could command the user's terminal: guests are not trusted.
fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.trim_end_matches('\r')
        .chars()
        .map(|c| if c.is_control() && c != '\t' { '.' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: u64) -> (Machine, Vec<String>) {
        let mut seen = Vec::new();
        let arguments = ["-c".into(), script.into()];
        let show = &mut |line: &str| seen.push(line.to_owned());
        let machine = run(
            Path::new("/bin/sh"),
            &arguments,
            Duration::from_millis(timeout),
            show,
        );
        (machine.expect("it starts"), seen)
    }

    #[test]
    fn lines_and_status_come_through() {
        let (machine, seen) = shell("printf 'a\\r\\n\\033[2Jb'; echo bad >&2; exit 33", 5000);
        assert_eq!(seen, ["a", ".[2Jb"]);
        assert_eq!(machine.errors, ["bad"]);
        assert_eq!(machine.ended.outcome(), Some(Outcome::Success));
    }

    #[test]
    fn a_triple_fault_is_no_success() {
        assert_eq!(Ended::Exited(0).outcome(), None);
        assert_eq!(Ended::Exited(1).outcome(), None);
        assert_eq!(Ended::Exited(35).outcome(), Some(Outcome::Failure));
    }

    #[test]
    fn time_is_bounded_even_against_endless_output() {
        for script in ["exec sleep 60", "exec yes", "exec tr '\\0' x < /dev/zero"] {
            let start = Instant::now();
            let (machine, _) = shell(script, 300);
            assert_eq!(machine.ended, Ended::Timeout, "{script}");
            assert!(start.elapsed() < Duration::from_secs(10), "{script}");
            assert!(machine.console.len() <= TAIL && machine.console.iter().all(|line| line.len() <= LINE));
        }
    }
}
