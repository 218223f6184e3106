//! One run from end to end: build, make the files, boot, read the records, verify.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use cohort_abi::bundle::{Expect, Mode};
use cohort_abi::exit::Outcome as Exit;
use tempfile::TempDir;

use crate::config::{Guest, Machine, Plan};
use crate::disk::{self, DiskError};
use crate::peer::{Peer, PeerError};
use crate::progress::Step;
use crate::qemu::command::{self, Boot};
use crate::qemu::process::{self, Ended};
use crate::qemu::report::Report;
use crate::{bundle, cargo, tools};

/// Bytes of disks whose filling takes long enough to be announced.
const LONG_FILL: u64 = 128 << 20;

/// How to run, beside what the plan says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Virtual time counts instructions.
    pub icount: bool,
    /// The run is ended and failed after this time.
    pub timeout: Duration,
}

impl Options {
    /// Options with the time that a run of that kind is usually given: with `icount` all CPUs share one thread.
    #[must_use]
    pub const fn new(icount: bool) -> Self {
        let seconds = if icount { 900 } else { 180 };
        Self {
            icount,
            timeout: Duration::from_secs(seconds),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new(false)
    }
}

/// A run that is ready to boot. Tests change its parts before they boot it.
#[derive(Debug)]
pub struct Session {
    /// The machine.
    pub machine: Machine,
    /// What it boots.
    pub kernel: PathBuf,
    /// The boot module.
    pub bundle: Option<Vec<u8>>,
    /// The hypervisor's (or the test's) command line.
    pub cmdline: String,
    /// Guests that must have written the disks and used the networks that name them.
    pub writers: Vec<String>,
    qemu: PathBuf,
    folder: TempDir,
}

/// What did not hold.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The hypervisor says that the run failed, and nothing more (its reasons are separate).
    #[error("the hypervisor ended the run with the status `failure`")]
    Failed,
    /// The hypervisor's own fault.
    #[error("the hypervisor panicked")]
    Panicked,
    /// QEMU ended without a word from the hypervisor: a triple fault, or QEMU's own error.
    #[error("the machine ended without an outcome ({0}): a triple fault in the hypervisor, or QEMU itself")]
    NoOutcome(Ended),
    /// QEMU ended before the machine ran.
    #[error("QEMU did not start the machine ({0}); what it says is about [machine] in the configuration")]
    NotStarted(Ended),
    /// What QEMU said about it.
    #[error("QEMU says: {0}")]
    Qemu(String),
    /// The time was up.
    #[error("the run did not end within {} s and was stopped", .0.as_secs())]
    Timeout(Duration),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// The report has no summary.
    #[error("the hypervisor sent no summary")]
    NoSummary,
    /// The summary does not say success, and names no reason.
    #[error("the summary does not say success")]
    Summary,
    /// A reason from the summary.
    #[error("{0}")]
    Expectation(String),
    /// Part of the report was lost.
    #[error("{0} records of the hypervisor did not decode")]
    Damaged(usize),
    /// A disk is not as it must be.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A guest did not use a network as it must.
    #[error("network `{network}`: guest `{guest}` had to make a transfer, but {error}")]
    Network {
        /// The network.
        network: String,
        /// The guest that had to use it.
        guest: String,
        /// What is wrong.
        error: PeerError,
    },
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// How the machine ended.
    pub ended: Ended,
    /// The hypervisor's records.
    pub report: Report,
    /// The last lines of the console.
    pub console: VecDeque<String>,
    /// Everything that did not hold; nothing in a good run.
    pub failures: Vec<Failure>,
}

impl Outcome {
    /// Whether every expectation held.
    #[must_use]
    pub fn success(&self) -> bool {
        self.failures.is_empty()
    }
}

impl Session {
    /// Builds what `plan` needs for `mode`.
    ///
    /// # Errors
    /// Where a tool is missing or a build fails.
    pub fn new(plan: &Plan, mode: Mode) -> anyhow::Result<Self> {
        tools::rust_target()?;
        let (qemu, folder) = (tools::qemu()?, folder()?);
        let lock = cargo::lock(&cargo::target_folder("bare"))?;
        let built = cargo::build(
            "Building the hypervisor",
            &["build"],
            &["-p", "kernel", "--bin", "kernel"],
        )?;
        let (_, built) = built
            .into_iter()
            .find(|(name, _)| name == "kernel")
            .context("cargo built no kernel")?;
        // A copy, because another run may build in the meantime.
        let kernel = folder.path().join("kernel");
        std::fs::copy(&built, &kernel).with_context(|| format!("cannot copy {}", built.display()))?;
        let bundle = bundle::build(plan, mode)?;
        drop(lock);
        let must_write =
            |guest: &&Guest| mode == Mode::Run && matches!(guest.expect, Expect::Success | Expect::Reset);
        let writers = plan
            .guests
            .iter()
            .filter(must_write)
            .map(|guest| guest.name.clone())
            .collect();
        let machine = plan.machine.clone();
        Ok(Self {
            machine,
            kernel,
            bundle: Some(bundle),
            cmdline: String::new(),
            writers,
            qemu,
            folder,
        })
    }

    /// Boots `kernel` without a bundle in the machine of `plan`.
    ///
    /// # Errors
    /// Where QEMU is missing.
    pub fn bare(plan: &Plan, kernel: &Path) -> anyhow::Result<Self> {
        let (qemu, folder) = (tools::qemu()?, folder()?);
        let (machine, kernel, cmdline) = (plan.machine.clone(), kernel.to_path_buf(), String::new());
        Ok(Self {
            machine,
            kernel,
            bundle: None,
            cmdline,
            writers: Vec::new(),
            qemu,
            folder,
        })
    }

    /// Keeps the run's files when the session ends, and says where they are.
    pub fn keep(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    /// Boots, waits for the end, and looks at everything that must hold. `show` gets the console.
    ///
    /// # Errors
    /// Where the run's files cannot be made or QEMU cannot be started. What goes wrong in the machine is in
    /// [`Outcome::failures`].
    pub fn run(&self, options: &Options, show: &mut dyn FnMut(&str)) -> anyhow::Result<Outcome> {
        let path = |name: &str| self.folder.path().join(name);
        let module = self.bundle.as_ref().map(|bytes| (path("bundle"), bytes));
        if let Some((path, bytes)) = &module {
            std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        // A repeatable run has the same disk each time; any other a new one, which no guest can guess.
        let seed = if options.icount {
            1
        } else {
            RandomState::new().hash_one(std::process::id())
        };
        let disks: Vec<PathBuf> = self.machine.disks.iter().map(|disk| path(&disk.id)).collect();
        let total: u64 = self.machine.disks.iter().map(|disk| disk.size).sum();
        let step = (total >= LONG_FILL).then(|| Step::new("Filling the disks"));
        for (disk, path) in self.machine.disks.iter().zip(&disks) {
            disk::create(disk, path, seed).with_context(|| {
                format!(
                    "cannot make the disk `{}` of {} MiB; set TMPDIR to a folder with room for it",
                    disk.id,
                    disk.size >> 20
                )
            })?;
        }
        drop(step);
        let mut peers = Vec::new();
        for network in &self.machine.networks {
            peers.push(Peer::listen(&path(&network.id), seed)?);
        }
        let boot = Boot {
            kernel: self.kernel.clone(),
            module: module.map(|(path, _)| path),
            cmdline: self.cmdline.clone(),
            disks,
            networks: peers.iter().map(|peer| peer.path().to_path_buf()).collect(),
            report: path("report"),
            icount: options.icount,
        };
        let arguments = command::arguments(&self.machine, &boot);
        let machine = process::run(&self.qemu, &arguments, options.timeout, show);
        // In any case, so that no thread outlives the machine.
        let transfers: Vec<_> = peers.into_iter().map(Peer::finish).collect();
        let machine = machine?;
        // A machine that never started wrote no report, which is the same as an empty one.
        let report = Report::read(&std::fs::read(&boot.report).unwrap_or_default());
        let started = !machine.console.is_empty() || !report.records.is_empty();
        let mut failures = failures(machine.ended, started, &machine.errors, &report, options.timeout);
        // What a run would have written that the user broke off is no finding.
        let verified = self.machine.disks.iter().zip(&boot.disks);
        for (disk, path) in verified.filter(|_| machine.ended != Ended::Interrupted) {
            let writer = self
                .bound(disk.written_by.as_deref())
                .filter(|_| !report.refused());
            failures.extend(disk::verify(disk, path, seed, writer).err().map(Failure::Disk));
        }
        let transfers = self.machine.networks.iter().zip(transfers);
        for (network, transfer) in transfers.filter(|_| machine.ended != Ended::Interrupted) {
            if let (Some(guest), Err(error)) = (self.bound(network.used_by.as_deref()), transfer)
                && !report.refused()
            {
                failures.push(Failure::Network {
                    network: network.id.clone(),
                    guest: guest.into(),
                    error,
                });
            }
        }
        Ok(Outcome {
            ended: machine.ended,
            report,
            console: machine.console,
            failures,
        })
    }

    /// The guest `named`, if it is bound to do its part in this run.
    fn bound<'a>(&self, named: Option<&'a str>) -> Option<&'a str> {
        named.filter(|guest| self.writers.iter().any(|writer| writer == guest))
    }
}

/// A folder for the run's files.
fn folder() -> anyhow::Result<TempDir> {
    let made = tempfile::Builder::new().prefix("cohort-").tempdir();
    made.with_context(|| {
        format!(
            "cannot make a folder for the run's files in {}; set TMPDIR to a folder that can be written",
            std::env::temp_dir().display()
        )
    })
}

/// What the machine's end and its report leave to be desired.
fn failures(
    ended: Ended,
    started: bool,
    errors: &[String],
    report: &Report,
    timeout: Duration,
) -> Vec<Failure> {
    let mut out = Vec::new();
    if ended == Ended::Interrupted {
        return vec![Failure::Interrupted];
    }
    if ended == Ended::QEMU_REFUSED && !started && !errors.is_empty() {
        out.push(Failure::NotStarted(ended));
        out.extend(errors.iter().cloned().map(Failure::Qemu));
        return out;
    }
    match (ended, ended.outcome()) {
        (_, Some(Exit::Success)) => {}
        (_, Some(Exit::Failure)) => out.push(Failure::Failed),
        (_, Some(Exit::Panic)) => out.push(Failure::Panicked),
        (Ended::Timeout, _) => out.push(Failure::Timeout(timeout)),
        (ended, None) => out.push(Failure::NoOutcome(ended)),
    }
    if ended.outcome().is_none() {
        out.extend(errors.iter().cloned().map(Failure::Qemu));
    }
    match report.summary() {
        None => out.push(Failure::NoSummary),
        Some(summary) => {
            if !summary.success && summary.failures.is_empty() {
                out.push(Failure::Summary);
            }
            out.extend(summary.failures.iter().cloned().map(Failure::Expectation));
        }
    }
    if report.damaged > 0 {
        out.push(Failure::Damaged(report.damaged));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use cohort_abi::report::{Record, Summary};

    fn report(success: bool, reasons: &[&str]) -> Report {
        let failures = reasons.iter().map(ToString::to_string).collect();
        let summary = Summary {
            success,
            failures,
            sets_opened: 1,
            resident_bytes: 1,
        };
        Report {
            records: vec![Record::Summary(summary)],
            damaged: 0,
        }
    }

    fn count(ended: Ended, report: &Report) -> usize {
        failures(ended, true, &["qemu: bad".into()], report, Duration::from_secs(1)).len()
    }

    #[test]
    fn a_machine_that_qemu_refuses_is_told_from_one_that_died() {
        let none = Report::default();
        let count = |status, started, errors: &[String]| {
            failures(
                Ended::Exited(status),
                started,
                errors,
                &none,
                Duration::from_secs(1),
            )
        };
        let bad = ["no such device".into()];
        assert!(matches!(
            count(1, false, &bad)[..],
            [Failure::NotStarted(_), Failure::Qemu(_)]
        ));
        for died in [count(0, false, &bad), count(1, true, &bad), count(1, false, &[])] {
            assert!(matches!(died[0], Failure::NoOutcome(_)), "{died:?}");
        }
    }

    #[test]
    fn a_run_is_good_only_if_everything_says_so() {
        let good = Ended::Exited(Exit::Success.qemu_status());
        assert_eq!(count(good, &report(true, &[])), 0);
        assert_eq!(count(good, &report(false, &[])), 1);
        assert_eq!(count(good, &report(false, &["a", "b"])), 2);
        assert_eq!(count(good, &Report::default()), 1, "no summary");
        assert_eq!(
            count(
                good,
                &Report {
                    damaged: 3,
                    ..report(true, &[])
                }
            ),
            1
        );
        assert_eq!(
            count(Ended::Exited(Exit::Failure.qemu_status()), &report(true, &[])),
            1
        );
        assert_eq!(
            count(Ended::Interrupted, &Report::default()),
            1,
            "the user knows why there is no summary"
        );
        for ended in [Ended::Exited(0), Ended::Timeout, Ended::Killed] {
            assert_eq!(count(ended, &report(true, &[])), 2, "{ended:?} and QEMU's words");
        }
    }
}
