//! The guest's user space: busybox, and the distribution's tools for ext4 with the libraries that they name.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::elf;
use super::packages::{dependencies, find, unpack};
use crate::progress::Step;

/// The package with one program that is most of a user space.
const BUSYBOX: &str = "busybox-static";
/// The package with the tools for ext4.
const EXT4: &str = "e2fsprogs";
/// Its programs.
const EXT4_PROGRAMS: [&str; 2] = ["mke2fs", "e2fsck"];
/// Where programs and libraries lie in the guest: where the loader looks for libraries.
const PROGRAMS: &str = "bin";
const LIBRARIES: &str = "lib/x86_64-linux-gnu";
/// The loader, whose place programs name in full (System V ABI for AMD64, section 5.2.1).
const LOADER: &str = "ld-linux-x86-64.so.2";
const LOADER_FOLDER: &str = "lib64";
/// Where packages have programs and libraries.
const FOLDERS: [&str; 7] = ["bin", "sbin", "lib", "lib64", "usr/bin", "usr/sbin", "usr/lib"];

/// Fills `out` as the guest's root.
pub(super) fn fetch(out: &Path, step: &Step) -> anyhow::Result<()> {
    let work = tempfile::tempdir_in(out.parent().unwrap_or(out))?;
    let tree = work.path().join("tree");
    std::fs::create_dir(&tree)?;
    let libraries = dependencies(EXT4, "lib")?;
    for package in [BUSYBOX, EXT4]
        .into_iter()
        .chain(libraries.iter().map(String::as_str))
    {
        unpack(package, &tree, step)?;
    }
    let mut wanted = vec!["busybox".to_owned()];
    wanted.extend(EXT4_PROGRAMS.map(String::from));
    let mut at = 0;
    // Whatever a file needs is appended, until nothing new is.
    while let Some(name) = wanted.get(at).cloned() {
        let path = locate(&tree, &name)?;
        let path = path.with_context(|| format!("{name} is not in the distribution's packages"))?;
        let bytes = std::fs::read(path)?;
        for library in elf::libraries(&bytes).with_context(|| format!("{name} cannot be read"))? {
            if !wanted.contains(&library) {
                wanted.push(library);
            }
        }
        let folder = match name.as_str() {
            LOADER => LOADER_FOLDER,
            library if library.contains(".so") => LIBRARIES,
            _ => PROGRAMS,
        };
        let folder = out.join(folder);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)?;
        at += 1;
    }
    Ok(())
}

/// The program or library `name` in `tree`.
fn locate(tree: &Path, name: &str) -> anyhow::Result<Option<PathBuf>> {
    for folder in FOLDERS.map(|folder| tree.join(folder)) {
        if folder.is_dir()
            && let Some(found) = find(&folder, &|file| file == name)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_not_what_else_has_its_name() {
        let tree = tempfile::tempdir().expect("a folder");
        for folder in ["usr/share/doc", "usr/bin"] {
            std::fs::create_dir_all(tree.path().join(folder)).expect("it is made");
            std::fs::write(tree.path().join(folder).join("x"), folder).expect("it is written");
        }
        let found = locate(tree.path(), "x").expect("it reads");
        assert_eq!(found, Some(tree.path().join("usr/bin/x")));
        assert_eq!(locate(tree.path(), "y").expect("it reads"), None);
    }
}
