//! QEMU's command line for a machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cohort_abi::{exchange, exit};

use crate::config::{Iommu, Machine};

/// What a machine boots, and the files that it uses.
#[derive(Clone, Debug)]
pub struct Boot {
    /// ELF64 with a PVH note.
    pub kernel: PathBuf,
    /// Its one boot module.
    pub module: Option<PathBuf>,
    /// Its command line.
    pub cmdline: String,
    /// Image of each disk of the machine, in the machine's order.
    pub disks: Vec<PathBuf>,
    /// Socket of each network's other end, in the machine's order.
    pub networks: Vec<PathBuf>,
    /// Where the records of the second serial port go.
    pub report: PathBuf,
    /// Virtual time counts instructions, so that a run repeats itself.
    pub icount: bool,
}

/// QEMU's arguments for `machine`, booting `boot`.
#[must_use]
pub fn arguments(machine: &Machine, boot: &Boot) -> Vec<OsString> {
    let mut out: Vec<OsString> = Vec::new();
    let mut add = |arguments: &[&str]| out.extend(arguments.iter().map(OsString::from));
    add(&["-machine", "q35", "-cpu", &machine.cpu]);
    add(&[
        "-smp",
        &machine.cpus.to_string(),
        "-m",
        &format!("{}M", machine.memory >> 20),
    ]);
    add(&["-no-reboot", "-nodefaults", "-no-user-config", "-display", "none"]);
    if boot.icount {
        // One host thread, one tick an instruction, time that does not depend on the host.
        add(&["-accel", "tcg,thread=single"]);
        add(&["-icount", "shift=0,sleep=off", "-rtc", "clock=vm", "-seed", "1"]);
    } else {
        add(&["-accel", &machine.accel]);
    }
    add(&[
        "-chardev",
        "stdio,id=console,signal=on",
        "-serial",
        "chardev:console",
    ]);
    add(&[
        "-chardev",
        &format!("file,id=report,path={}", escape(&boot.report)),
        "-serial",
        "chardev:report",
    ]);
    add(&[
        "-device",
        &format!("isa-debug-exit,iobase={:#x},iosize=4", exit::PORT),
    ]);
    // Before the devices that it is to translate for.
    match machine.iommu {
        Iommu::Virtio => add(&["-device", "virtio-iommu-pci,addr=02"]),
        Iommu::Vtd => add(&["-device", "intel-iommu,intremap=on,caching-mode=on,aw-bits=48"]),
        Iommu::Amdvi => add(&["-device", "amd-iommu,intremap=on"]),
        Iommu::None => {}
    }
    for (disk, path) in machine.disks.iter().zip(&boot.disks) {
        // Written through to the image, which is verified once QEMU has ended.
        let drive = format!("if=none,id={},format=raw,file={}", disk.id, escape(path));
        add(&["-drive", &drive]);
    }
    for (network, path) in machine.networks.iter().zip(&boot.networks) {
        // `restrict`: the guest reaches this socket and the DHCP server, nothing else of the host or of the world.
        let (id, [a, b, c, d]) = (&network.id, exchange::ADDRESS);
        let peer = format!("{id}peer");
        add(&["-chardev", &format!("socket,id={peer},path={}", escape(path))]);
        let forward = format!("tcp:{a}.{b}.{c}.{d}:{}-chardev:{peer}", exchange::PORT);
        add(&["-netdev", &format!("user,id={id},restrict=on,guestfwd={forward}")]);
    }
    for device in &machine.devices {
        add(&["-device", device]);
    }
    out.extend(machine.qemu.iter().map(OsString::from));
    out.extend(["-kernel".into(), boot.kernel.clone().into_os_string()]);
    if let Some(module) = &boot.module {
        // A comma would separate modules, of which PVH gets only the first.
        out.extend(["-initrd".into(), module.clone().into_os_string()]);
    }
    if !boot.cmdline.is_empty() {
        out.extend(["-append".into(), OsString::from(&boot.cmdline)]);
    }
    out
}

/// A path inside a QEMU option list, where a comma is written twice.
fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// Whether a line that QEMU prints on its error output says nothing about the run: CPU features of the model
/// that TCG lacks, and network cards without a network.
#[must_use]
pub fn is_noise(line: &str) -> bool {
    line.contains("warning: TCG doesn't support requested feature") || line.ends_with("has no peer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Network, Plan, Source};

    fn line(icount: bool, iommu: Iommu) -> String {
        let mut machine = Plan::load(Source::demo()).expect("the demo holds").machine;
        machine.iommu = iommu;
        machine.networks.push(Network {
            id: "net0".into(),
            used_by: None,
        });
        let boot = Boot {
            kernel: "/k".into(),
            module: Some("/m".into()),
            cmdline: String::new(),
            disks: vec!["/tmp/a,b".into()],
            networks: vec!["/tmp/c,d".into()],
            report: "/r".into(),
            icount,
        };
        let words: Vec<_> = arguments(&machine, &boot)
            .iter()
            .map(|word| word.display().to_string())
            .collect();
        words.join(" ")
    }

    #[test]
    fn the_demo_has_its_machine() {
        let line = line(false, Iommu::Virtio);
        for part in [
            "-machine q35 -cpu EPYC,+svm,+npt -smp 3 -m 1024M",
            "-accel tcg,thread=single ",
            "isa-debug-exit,iobase=0xf4",
            "-device virtio-iommu-pci,addr=02 ",
            "-drive if=none,id=disk0,format=raw,file=/tmp/a,,b ",
            "-chardev socket,id=net0peer,path=/tmp/c,,d -netdev user,id=net0,restrict=on,\
             guestfwd=tcp:10.0.2.100:7000-chardev:net0peer ",
            "-device nvme,addr=04,drive=disk0",
            "-kernel /k -initrd /m",
        ] {
            assert!(line.contains(part), "{part:?} is in {line}");
        }
        assert!(!line.contains("icount") && !line.contains("-append"), "{line}");
    }

    #[test]
    fn options_change_it() {
        assert!(!line(false, Iommu::None).contains("iommu-"));
        assert!(line(false, Iommu::Vtd).contains("-device intel-iommu,intremap=on,"));
        assert!(line(false, Iommu::Amdvi).contains("-device amd-iommu,intremap=on "));
        let icount = line(true, Iommu::Virtio);
        assert!(
            icount.contains("tcg,thread=single -icount shift=0,sleep=off -rtc clock=vm -seed 1"),
            "{icount}"
        );
    }
}
