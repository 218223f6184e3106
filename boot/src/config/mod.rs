//! The configuration: from TOML text to a [`Plan`] in which every rule that the host can check holds.
//!
//! `schema` is the file's shape, `check` its rules, `cause` what is said when one does not hold, `problem` where.
//! The hypervisor checks the rules again, with the true machine before it, and trusts none of this.

mod cause;
mod check;
mod machine;
mod problem;
mod schema;
mod size;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use cohort_abi::bundle::{Denied, Expect, OnExit, OnFault};
use vfio_core::pci::Bdf;

pub use cause::Cause;
pub use machine::{Disk, DiskUse, Iommu, Machine, Network};
pub use problem::{Problem, Refused};

use crate::linux::Flavour;

/// The built-in demo.
pub const DEMO: &str = include_str!("../../demo.toml");

/// The built-in demo on a machine that QEMU's amd-iommu serves: all devices that guests have are on the root bus.
pub const DEMO_AMDVI: &str = include_str!("../../demo-amdvi.toml");

/// The built-in configuration with a Linux guest.
pub const LINUX: &str = include_str!("../../linux.toml");

/// The guests that `image = "NAME"` builds and takes from `tests/guests`.
pub const BUILT_IN_IMAGES: [&str; 4] = ["storage", "rogue", "several", "faulty"];

/// Host physical memory below this address belongs to the hypervisor, in bytes.
///
/// It is linked at 16 MiB; the rest is room for its heap, its tables and the CPUs' start-up code.
pub const HYPERVISOR_END: u64 = 64 << 20;

/// Memory of the machine that no guest can have, in bytes: [`HYPERVISOR_END`], and as much again for the
/// bundle and the firmware's tables, which lie at the end of RAM.
pub const RESERVED: u64 = 2 * HYPERVISOR_END;

/// Most guests in one configuration.
pub const MAX_GUESTS: usize = 16;

/// Most devices in `split-unsafe`.
pub const MAX_SPLIT: usize = 256;

/// How often a guest is started again where the configuration does not say.
pub const USUAL_RESTARTS: u32 = 3;

/// How often a guest may be started again at most.
pub const MAX_RESTARTS: u32 = cohort_abi::bundle::Guest::MAX_RESTARTS;

/// Most devices for one guest.
pub const MAX_DEVICES: usize = 32;

/// A text with the name that messages give it and the folder that its relative paths start from.
#[derive(Clone, Debug)]
pub struct Source {
    /// As the user named it.
    pub name: String,
    /// The TOML text.
    pub text: String,
    /// Where relative paths start.
    pub folder: PathBuf,
}

impl Source {
    /// The demo of [`DEMO`].
    #[must_use]
    pub fn demo() -> Self {
        Self {
            name: "demo.toml (built in)".into(),
            text: DEMO.into(),
            folder: PathBuf::from("."),
        }
    }

    /// The demo of [`DEMO_AMDVI`].
    #[must_use]
    pub fn demo_amdvi() -> Self {
        Self {
            name: "demo-amdvi.toml (built in)".into(),
            text: DEMO_AMDVI.into(),
            folder: PathBuf::from("."),
        }
    }

    /// The Linux guest of [`LINUX`].
    #[must_use]
    pub fn linux() -> Self {
        Self {
            name: "linux.toml (built in)".into(),
            text: LINUX.into(),
            folder: PathBuf::from("."),
        }
    }

    /// The file at `path`.
    ///
    /// # Errors
    /// Where it cannot be read as text.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| {
            anyhow::anyhow!(
                "cannot read the configuration {}: {error}; without a path, the built-in demo runs",
                path.display()
            )
        })?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        Ok(Self {
            name: path.display().to_string(),
            text,
            folder,
        })
    }
}

/// A configuration in which everything that the host can check holds.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it comes from, for messages about it.
    pub source: Source,
    /// The user accepts interrupts that no hardware isolates.
    pub allow_unsafe_interrupts: bool,
    /// Devices that the user splits off from their isolation groups.
    pub split_unsafe: Vec<Bdf>,
    /// Milliseconds that a guest may run; 0 means no limit.
    pub deadline_ms: u32,
    /// The partitions.
    pub guests: Vec<Guest>,
    /// The machine that QEMU is to show.
    pub machine: Machine,
}

impl Plan {
    /// Reads and checks `source`.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first thing; only a text that is not of the right shape at all
    /// stops at its first problem.
    pub fn load(source: Source) -> Result<Self, Refused> {
        match schema::parse(&source.text) {
            Err(problem) => Err(Refused::new(&source, vec![problem])),
            Ok(file) => check::check(file, source),
        }
    }
}

/// One guest of a [`Plan`].
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Host CPUs, one vCPU each.
    pub cpus: Vec<u32>,
    /// RAM in bytes.
    pub memory: u64,
    /// Host physical address of the RAM, if fixed.
    pub memory_at: Option<u64>,
    /// What it runs.
    pub image: Image,
    /// Its initial file system, if it is given one.
    pub initrd: Option<PathBuf>,
    /// What becomes of what no table allows; `None` where the kind of image decides.
    pub denied: Option<Denied>,
    /// What is done when an IOMMU blocks a device of its.
    pub on_fault: OnFault,
    /// Its command line.
    pub cmdline: String,
    /// Its devices.
    pub devices: Vec<Bdf>,
    /// What must come of it.
    pub expect: Expect,
    /// What is done when it ends.
    pub on_exit: OnExit,
    /// Where the configuration lists its devices (or names it, where it lists none): byte offsets.
    pub devices_at: Range<usize>,
}

/// Where a guest's image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// One of [`BUILT_IN_IMAGES`].
    BuiltIn(String),
    /// A kernel of Debian's, which [`linux`](crate::linux) fetches.
    Linux(Flavour),
    /// An ELF64 file with a PVH note, or a Linux bzImage.
    File(PathBuf),
}

#[cfg(test)]
mod tests;
