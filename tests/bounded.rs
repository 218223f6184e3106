//! Other programs, run for a bounded time.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

/// Runs `command` to its end (or to a signal that ends this process) and fails, with the end of its output, if it does not succeed within `limit`.
///
/// # Errors
/// If it does not start, does not succeed, or takes too long.
pub fn run(mut command: Command, limit: Duration) -> Result<String, Failed> {
    // A group of its own, so that what it starts ends with it.
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| format!("{command:?} does not start: {error}"))?;
    let out = child.stdout.take().map(|mut out| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            // What could be read before an error is what there is to show.
            let _ = out.read_to_end(&mut text);
            text
        })
    });
    let errors = child.stderr.take().map(|mut errors| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = errors.read_to_end(&mut text);
            text
        })
    });
    let end = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > end || boot::qemu::process::interrupted() {
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut text = String::new();
    for stream in [out, errors].into_iter().flatten() {
        text.push_str(&String::from_utf8_lossy(&stream.join().unwrap_or_default()));
    }
    match status {
        Some(status) if status.success() => Ok(text),
        Some(status) => Err(format!("{command:?}: {status}\n{}", tail(&text)).into()),
        None => Err(format!(
            "{command:?} took more than {} s\n{}",
            limit.as_secs(),
            tail(&text)
        )
        .into()),
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
