//! The kernel, and of its modules those that guests use, in an order in which they load.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::packages::{dependencies, find, run, unpack};
use super::{Flavour, elf};
use crate::progress::Step;

/// What a guest may need. What is built into a kernel, or what it lacks, has no file.
const WANTED: [&str; 9] = [
    "pvpanic_mmio",
    "nvme",
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "e1000e",
    "ahci",
    "sd_mod",
    "ext4",
];

/// Fills `out` with the kernel and the folder of its modules.
pub(super) fn fetch(out: &Path, flavour: Flavour, step: &Step) -> anyhow::Result<()> {
    let work = tempfile::tempdir_in(out.parent().unwrap_or(out))?;
    let tree = work.path().join("tree");
    std::fs::create_dir(&tree)?;
    let packages = dependencies(flavour.package(), "linux-image-")?;
    let package = packages.first().context("no kernel")?;
    unpack(package, &tree, step)?;
    let kernel = find(&tree, &|name| name.starts_with("vmlinuz-"))?.context("the package has no kernel")?;
    std::fs::rename(kernel, out.join("vmlinuz"))?;
    let modules = out.join("modules");
    std::fs::create_dir(&modules)?;
    let read = |name: &str| -> anyhow::Result<Option<Vec<u8>>> {
        let Some(path) = find(&tree, &|file| module_name(file).as_deref() == Some(name))? else {
            return Ok(None);
        };
        let packed = path.extension().is_some_and(|end| end == "xz");
        if packed {
            run(Command::new("xz").arg("-d").arg(&path))?;
        }
        let plain = if packed { path.with_extension("") } else { path };
        Ok(Some(std::fs::read(plain)?))
    };
    for (number, (name, bytes)) in order(&WANTED, read)?.iter().enumerate() {
        std::fs::write(modules.join(format!("{number:02}-{name}.ko")), bytes)?;
    }
    Ok(())
}

/// The module in a file of this name. Dashes and underscores are the same to the kernel.
fn module_name(file: &str) -> Option<String> {
    let name = file.strip_suffix(".xz").unwrap_or(file).strip_suffix(".ko")?;
    Some(name.replace('-', "_"))
}

/// The modules that `wanted` names and all that they need, each after what it needs. `read` gives a module, if there is a
/// file with it.
fn order(
    wanted: &[&str],
    mut read: impl FnMut(&str) -> anyhow::Result<Option<Vec<u8>>>,
) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let (mut out, mut seen) = (Vec::new(), Vec::new());
    /// A module that is to be loaded once what it needs is.
    enum Task {
        Need(String),
        Load(String, Vec<u8>),
    }
    let mut tasks: Vec<Task> = wanted
        .iter()
        .rev()
        .map(|name| Task::Need((*name).into()))
        .collect();
    while let Some(task) = tasks.pop() {
        match task {
            Task::Load(name, bytes) => out.push((name, bytes)),
            Task::Need(name) => {
                let name = name.replace('-', "_");
                if seen.contains(&name) {
                    continue;
                }
                seen.push(name.clone());
                let Some(bytes) = read(&name)? else { continue };
                let needed = elf::modules(&bytes).with_context(|| format!("module {name} cannot be read"))?;
                tasks.push(Task::Load(name, bytes));
                tasks.extend(needed.into_iter().rev().map(Task::Need));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with nothing but `.modinfo`.
    fn module(info: &str) -> Vec<u8> {
        let (info, names) = (info.as_bytes(), b"\0.modinfo\0.shstrtab\0");
        let mut out = vec![0; 64];
        out[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        out[16..20].copy_from_slice(&[1, 0, 62, 0]);
        out[20] = 1;
        let (at, strings) = (64u64, 64 + info.len() as u64);
        let table = strings + names.len() as u64;
        out[40..48].copy_from_slice(&table.to_le_bytes());
        out[52] = 64;
        out[58..64].copy_from_slice(&[64, 0, 3, 0, 2, 0]);
        out.extend(info);
        out.extend(names);
        out.extend([0; 64]);
        for (name, kind, offset, size) in [(1u32, 1u32, at, info.len()), (10, 3, strings, names.len())] {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[24..32].copy_from_slice(&offset.to_le_bytes());
            header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            out.extend(header);
        }
        out
    }

    #[test]
    fn modules_come_after_what_they_need_once_each() {
        let files = [
            ("net", "license=GPL\0depends=ring,core-lib\0"),
            ("ring", "depends=bus\0"),
            ("bus", "depends=\0"),
            ("core_lib", "depends=bus\0softdep=pre: sums post: later\0"),
            ("sums", "depends=core_lib\0"),
            ("disk", "depends=bus,absent\0"),
        ];
        let read = |name: &str| {
            let found = files.iter().find(|(file, _)| *file == name);
            Ok(found.map(|(_, info)| module(info)))
        };
        let loaded = order(&["net", "disk", "built_in"], read).expect("they read");
        let names: Vec<&str> = loaded.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["bus", "ring", "sums", "core_lib", "net", "disk"],
            "a circle ends"
        );
        assert!(order(&["x"], |_| Ok(Some(b"no module".to_vec()))).is_err());
    }

    #[test]
    fn files_are_named_after_modules() {
        assert_eq!(module_name("pvpanic-mmio.ko"), Some("pvpanic_mmio".into()));
        assert_eq!(module_name("nvme.ko.xz"), Some("nvme".into()));
        assert_eq!(module_name("modules.dep"), None);
    }
}
