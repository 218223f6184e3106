//! What can be wrong with a configuration, and what to write instead.

use std::path::PathBuf;

use vfio_core::pci::{Bdf, ParseBdfError};

use super::size::show;
use super::{
    BUILT_IN_IMAGES, HYPERVISOR_END, MAX_DEVICES, MAX_GUESTS, MAX_RESTARTS, MAX_SPLIT, RESERVED,
    USUAL_RESTARTS,
};
use crate::image::ImageError;
use crate::linux::Flavour;

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Not TOML, an unknown or missing key, a value of the wrong type.
    #[error("{0}")]
    Toml(String),
    /// Not a number of bytes.
    #[error("`{0}` is not a size or an address")]
    Size(String),
    /// Not a number of seconds in range.
    #[error("a deadline of {0} seconds")]
    Deadline(u64),
    /// There is nothing to run.
    #[error("the configuration has no guest")]
    NoGuest,
    /// More than [`MAX_GUESTS`].
    #[error("{0} guests, {MAX_GUESTS} at most")]
    TooManyGuests(usize),
    /// Empty, too long, or not printable.
    #[error("`{0}` cannot be a guest's name")]
    Name(String),
    /// Two guests of one name.
    #[error("two guests have the name `{0}`")]
    NameTwice(String),
    /// A guest without CPUs.
    #[error("guest `{0}` has no CPU")]
    NoCpu(String),
    /// CPU 0 belongs to the hypervisor.
    #[error("guest `{0}` is given CPU 0, which the hypervisor keeps")]
    CpuZero(String),
    /// One CPU given twice.
    #[error("CPU {cpu} is given to `{first}` and to `{second}`")]
    CpuTwice {
        /// The CPU.
        cpu: u32,
        /// The guest that is listed first.
        first: String,
        /// The guest that is listed second (or the same once more).
        second: String,
    },
    /// A CPU that the machine lacks.
    #[error("guest `{guest}` is given CPU {cpu}, the machine has CPUs 0 to {}", .cpus.saturating_sub(1))]
    CpuBeyond {
        /// The guest.
        guest: String,
        /// The CPU.
        cpu: u32,
        /// How many the machine has.
        cpus: u32,
    },
    /// Zero, or not whole large pages.
    #[error("guest `{guest}` has {} of memory, which is not a positive multiple of 2M", show(*.memory))]
    MemoryGranule {
        /// The guest.
        guest: String,
        /// Bytes.
        memory: u64,
    },
    /// The guests together want more than there is.
    #[error("the guests have {} of memory together, the machine has {} for them ({} less {} for the hypervisor)", show(*.wanted), show(.machine.saturating_sub(RESERVED)), show(*.machine), show(RESERVED))]
    MemoryTotal {
        /// Bytes that the guests want.
        wanted: u64,
        /// Bytes of the machine.
        machine: u64,
    },
    /// `memory-at` is not the address of a large page.
    #[error("guest `{guest}` has its memory at {at:#x}, which is not a multiple of 2M")]
    MemoryAtGranule {
        /// The guest.
        guest: String,
        /// The address.
        at: u64,
    },
    /// `memory-at` reaches into the hypervisor.
    #[error("guest `{guest}` has its memory at {at:#x}, where the hypervisor is (below {HYPERVISOR_END:#x})")]
    MemoryAtHypervisor {
        /// The guest.
        guest: String,
        /// The address.
        at: u64,
    },
    /// `memory-at` where the machine has no RAM.
    #[error("guest `{guest}` has its memory at {at:#x} to {:#x}, the machine's RAM ends at {ram_end:#x}", .at.saturating_add(*.memory))]
    MemoryAtBeyond {
        /// The guest.
        guest: String,
        /// The address.
        at: u64,
        /// Bytes.
        memory: u64,
        /// End of the RAM below 4 GiB.
        ram_end: u64,
    },
    /// Two guests' memory overlaps.
    #[error("the memory of `{first}` and of `{second}` overlaps from {from:#x} to {to:#x}")]
    MemoryOverlap {
        /// The guest that is listed first.
        first: String,
        /// The guest that is listed second.
        second: String,
        /// Start of the overlap.
        from: u64,
        /// Its end.
        to: u64,
        /// The first address after `first` that is free of it.
        free: u64,
    },
    /// There is no such file, and no built-in image of this name.
    #[error("guest `{guest}`: there is no image {}", .path.display())]
    ImageMissing {
        /// The guest.
        guest: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The initial file system is not there.
    #[error("guest `{guest}`: there is no initrd {}", .path.display())]
    InitrdMissing {
        /// The guest.
        guest: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Not a way to answer what is denied.
    #[error("`{0}` is not a way to answer what no table allows")]
    Denied(String),
    /// Not something that is done about a blocked access.
    #[error("`{0}` is not what can be done when a device is blocked")]
    OnFault(String),
    /// The file cannot be a guest.
    #[error("guest `{guest}`: {} cannot be run: {why}", .path.display())]
    ImageFormat {
        /// The guest.
        guest: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: ImageError,
    },
    /// Longer than the hypervisor takes, or not printable.
    #[error("the command line of `{0}` is too long or has characters that are not printable ASCII")]
    Cmdline(String),
    /// Not a PCI address.
    #[error("`{0}` is {ParseBdfError}")]
    Device(String),
    /// One device given twice.
    #[error("{}", device_twice(*.device, .first, .second))]
    DeviceTwice {
        /// The device.
        device: Bdf,
        /// The guest that is listed first.
        first: String,
        /// The guest that is listed second (or the same once more).
        second: String,
    },
    /// More than [`MAX_DEVICES`].
    #[error("guest `{guest}` has {count} devices, {MAX_DEVICES} at most")]
    TooManyDevices {
        /// The guest.
        guest: String,
        /// How many it lists.
        count: usize,
    },
    /// One device split off twice.
    #[error("device {0} is in split-unsafe twice")]
    SplitTwice(Bdf),
    /// More than [`MAX_SPLIT`].
    #[error("split-unsafe has {0} devices, {MAX_SPLIT} at most")]
    TooManySplit(usize),
    /// Not an expectation.
    #[error("`{0}` is not an expectation")]
    Expect(String),
    /// Not something to do when a guest ends.
    #[error("`{0}` is nothing that can be done when a guest ends")]
    OnExit(String),
    /// A number of restarts that cannot be.
    #[error("a guest that is started again {0} times")]
    Restarts(u32),
    /// A number of restarts of a guest that is not started again.
    #[error("guest `{0}` has `restarts`, but it is not started again when it ends")]
    RestartsOfNone(String),
    /// Not an IOMMU that the tool can add.
    #[error("`{0}` is not an IOMMU that the machine can have")]
    Iommu(String),
    /// The machine has too few or too many CPUs.
    #[error("a machine with {0} CPUs")]
    MachineCpus(u32),
    /// The machine has too little or too much memory.
    #[error("a machine with {} of memory", show(*.0))]
    MachineMemory(u64),
    /// Two disks or networks of one id, or an id that QEMU cannot take.
    #[error("`{0}` cannot be an id: it is used twice or is not a word")]
    DiskId(String),
    /// Not whole sectors, or too large, or without room for the test pattern.
    #[error("a disk of {}", show(*.0))]
    DiskSize(u64),
    /// `written-by` names no guest.
    #[error("there is no guest `{0}` to write this disk")]
    DiskWriter(String),
    /// Not a file system that the tool can look at.
    #[error("`{0}` is no file system that can be verified")]
    Filesystem(String),
    /// A file system that nobody makes.
    #[error("nobody is named who makes the file system of disk `{0}`")]
    FilesystemWriter(String),
    /// `used-by` names no guest.
    #[error("there is no guest `{0}` to use this network")]
    NetworkUser(String),
    /// The hypervisor, asked in `check`, says that devices are missing or cannot be assigned.
    #[error("{text}")]
    Kernel {
        /// The hypervisor's words.
        text: String,
        /// What it says to do, if it says that.
        fix: Option<String>,
        /// The line to write, if one helps.
        line: Option<String>,
    },
}

impl Cause {
    /// What to write instead.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Toml(message) => toml_help(message),
            Self::Size(_) => "write a number of bytes with K, M or G, or a hexadecimal address: \"16M\", \
                              \"0x20000000\""
                .into(),
            Self::Deadline(_) => "write 1 to 3600 seconds, or leave the line out: deadline = 60".into(),
            Self::NoGuest => {
                "add a guest:\n[[guest]]\nname = \"first\"\ncpus = [1]\nmemory = \"16M\"\nimage = \
                              \"storage\""
                    .into()
            }
            Self::TooManyGuests(_) => "remove guests".into(),
            Self::Name(_) => "write 1 to 32 letters, digits, `-` or `_`: name = \"storage\"".into(),
            Self::NameTwice(name) => format!("rename one of them: name = \"{name}-2\""),
            Self::NoCpu(_) => "give it at least one: cpus = [1]".into(),
            Self::CpuZero(_) => "give it CPUs from 1 up: cpus = [1]".into(),
            Self::CpuTwice { second, .. } => {
                format!("a CPU serves one guest: give `{second}` another, or raise `cpus` under [machine]")
            }
            Self::CpuBeyond { cpu, .. } => {
                format!(
                    "give it a lower one, or write under [machine]: cpus = {}",
                    cpu.saturating_add(1)
                )
            }
            Self::MemoryGranule { memory, .. } => {
                let up = memory.checked_next_multiple_of(2 << 20).unwrap_or(0).max(2 << 20);
                format!("write whole large pages: memory = \"{}\"", show(up))
            }
            Self::MemoryTotal { wanted, .. } => format!(
                "give the guests less, or write under [machine]: memory = \"{}\"",
                show(
                    wanted
                        .saturating_add(RESERVED)
                        .checked_next_multiple_of(64 << 20)
                        .unwrap_or(*wanted)
                )
            ),
            Self::MemoryAtGranule { at, .. } => {
                format!(
                    "write memory-at = \"{:#x}\", or leave the line out",
                    at & !((2 << 20) - 1)
                )
            }
            Self::MemoryAtHypervisor { .. } => {
                format!("write memory-at = \"{HYPERVISOR_END:#x}\" or higher, or leave the line out")
            }
            Self::MemoryAtBeyond { .. } => {
                "write a lower memory-at, leave the line out, or raise `memory` under [machine]".into()
            }
            Self::MemoryOverlap { second, free, .. } => {
                format!("for `{second}` write memory-at = \"{free:#x}\", or leave the line out")
            }
            Self::ImageMissing { .. } => format!(
                "write the path of an ELF64 file with a PVH note or of a Linux bzImage (relative to this file), or a \
                 built-in name: {}",
                BUILT_IN_IMAGES
                    .into_iter()
                    .chain(Flavour::ALL.map(Flavour::name))
                    .map(|name| format!("\"{name}\""))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            Self::ImageFormat { why, .. } => why.help().into(),
            Self::InitrdMissing { .. } => {
                "write the path of a cpio archive (relative to this file), or leave the line out".into()
            }
            Self::OnFault(_) => "write on-fault = \"report\", \"quarantine\" or \"stop\"".into(),
            Self::Denied(_) => "write denied = \"stop\" or \"hardware\", or leave the line out".into(),
            Self::Cmdline(_) => "write at most 2048 bytes of printable ASCII".into(),
            Self::Device(_) => "write segment:bus:device.function in hexadecimal: \"0000:00:04.0\"; \
                                `cargo run -- sets` lists the machine's devices"
                .into(),
            Self::DeviceTwice { first, second, .. } if first == second => "remove one of them".into(),
            Self::DeviceTwice { second, .. } => format!("remove it from the `devices` of `{second}`"),
            Self::TooManyDevices { .. } => "give some of them to another guest".into(),
            Self::SplitTwice(_) => "remove it once".into(),
            Self::TooManySplit(_) => {
                "keep those that are given away and that `sets` shows in one isolation group".into()
            }
            Self::Expect(_) => "write expect = \"success\", \"stopped\", \"reset\" or \"any\"".into(),
            Self::OnExit(_) => "write on-exit = \"stop\" or \"restart\", or leave the line out".into(),
            Self::Restarts(_) => format!("write 1 to {MAX_RESTARTS}: restarts = {USUAL_RESTARTS}"),
            Self::RestartsOfNone(_) => "add on-exit = \"restart\", or remove the line".into(),
            Self::Iommu(_) => "write iommu = \"virtio\", \"vtd\", \"amdvi\" or \"none\"".into(),
            Self::MachineCpus(_) => "write 2 to 64, of which the hypervisor keeps one: cpus = 3".into(),
            Self::MachineMemory(_) => "write \"256M\" to \"64G\", in whole megabytes: memory = \"1G\"".into(),
            Self::DiskId(_) => "write a word that no other disk or network has: id = \"disk1\"".into(),
            Self::DiskSize(_) => "write 1M to 1G, in whole megabytes: size = \"16M\"".into(),
            Self::DiskWriter(_) => {
                "write the name of a guest, or leave the line out: the disk must then stay \
                                    as it is"
                    .into()
            }
            Self::Filesystem(_) => "write filesystem = \"ext4\", or leave the line out".into(),
            Self::FilesystemWriter(_) => "add the guest that makes it: written-by = \"linux\"".into(),
            Self::NetworkUser(_) => {
                "write the name of a guest, or leave the line out: nothing is then verified".into()
            }
            Self::Kernel { line: Some(line), .. } => format!("write {line}"),
            Self::Kernel { fix: Some(fix), .. } => fix.clone(),
            Self::Kernel { .. } => "change the machine as the message says, or the configuration".into(),
        }
    }
}

/// Help for the TOML library's own messages: the nearest key for an unknown one.
fn toml_help(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field") {
        let Some(unknown) = quoted.next() else {
            return String::new();
        };
        let known: Vec<&str> = quoted.collect();
        let near = known
            .iter()
            .min_by_key(|key| distance(unknown, key))
            .filter(|key| distance(unknown, key) <= 3);
        return match near {
            Some(key) => format!("did you mean `{key}`? Otherwise remove the line"),
            None => "remove the line; docs/configuration.md lists the keys".into(),
        };
    }
    if let (true, Some(key)) = (message.starts_with("missing field"), quoted.next()) {
        return format!("add a line `{key} = ...`; docs/configuration.md has an example");
    }
    let wanted = message.rsplit_once("expected ").map_or("", |(_, wanted)| wanted);
    match wanted {
        "u32" | "u64" => "write a number without quotes, 0 or more".into(),
        "a sequence" => "write a list in brackets, also for one: [ ... ]".into(),
        "a string" => "write text in quotes".into(),
        "a boolean" => "write true or false, without quotes".into(),
        _ => "docs/configuration.md shows each key with its type".into(),
    }
}

/// A device that is given twice, maybe to one guest.
fn device_twice(device: Bdf, first: &str, second: &str) -> String {
    if first == second {
        format!("device {device} is given to `{first}` twice")
    } else {
        format!("device {device} is given to `{first}` and to `{second}`")
    }
}

/// Levenshtein distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let best = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = best;
            left = best;
        }
    }
    row.last().copied().unwrap_or(0)
}
