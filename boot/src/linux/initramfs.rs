//! The initial file system: the distribution's programs and modules, and what is Cohort's.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use cpio::{NewcBuilder, newc};

use super::Files;

/// What the guest's init does: it loads the modules, makes the checks that the command line asks for, and turns the power
/// off if all of them hold. Whatever fails ends in a reset, which is no success.
const INIT: &str = include_str!("init.sh");
/// What the DHCP client does with what it hears.
const LEASE: &str = include_str!("lease.sh");

/// Modes of the archive's entries (cpio(5), as in stat(2)).
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// The archive, with `probe` as the program that checks devices.
///
/// # Errors
/// Where a file cannot be read or is longer than the archive's 32-bit lengths.
pub fn initramfs(files: &Files, probe: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "mnt", "etc", "modules"] {
        archive.add(folder, FOLDER, &[])?;
    }
    archive.tree(&files.user, "")?;
    archive.tree(&files.modules, "modules/")?;
    archive.add("bin/probe", PROGRAM, probe)?;
    archive.add("etc/lease", PROGRAM, LEASE.as_bytes())?;
    archive.add("init", PROGRAM, INIT.as_bytes())?;
    newc::trailer(&mut archive.bytes)?;
    Ok(archive.bytes)
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, contents: &[u8]) -> anyhow::Result<()> {
        let length = u32::try_from(contents.len()).with_context(|| format!("{name} is too long"))?;
        self.entries += 1;
        let builder = NewcBuilder::new(name).ino(self.entries).nlink(1).mode(mode);
        let mut writer = builder.write(&mut self.bytes, length);
        writer.write_all(contents)?;
        writer.finish()?;
        Ok(())
    }

    /// Adds what is in `folder`, each under `prefix`, in the order of names.
    fn tree(&mut self, folder: &Path, prefix: &str) -> anyhow::Result<()> {
        let read = || -> std::io::Result<Vec<_>> { std::fs::read_dir(folder)?.collect() };
        let mut entries = read().with_context(|| format!("cannot read {}", folder.display()))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = format!("{prefix}{}", entry.file_name().display());
            if entry.file_type()?.is_dir() {
                self.add(&name, FOLDER, &[])?;
                self.tree(&entry.path(), &format!("{name}/"))?;
            } else {
                self.add(&name, PROGRAM, &std::fs::read(entry.path())?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn the_archive_reads_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let (user, modules) = (folder.path().join("user"), folder.path().join("modules"));
        std::fs::create_dir_all(user.join("bin")).expect("it is made");
        std::fs::create_dir_all(&modules).expect("it is made");
        std::fs::write(user.join("bin/busybox"), b"\x7fELF").expect("it is written");
        for name in ["01-b.ko", "00-a.ko"] {
            std::fs::write(modules.join(name), name).expect("it is written");
        }
        let kernel = folder.path().join("vmlinuz");
        let files = Files {
            kernel,
            modules,
            user,
        };
        let archive = initramfs(&files, b"probe").expect("it is built");
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
        let at = |name: &str| found.iter().position(|(found, ..)| found == name);
        assert!(at("bin") < at("bin/busybox") && at("modules") < at("modules/00-a.ko"));
        assert!(
            at("modules/00-a.ko") < at("modules/01-b.ko"),
            "modules load in order"
        );
        assert!(found.contains(&("bin/busybox".into(), PROGRAM, b"\x7fELF".to_vec())));
        assert!(found.contains(&("bin/probe".into(), PROGRAM, b"probe".to_vec())));
        for script in ["init", "etc/lease"] {
            let (_, mode, text) = &found[at(script).expect("it is there")];
            assert!(text.starts_with(b"#!/bin/busybox sh\n") && mode & 0o111 != 0);
        }
    }
}
