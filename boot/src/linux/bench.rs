//! `cohort bench linux`: one kernel as a guest and natively in the same QEMU, with instructions as ticks.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cohort_abi::bundle::Mode;

use super::{Flavour, fetch, hook, initramfs, probe};
use crate::config::{Iommu, Plan, Source};
use crate::disk;
use crate::qemu::command::{self, Boot};
use crate::qemu::process;
use crate::session::{Options, Session};
use crate::summary::grouped;
use crate::tools;

/// The guest and its machine.
const CONFIGURATION: &str = include_str!("../../linux-bench.toml");

/// Of the disk without a hypervisor; the session has the same for a run that repeats itself.
const SEED: u64 = 1;

/// What one run measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Measured {
    /// The counter where its kernel was entered, and where its init ran.
    entered: u64,
    init: u64,
    reads: Vec<Reads>,
}

/// Reads of one size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reads {
    bytes: u64,
    count: u64,
    /// The median, and the least.
    ticks: u64,
    least: u64,
    /// What the hypervisor counted of all of them.
    counts: Vec<(String, u64)>,
}

impl Measured {
    /// Takes what a line of the console says, if it says something.
    fn line(&mut self, line: &str) {
        let mut reads = Reads::default();
        for word in line.split_whitespace() {
            let Some((name, Ok(value))) = word.split_once('=').map(|(name, text)| (name, text.parse()))
            else {
                continue;
            };
            match name {
                "init" => self.init = value,
                "started" => self.entered = value,
                "bytes" => reads.bytes = value,
                "reads" => reads.count = value,
                "ticks" => reads.ticks = value,
                "least" => reads.least = value,
                name => reads.counts.push((name.into(), value)),
            }
        }
        if reads.count > 0 {
            self.reads.push(reads);
        }
    }
}

/// Runs both and gives the table. `show` gets both consoles.
///
/// # Errors
/// Where one of them cannot be made, or does not do what it must.
pub fn run(timeout: Duration, show: &mut dyn FnMut(&str)) -> anyhow::Result<String> {
    let plan = Plan::load(Source {
        name: "linux-bench.toml (built in)".into(),
        text: CONFIGURATION.into(),
        folder: ".".into(),
    })?;
    let guest = guest(&plan, timeout, show)?;
    let native = native(&plan, timeout, show)?;
    table(&guest, &native)
}

fn guest(plan: &Plan, timeout: Duration, show: &mut dyn FnMut(&str)) -> anyhow::Result<Measured> {
    let session = Session::new(plan, Mode::Run)?;
    let options = Options {
        icount: true,
        timeout,
    };
    let mut measured = Measured::default();
    let outcome = session.run(&options, &mut |line| {
        measured.line(line);
        show(line);
    })?;
    if let Some(failure) = outcome.failures.first() {
        bail!("the guest cannot be measured: {failure}");
    }
    Ok(measured)
}

/// The same kernel with the same initial file system, disk and memory, but with nothing below it.
fn native(plan: &Plan, timeout: Duration, show: &mut dyn FnMut(&str)) -> anyhow::Result<Measured> {
    let (qemu, folder) = (tools::qemu()?, tempfile::tempdir()?);
    let path = |name: &str| folder.path().join(name);
    let files = fetch(Flavour::Cloud)?;
    let put = |name: &str, bytes: &[u8]| {
        std::fs::write(path(name), bytes).with_context(|| format!("cannot write {}", path(name).display()))
    };
    put("kernel", &hook::hooked(&std::fs::read(&files.kernel)?)?)?;
    put("initramfs", &initramfs(&files, &probe()?)?)?;
    let guest = plan.guests.first().context("no guest to compare with")?;
    let mut machine = plan.machine.clone();
    (machine.cpus, machine.memory, machine.iommu) = (1, guest.memory, Iommu::None);
    for disk in &machine.disks {
        disk::create(disk, &path(&disk.id), SEED)?;
    }
    let boot = Boot {
        kernel: path("kernel"),
        module: Some(path("initramfs")),
        cmdline: guest.cmdline.clone(),
        disks: machine.disks.iter().map(|disk| path(&disk.id)).collect(),
        networks: Vec::new(),
        report: path("report"),
        icount: true,
    };
    let mut measured = Measured::default();
    let ended = process::run(
        &qemu,
        &command::arguments(&machine, &boot),
        timeout,
        &mut |line| {
            measured.line(line);
            show(line);
        },
    )?
    .ended;
    measured.entered =
        entered(&path("report")).with_context(|| format!("the kernel was not entered natively ({ended})"))?;
    Ok(measured)
}

/// What the code before the kernel's first instruction sent.
fn entered(report: &Path) -> anyhow::Result<u64> {
    let bytes = std::fs::read(report)?;
    let first = bytes.first_chunk().context("it said nothing")?;
    Ok(u64::from_le_bytes(*first))
}

/// Both side by side.
fn table(guest: &Measured, native: &Measured) -> anyhow::Result<String> {
    let mut out = format!("\n{:<28}{:>16}{:>16}{:>8}\n", "ticks", "native", "guest", "times");
    let mut line = |name: &str, native: u64, guest: u64| -> anyhow::Result<()> {
        if native == 0 || guest == 0 {
            bail!("{name} was not measured");
        }
        let times = guest as f64 / native as f64;
        let (native, guest) = (grouped(native), grouped(guest));
        Ok(writeln!(out, "{name:<28}{native:>16}{guest:>16}{times:>8.2}")?)
    };
    let boot = |of: &Measured| of.init.saturating_sub(of.entered);
    line("kernel entry to init", boot(native), boot(guest))?;
    if guest.reads.is_empty() {
        bail!("no reads were measured");
    }
    for reads in &guest.reads {
        let same = native.reads.iter().find(|other| other.bytes == reads.bytes);
        let name = format!("read of {} KiB", reads.bytes >> 10);
        line(&name, same.map_or(0, |same| same.ticks), reads.ticks)?;
        line("  the least", same.map_or(0, |same| same.least), reads.least)?;
    }
    for reads in &guest.reads {
        write!(out, "for each read of {} KiB:", reads.bytes >> 10)?;
        for (name, count) in &reads.counts {
            write!(out, " {name} {:.2}", *count as f64 / reads.count as f64)?;
        }
        writeln!(out)?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_read_and_compared() {
        let (mut guest, mut native) = (Measured::default(), Measured::default());
        for line in [
            "[linux] init=3000 started=1000",
            "[linux] ok measure:sectors: bytes=4096 reads=64 ticks=110 least=90 hlt=32 interrupt=64",
            "[linux] 7.1: a=b c",
        ] {
            guest.line(line);
        }
        native.line("bytes=4096 reads=64 ticks=100 least=80");
        assert!(table(&guest, &native).is_err(), "no boot was measured");
        native.line("init=1500");
        native.entered = 500;
        let table = table(&guest, &native).expect("all is there");
        for part in [
            "1,000           2,000    2.00",
            "100             110    1.10",
            "hlt 0.50 interrupt 1.00",
        ] {
            assert!(table.contains(part), "{part} is in {table}");
        }
    }

    #[test]
    fn the_configuration_holds() {
        let source = Source {
            name: "t".into(),
            text: CONFIGURATION.into(),
            folder: ".".into(),
        };
        Plan::load(source).expect("it holds");
    }
}
