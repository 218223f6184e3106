//! The distribution's packages, through its own package manager.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::progress::Step;

/// The names of the packages that `package` depends on, those that begin with `prefix`.
pub(super) fn dependencies(package: &str, prefix: &str) -> anyhow::Result<Vec<String>> {
    let said = run(Command::new("apt-cache").args(["depends", package]))?;
    let found = depends(&said, prefix);
    if found.is_empty() {
        bail!("apt knows no {package}; update its lists (apt-get update), or use Debian");
    }
    Ok(found)
}

/// The dependencies that apt-cache prints, one a line; an alternative is marked by a bar in front.
fn depends(said: &str, prefix: &str) -> Vec<String> {
    let names = said.lines().filter_map(|line| {
        let (kind, name) = line.trim().split_once(": ")?;
        ["Depends", "PreDepends"].contains(&kind).then(|| name.trim())
    });
    names
        .filter(|name| name.starts_with(prefix))
        .map(Into::into)
        .collect()
}

/// Downloads `package` and unpacks it into `tree`.
pub(super) fn unpack(package: &str, tree: &Path, step: &Step) -> anyhow::Result<()> {
    step.at(package);
    let work = tempfile::tempdir_in(tree.parent().unwrap_or(tree))?;
    let fetched = || -> anyhow::Result<()> {
        run(Command::new("apt-get")
            .args(["download", package])
            .current_dir(work.path()))?;
        let archive =
            find(work.path(), &|name| name.ends_with(".deb"))?.context("apt-get left no package")?;
        run(Command::new("dpkg-deb").arg("-x").args([&archive, tree]))?;
        Ok(())
    };
    fetched().with_context(|| format!("cannot get {package} from the distribution"))
}

/// A file under `folder` whose name `wanted` wants. Links to folders are not followed.
pub(super) fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&path, wanted)? {
                return Ok(Some(found));
            }
        } else if wanted(&entry.file_name().to_string_lossy()) && path.is_file() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// What a command prints; an error with what it complains of, where it fails.
pub(super) fn run(command: &mut Command) -> anyhow::Result<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_those_that_apt_names() {
        let said = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n  Suggests: linux-image-x\n";
        assert_eq!(
            depends(said, "linux-image-"),
            ["linux-image-6.1.0-56-cloud-amd64"]
        );
        let said = "e2fsprogs\n  PreDepends: libblkid1\n  PreDepends: libc6\n  Depends: logsave\n";
        assert_eq!(depends(said, "lib"), ["libblkid1", "libc6"]);
        assert!(depends("a\n  Depends: <b>\n", "c").is_empty());
    }

    #[test]
    fn files_are_found_in_folders_of_folders() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(&inner).expect("it is made");
        std::fs::write(inner.join("x.ko"), "").expect("it is written");
        let found = find(folder.path(), &|name| name == "x.ko").expect("it reads");
        assert_eq!(found, Some(inner.join("x.ko")));
        assert_eq!(find(folder.path(), &|name| name == "b").expect("it reads"), None);
    }
}
