//! Nested cargo: builds the hypervisor and the guests for bare metal when they are needed.
//!
//! At run time and not in a build script, because a build script would wait for the lock that the outer cargo
//! holds, hide the output, and run in every editor. What the outer cargo leaves in the environment is taken out,
//! so that coverage flags or wrappers for the host do not reach the bare-metal build.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::progress::Step;

/// The bare-metal target.
pub const TARGET: &str = "x86_64-unknown-none";

/// Variables that would change what a nested cargo builds, or where.
const CLEARED: [&str; 14] = [
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTUP_TOOLCHAIN",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_TARGET_DIR",
    "CARGO_MAKEFLAGS",
    "CARGO_INCREMENTAL",
    "LLVM_PROFILE_FILE",
];

/// The same, by how they begin.
const CLEARED_PREFIXES: [&str; 3] = [
    "CARGO_PROFILE_",
    "CARGO_TARGET_X86_64_UNKNOWN_NONE_",
    "CARGO_PKG_",
];

/// The folder of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let boot = Path::new(env!("CARGO_MANIFEST_DIR"));
    boot.parent().unwrap_or(boot).to_path_buf()
}

/// A folder for a nested build, inside the target folder of the outer one.
#[must_use]
pub fn target_folder(name: &str) -> PathBuf {
    let outer = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    workspace().join(outer.unwrap_or("target".into())).join(name)
}

/// A cargo in the workspace with a clean environment.
#[must_use]
pub fn command() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let cleared = name.to_str().is_some_and(|name| {
            CLEARED.contains(&name) || CLEARED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        });
        if cleared {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Holds off other builds of this kind while a result is used; let go of by dropping.
///
/// # Errors
/// Where the folder or its lock cannot be made.
pub fn lock(folder: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let path = folder.join(".cohort-lock");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Builds for bare metal and gives the path of each executable: `cargo build` (or `test --no-run`) with `arguments`.
///
/// # Errors
/// Where cargo fails, with its output.
pub fn build(what: &str, verb: &[&str], arguments: &[&str]) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let step = Step::new(what);
    let mut cargo = command();
    cargo
        .args(verb)
        .args(arguments)
        .args(["--target", TARGET, "--profile", "bare", "--locked"]);
    cargo
        .arg("--message-format=json-render-diagnostics")
        .arg("--target-dir")
        .arg(target_folder("bare"));
    let mut child = cargo
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start `cargo`; install Rust from https://rustup.rs")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let artifacts = std::thread::spawn(move || {
        BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| executable(&line))
            .collect()
    });
    let mut said = String::new();
    for line in BufReader::new(child.stderr.take().context("cargo has no errors")?).lines() {
        let line = line.context("cargo's output cannot be read")?;
        step.at(&line);
        said.push_str(&line);
        said.push('\n');
    }
    let status = child.wait().context("cannot wait for cargo")?;
    let artifacts = artifacts.join().unwrap_or_default();
    if !status.success() {
        let words = cargo.get_args().map(|word| word.display().to_string());
        bail!(
            "{} failed: cargo {}\n{said}",
            what.to_lowercase(),
            words.collect::<Vec<_>>().join(" ")
        );
    }
    Ok(artifacts)
}

/// The executable that one line of cargo's JSON messages is about, with its target's name.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    Some((name.into(), path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_in_cargos_messages() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"kernel"},"executable":"/t/kernel"}"#;
        assert_eq!(executable(line), Some(("kernel".into(), "/t/kernel".into())));
        assert_eq!(executable(r#"{"target":{"name":"abi"},"executable":null}"#), None);
        assert_eq!(executable("warning: noise"), None);
    }

    #[test]
    fn the_workspace_is_found() {
        assert!(workspace().join("Cargo.lock").is_file());
    }
}
