//! Debian's kernel as a guest: fetched from the distribution into a cache, with an initial file system made here.
//!
//! Nothing else in the repository needs it. The system's package manager does the fetching and the checking of
//! signatures; nothing is installed. `packages` asks it, `modules` and `programs` pick what a guest needs from what comes,
//! [`mod@initramfs`] packs it. [`bench`] compares a guest with the same kernel alone.

pub mod bench;
mod elf;
mod hook;
mod initramfs;
mod modules;
mod packages;
mod programs;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::progress::Step;
use crate::{cargo, tools};

pub use initramfs::initramfs;

/// A kernel of Debian's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flavour {
    /// For virtual machines: few drivers, most built in.
    Cloud,
    /// The usual one.
    Generic,
    /// With real-time scheduling.
    RealTime,
}

impl Flavour {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cloud, Self::Generic, Self::RealTime];

    /// What `image` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cloud => "linux",
            Self::Generic => "linux-generic",
            Self::RealTime => "linux-rt",
        }
    }

    /// The flavour of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flavour| flavour.name() == name)
    }

    /// The package that depends on the newest kernel of its flavour.
    const fn package(self) -> &'static str {
        match self {
            Self::Cloud => "linux-image-cloud-amd64",
            Self::Generic => "linux-image-amd64",
            Self::RealTime => "linux-image-rt-amd64",
        }
    }
}

/// What a Linux guest is made of.
#[derive(Clone, Debug)]
pub struct Files {
    /// The kernel, a bzImage.
    pub kernel: PathBuf,
    /// Modules of that kernel, each after those that it needs.
    modules: PathBuf,
    /// Programs and their libraries, as they lie in the guest.
    user: PathBuf,
}

/// The files, from the cache or from the distribution.
///
/// # Errors
/// Where they are not in the cache and cannot be fetched; the message says how to go on without.
pub fn fetch(flavour: Flavour) -> anyhow::Result<Files> {
    let cache = cache()?;
    let (kernel, user) = (
        cache.join(format!("kernel-{}", flavour.name())),
        cache.join("user"),
    );
    let files = Files {
        kernel: kernel.join("vmlinuz"),
        modules: kernel.join("modules"),
        user: user.clone(),
    };
    if kernel.is_dir() && user.is_dir() {
        return Ok(files);
    }
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        if tools::find(program).is_none() {
            bail!(
                "image = \"{}\" is Debian's kernel, and there is no `{program}` here to fetch it with; write the \
                 path of a bzImage of your own, and an `initrd`",
                flavour.name()
            );
        }
    }
    std::fs::create_dir_all(&cache).with_context(|| {
        format!(
            "cannot make the cache {}; set XDG_CACHE_HOME to a folder that can be written",
            cache.display()
        )
    })?;
    let step = Step::new("Fetching Debian's kernel and a few programs (once)");
    if !user.is_dir() {
        whole(&cache, &user, |folder| programs::fetch(folder, &step))?;
    }
    if !kernel.is_dir() {
        whole(&cache, &kernel, |folder| modules::fetch(folder, flavour, &step))?;
    }
    drop(step);
    eprintln!("Debian's kernel and a few programs are in {}", cache.display());
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

/// Has `fill` fill the folder `to`, whole or not at all.
fn whole(cache: &Path, to: &Path, fill: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let work = tempfile::tempdir_in(cache)?;
    let folder = work.path().join("out");
    std::fs::create_dir(&folder)?;
    fill(&folder)?;
    match std::fs::rename(&folder, to) {
        // Another process was faster with the same.
        Err(_) if to.is_dir() => Ok(()),
        done => Ok(done?),
    }
}

/// The program that checks devices in the guest, built here.
///
/// # Errors
/// Where it does not build.
pub fn probe() -> anyhow::Result<Vec<u8>> {
    let built = cargo::build("Building the guest's checks", &["build"], &["-p", "probe"])?;
    let (_, path) = built
        .into_iter()
        .find(|(name, _)| name == "probe")
        .context("cargo built no probe")?;
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flavour_has_its_name() {
        for flavour in Flavour::ALL {
            assert_eq!(Flavour::named(flavour.name()), Some(flavour));
        }
        assert_eq!(Flavour::named("storage"), None);
    }

    #[test]
    fn a_folder_is_there_whole_or_not_at_all() {
        let cache = tempfile::tempdir().expect("a folder");
        let to = cache.path().join("to");
        let put = |folder: &Path| Ok(std::fs::write(folder.join("a"), "1")?);
        let failed = whole(cache.path(), &to, |folder| {
            put(folder)?;
            bail!("no more")
        });
        assert!(failed.is_err() && !to.exists());
        for _ in 0..2 {
            whole(cache.path(), &to, put).expect("it is made");
        }
        assert_eq!(std::fs::read_dir(cache.path()).expect("it reads").count(), 1);
    }
}
