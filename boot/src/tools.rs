//! Tools that a run needs: QEMU and Rust's bare-metal target, installed where that is possible.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::cargo;
use crate::progress::Step;

/// The emulator's program.
pub const QEMU: &str = "qemu-system-x86_64";

/// A package manager, and how it installs QEMU.
struct Manager {
    program: &'static str,
    /// Argument lists, run one after the other.
    steps: &'static [&'static [&'static str]],
}

const MANAGERS: [Manager; 3] = [
    Manager {
        program: "apt-get",
        steps: &[
            &["update"],
            &["install", "-y", "--no-install-recommends", "qemu-system-x86"],
        ],
    },
    Manager {
        program: "dnf",
        steps: &[&["install", "-y", "qemu-system-x86-core"]],
    },
    Manager {
        program: "pacman",
        steps: &[&["-Sy", "--noconfirm", "qemu-system-x86"]],
    },
];

/// The path of `program`, if it is to be found.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The path of QEMU, which is installed first if it is missing and may be.
///
/// # Errors
/// With the exact command to run, where it is missing and cannot be installed from here.
pub fn qemu() -> anyhow::Result<PathBuf> {
    if let Some(path) = find(QEMU) {
        return Ok(path);
    }
    let Some(manager) = MANAGERS.iter().find(|manager| find(manager.program).is_some()) else {
        bail!("{QEMU} is missing, and no known package manager is here; install QEMU 7.2 or later");
    };
    let root = says("id", &["-u"]).is_some_and(|id| id.trim() == "0");
    let sudo = !root && says("sudo", &["-n", "true"]).is_some();
    if !root && !sudo {
        bail!("{QEMU} is missing; install it with:\n  {}", manager.by_hand());
    }
    let step = Step::new("Installing QEMU");
    for arguments in manager.steps {
        step.at(&arguments.join(" "));
        let mut command = if root {
            Command::new(manager.program)
        } else {
            Command::new("sudo")
        };
        if sudo {
            command.args(["-n", manager.program]);
        }
        command
            .args(*arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null());
        let output = command
            .output()
            .with_context(|| format!("cannot start {}", manager.program))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!(
                "installing QEMU failed:\n{said}\nInstall it with:\n  {}",
                manager.by_hand()
            );
        }
    }
    find(QEMU).with_context(|| {
        format!(
            "{QEMU} is still missing; install it with:\n  {}",
            manager.by_hand()
        )
    })
}

impl Manager {
    /// The commands that a person would type.
    fn by_hand(&self) -> String {
        let line = |step: &&[&str]| format!("sudo {} {}", self.program, step.join(" "));
        self.steps.iter().map(line).collect::<Vec<_>>().join(" && ")
    }
}

/// Sees to it that the toolchain can build for bare metal.
///
/// # Errors
/// With the exact command to run, where the target is missing and cannot be installed from here.
pub fn rust_target() -> anyhow::Result<()> {
    let by_hand = format!("rustup target add {}", cargo::TARGET);
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--print", "target-libdir", "--target", cargo::TARGET])
        .current_dir(cargo::workspace());
    rustc.env_remove("RUSTUP_TOOLCHAIN");
    let output = rustc
        .output()
        .context("cannot start `rustc`; install Rust from https://rustup.rs")?;
    if output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir() {
        return Ok(());
    }
    let _step = Step::new("Installing Rust's bare-metal target");
    let mut rustup = Command::new("rustup");
    rustup
        .args(["target", "add", cargo::TARGET])
        .current_dir(cargo::workspace())
        .env_remove("RUSTUP_TOOLCHAIN");
    match rustup.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            bail!(
                "{}\nInstall the target with:\n  {by_hand}",
                String::from_utf8_lossy(&output.stderr).trim()
            )
        }
        Err(_) => bail!(
            "Rust's target {} is missing and there is no rustup; install it as your Rust came, or with \
             rustup:\n  {by_hand}",
            cargo::TARGET
        ),
    }
}

/// What a command prints, if it succeeds.
fn says(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_type_is_whole() {
        assert_eq!(
            MANAGERS[0].by_hand(),
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends qemu-system-x86"
        );
    }

    #[test]
    fn programs_are_found_or_not() {
        assert!(find("cargo").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
