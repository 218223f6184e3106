//! Debian's kernel as a guest: fetched from the distribution into a cache, with an initial file system made here.
//!
//! Nothing else in the repository needs it. The system's package manager does the fetching and the checking of
//! signatures; nothing is installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use cpio::{NewcBuilder, newc};

use crate::progress::Step;
use crate::tools;

/// The package that depends on the newest kernel of its flavour.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// The package with one program that is a whole user space.
const BUSYBOX_PACKAGE: &str = "busybox-static";

/// What the guest's init does: it says what it finds, reads a disk if it has one, and turns the power off. Whatever fails
/// ends in a reset, which is no success.
const INIT: &str = include_str!("../init.sh");

/// The files that a Linux guest is made of.
#[derive(Clone, Debug)]
pub struct Files {
    /// The kernel, a bzImage.
    pub kernel: PathBuf,
    /// A static busybox.
    pub busybox: PathBuf,
}

/// The files, from the cache or from the distribution.
///
/// # Errors
/// Where they are not in the cache and cannot be fetched; the message says how to go on without.
pub fn fetch() -> anyhow::Result<Files> {
    let cache = cache()?;
    let files = Files {
        kernel: cache.join("vmlinuz"),
        busybox: cache.join("busybox"),
    };
    if files.kernel.is_file() && files.busybox.is_file() {
        return Ok(files);
    }
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        if tools::find(program).is_none() {
            bail!(
                "image = \"{}\" is Debian's kernel, and there is no `{program}` here to fetch it with; write the \
                 path of a bzImage of your own, and an `initrd`",
                crate::config::LINUX_IMAGE
            );
        }
    }
    std::fs::create_dir_all(&cache).with_context(|| {
        format!(
            "cannot make the cache {}; set XDG_CACHE_HOME to a folder that can be written",
            cache.display()
        )
    })?;
    let step = Step::new("Fetching Debian's kernel and busybox (once, about 28 MB)");
    let kernel = dependency(META_PACKAGE)?;
    for (package, folder, prefix, to) in [
        (kernel.as_str(), "boot", "vmlinuz-", &files.kernel),
        (BUSYBOX_PACKAGE, "bin", "busybox", &files.busybox),
    ] {
        step.at(package);
        package_file(&cache, package, folder, prefix, to)
            .with_context(|| format!("cannot get {package} from the distribution"))?;
    }
    drop(step);
    eprintln!("{} and {BUSYBOX_PACKAGE} are in {}", kernel, cache.display());
    Ok(files)
}

/// The folder for what is fetched.
fn cache() -> anyhow::Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = set("XDG_CACHE_HOME")
        .or_else(|| Some(set("HOME")?.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set; set one, for the cache of Debian's kernel")?;
    Ok(base.join("cohort").join("linux"))
}

/// The package that `meta` depends on.
fn dependency(meta: &str) -> anyhow::Result<String> {
    let said = run(Command::new("apt-cache").args(["depends", meta]))?;
    depends(&said)
        .with_context(|| format!("apt knows no {meta}; update its lists (apt-get update), or use Debian"))
}

/// The first kernel among the dependencies that apt-cache prints.
fn depends(said: &str) -> Option<String> {
    let packages = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    packages
        .map(str::trim)
        .find(|package| package.starts_with("linux-image-"))
        .map(Into::into)
}

/// Downloads `package` and puts its file in `folder` that begins with `prefix` to `to`, whole or not at all.
fn package_file(cache: &Path, package: &str, folder: &str, prefix: &str, to: &Path) -> anyhow::Result<()> {
    let work = tempfile::tempdir_in(cache)?;
    run(Command::new("apt-get")
        .args(["download", package])
        .current_dir(work.path()))?;
    let archive = entry(work.path(), |name| name.ends_with(".deb"))?;
    let tree = work.path().join("tree");
    run(Command::new("dpkg-deb").arg("-x").args([&archive, &tree]))?;
    let found = entry(&tree.join(folder), |name| name.starts_with(prefix))?;
    std::fs::rename(found, to)?;
    Ok(())
}

/// The entry of `folder` that `wanted` wants.
fn entry(folder: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<PathBuf> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if wanted(&entry.file_name().to_string_lossy()) {
            return Ok(entry.path());
        }
    }
    bail!("what was expected is not in {}", folder.display())
}

/// What a command prints; an error with what it complains of, where it fails.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .env("LC_ALL", "C")
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Modes of the archive's entries (cpio(5), as in stat(2)).
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// The initial file system: busybox and the init script.
///
/// # Errors
/// Where a file is longer than the archive's 32-bit lengths.
pub fn initramfs(busybox: &[u8]) -> anyhow::Result<Vec<u8>> {
    let entries = [
        ("bin", FOLDER, &[][..]),
        ("dev", FOLDER, &[]),
        ("proc", FOLDER, &[]),
        ("sys", FOLDER, &[]),
        ("bin/busybox", PROGRAM, busybox),
        ("init", PROGRAM, INIT.as_bytes()),
    ];
    let mut out = Vec::new();
    for (number, (name, mode, contents)) in (1..).zip(entries) {
        let length = u32::try_from(contents.len()).with_context(|| format!("{name} is too long"))?;
        let builder = NewcBuilder::new(name).ino(number).nlink(1).mode(mode);
        let mut writer = builder.write(&mut out, length);
        std::io::Write::write_all(&mut writer, contents)?;
        writer.finish()?;
    }
    newc::trailer(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn the_kernel_is_the_one_that_the_meta_package_names() {
        let said = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n  Suggests: x\n";
        assert_eq!(depends(said).as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(depends("a\n  Depends: <b>\n"), None);
        assert_eq!(depends(""), None);
    }

    #[test]
    fn the_archive_reads_as_it_was_written() {
        let archive = initramfs(b"\x7fELF").expect("it is built");
        let (mut rest, mut found) = (&archive[..], Vec::new());
        loop {
            let mut reader = newc::Reader::new(rest).expect("it reads");
            if reader.entry().is_trailer() {
                break;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut contents = Vec::new();
            reader.read_to_end(&mut contents).expect("it reads");
            found.push((name, mode, contents));
            rest = reader.finish().expect("it goes on");
        }
        assert_eq!(found.len(), 6);
        assert!(found.contains(&("bin/busybox".into(), PROGRAM, b"\x7fELF".to_vec())));
        let init = found
            .iter()
            .find(|(name, ..)| name == "init")
            .expect("it is there");
        assert!(init.2.starts_with(b"#!/bin/busybox sh\n") && init.1 & 0o111 != 0);
    }
}
