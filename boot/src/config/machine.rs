//! The `[machine]` section: what QEMU is to show.

use std::collections::BTreeSet;

use super::cause::Cause;
use super::problem::Problem;
use super::{Source, schema};

/// The machine that QEMU shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPUs, of which the hypervisor keeps the first.
    pub cpus: u32,
    /// RAM in bytes.
    pub memory: u64,
    /// The IOMMU.
    pub iommu: Iommu,
    /// QEMU's `-cpu`.
    pub cpu: String,
    /// QEMU's `-accel`.
    pub accel: String,
    /// QEMU's `-device`, one each, in order.
    pub devices: Vec<String>,
    /// Disk images that the tool makes, for `drive=ID` in `devices`.
    pub disks: Vec<Disk>,
    /// Networks that the tool is the other end of, for `netdev=ID` in `devices`.
    pub networks: Vec<Network>,
    /// Further arguments for QEMU, as they are.
    pub qemu: Vec<String>,
}

/// The IOMMU of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iommu {
    /// `virtio-iommu-pci` at 0000:00:02.0.
    Virtio,
    /// `intel-iommu` with interrupt remapping.
    Vtd,
    /// `amd-iommu` with interrupt remapping.
    Amdvi,
    /// None: the hypervisor must refuse to assign anything.
    None,
}

/// A disk image that the tool fills before the run and verifies after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// QEMU's drive id.
    pub id: String,
    /// Size in bytes, whole sectors.
    pub size: u64,
    /// The guest that must have written its part; without one, nothing may change.
    pub written_by: Option<String>,
    /// What is on it.
    pub used_as: DiskUse,
}

/// What is on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskUse {
    /// Sectors of the tool's, of which the guest writes [`cohort_abi::disk::WRITTEN`].
    Sectors,
    /// Nothing at first; the guest makes an ext4 file system, uses it and leaves it in order.
    Ext4,
}

/// A network of its own for one network card, with the tool as its other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// QEMU's netdev id.
    pub id: String,
    /// The guest that must have finished a transfer ([`cohort_abi::exchange`]).
    pub used_by: Option<String>,
}

/// What QEMU 7.2 needs for SVM with nested paging under TCG.
const CPU: &str = "EPYC,+svm,+npt";

impl Machine {
    /// End of the RAM below 4 GiB, as q35 lays it out (QEMU 7.2, `hw/i386/pc_q35.c`, `pc_q35_init`).
    #[must_use]
    pub fn low_ram_end(&self) -> u64 {
        if self.memory >= 0xb000_0000 {
            0x8000_0000
        } else {
            self.memory
        }
    }

    /// Whether all of `start..end` is RAM.
    #[must_use]
    pub fn is_ram(&self, start: u64, end: u64) -> bool {
        const FOUR_GIB: u64 = 4 << 30;
        let high_end = FOUR_GIB + (self.memory - self.low_ram_end());
        end <= self.low_ram_end() || (start >= FOUR_GIB && end <= high_end)
    }

    /// Reads the section; an absent one is the demo's machine. Problems go to `problems`.
    pub(super) fn read(
        section: Option<schema::Machine>,
        guests: &[(&str, &str)],
        problems: &mut Vec<Problem>,
    ) -> Self {
        let demo = section.is_none();
        let section = section.or_else(|| schema::parse(&Source::demo().text).ok()?.machine);
        let Some(section) = section else {
            return Self::bare();
        };
        let mut machine = Self::bare();
        if let Some(cpus) = &section.cpus {
            machine.cpus = *cpus.get_ref();
            if !(2..=64).contains(&machine.cpus) {
                problems.push(Problem::new(Cause::MachineCpus(machine.cpus), cpus.span()));
            }
        }
        if let Some(memory) = &section.memory {
            match memory.get_ref().bytes() {
                Ok(bytes) if (256 << 20..=64 << 30).contains(&bytes) && bytes.is_multiple_of(1 << 20) => {
                    machine.memory = bytes;
                }
                Ok(bytes) => problems.push(Problem::new(Cause::MachineMemory(bytes), memory.span())),
                Err(text) => problems.push(Problem::new(Cause::Size(text), memory.span())),
            }
        }
        match section
            .iommu
            .as_ref()
            .map(|iommu| (iommu.get_ref().as_str(), iommu.span()))
        {
            None | Some(("virtio", _)) => {}
            Some(("vtd", _)) => machine.iommu = Iommu::Vtd,
            Some(("amdvi", _)) => machine.iommu = Iommu::Amdvi,
            Some(("none", _)) => machine.iommu = Iommu::None,
            Some((other, at)) => problems.push(Problem::new(Cause::Iommu(other.into()), at)),
        }
        machine.cpu = section.cpu.unwrap_or(machine.cpu);
        machine.accel = section.accel.unwrap_or(machine.accel);
        machine.devices = section.devices;
        machine.qemu = section.qemu;
        let mut ids = BTreeSet::new();
        machine.disks = disks(section.disk, &mut ids, demo, guests, problems);
        machine.networks = networks(section.network, &mut ids, guests, problems);
        machine
    }

    /// A machine of default size without devices.
    fn bare() -> Self {
        Self {
            cpus: 3,
            memory: 1 << 30,
            iommu: Iommu::Virtio,
            cpu: CPU.into(),
            accel: "tcg,thread=single".into(),
            devices: Vec::new(),
            disks: Vec::new(),
            networks: Vec::new(),
            qemu: Vec::new(),
        }
    }
}

/// Whether `id` is a word that nothing else has.
fn is_new_word(id: &str, ids: &mut BTreeSet<String>) -> bool {
    let word = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric());
    word && ids.insert(id.into())
}

fn networks(
    section: Vec<schema::Network>,
    ids: &mut BTreeSet<String>,
    guests: &[(&str, &str)],
    problems: &mut Vec<Problem>,
) -> Vec<Network> {
    let mut networks = Vec::new();
    for network in section {
        let id = network.id.get_ref().clone();
        if !is_new_word(&id, ids) {
            problems.push(Problem::new(Cause::DiskId(id.clone()), network.id.span()));
        }
        if let Some(name) = &network.used_by
            && !guests.iter().any(|(guest, _)| guest == name.get_ref())
        {
            let cause = Cause::NetworkUser(name.get_ref().clone());
            problems.push(Problem::new(cause, name.span()));
        }
        let used_by = network.used_by.map(toml::Spanned::into_inner);
        networks.push(Network { id, used_by });
    }
    networks
}

fn disks(
    section: Vec<schema::Disk>,
    ids: &mut BTreeSet<String>,
    demo: bool,
    guests: &[(&str, &str)],
    problems: &mut Vec<Problem>,
) -> Vec<Disk> {
    let mut disks = Vec::new();
    for disk in section {
        let id = disk.id.get_ref().clone();
        if !is_new_word(&id, ids) {
            problems.push(Problem::new(Cause::DiskId(id.clone()), disk.id.span()));
        }
        let size = match disk.size.get_ref().bytes() {
            Ok(size) if (1 << 20..=1 << 30).contains(&size) && size.is_multiple_of(1 << 20) => size,
            Ok(size) => {
                problems.push(Problem::new(Cause::DiskSize(size), disk.size.span()));
                continue;
            }
            Err(text) => {
                problems.push(Problem::new(Cause::Size(text), disk.size.span()));
                continue;
            }
        };
        let written_by = match disk.written_by {
            // In the demo's machine with guests of the user's own, only the guest that does write is bound to.
            Some(name) if demo => Some(name.into_inner()).filter(|name| guests.contains(&(name, "storage"))),
            Some(name) => {
                if !guests.iter().any(|(guest, _)| guest == name.get_ref()) {
                    problems.push(Problem::new(
                        Cause::DiskWriter(name.get_ref().clone()),
                        name.span(),
                    ));
                }
                Some(name.into_inner())
            }
            None => None,
        };
        let used_as = match disk
            .filesystem
            .as_ref()
            .map(|name| (name.get_ref().as_str(), name.span()))
        {
            None => DiskUse::Sectors,
            Some(("ext4", at)) => {
                if written_by.is_none() {
                    problems.push(Problem::new(Cause::FilesystemWriter(id.clone()), at));
                }
                DiskUse::Ext4
            }
            Some((other, at)) => {
                problems.push(Problem::new(Cause::Filesystem(other.into()), at));
                DiskUse::Ext4
            }
        };
        disks.push(Disk {
            id,
            size,
            written_by,
            used_as,
        });
    }
    disks
}
