//! The command line: what the user can ask for, and what is done about it.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use cohort_abi::bundle::Mode;
use cohort_abi::exit::Outcome as Exit;
use cohort_abi::report::{Figure, figure};

use crate::config::{self, Plan, Refused, Source};
use crate::linux::Flavour;
use crate::qemu::process;
use crate::session::{Options, Outcome, Session};
use crate::{acpi, bench, image, linux, summary, verdict};

/// Runs the Cohort hypervisor in QEMU, and explains its machines and configurations.
#[derive(Debug, Parser)]
#[command(name = "cohort", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Target,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot the machine and run its guests (also without a command)
    Run(Target),
    /// Check a configuration on the host, then ask the hypervisor; no guest runs
    ///
    /// With --acpi it is firmware's tables that are checked, and no machine is made
    Check(Check),
    /// Print the machine's device sets, isolation groups and cohorts, and why each member is in
    Sets(Target),
    /// Measure, with instructions as ticks, beside what Linux VFIO needs
    Bench(Target),
    /// Boot an ELF file in the demo's machine; its outcome is the exit status (cargo's runner for in-kernel tests)
    Exec {
        /// ELF64 with a PVH note
        elf: PathBuf,
        /// Its command line
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
        /// Seconds until the machine is stopped
        #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        timeout: u64,
    },
}

#[derive(Debug, Args)]
struct Target {
    /// Configuration file, or `linux` for the built-in Linux guest [default: the built-in demo]
    config: Option<PathBuf>,
    /// The machine's IOMMU, whatever the configuration says
    #[arg(long)]
    iommu: Option<Iommu>,
    /// Let virtual time count instructions, so that a run repeats itself
    #[arg(long)]
    icount: bool,
    /// Write the summary as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Seconds until the machine is stopped [default: 180, and 900 where virtual time counts instructions]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
    /// Keep the run's files (hypervisor, bundle, disks, records)
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    target: Target,
    /// Read ACPI tables (from `acpidump -b` or /sys/firmware/acpi/tables) and say what could be assigned
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["config", "iommu", "icount", "json", "keep"])]
    acpi: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Iommu {
    /// virtio-iommu-pci
    Virtio,
    /// intel-iommu, with interrupt remapping
    Vtd,
    /// amd-iommu, with interrupt remapping
    Amdvi,
    /// None: the hypervisor must refuse to assign devices
    None,
}

/// Does what `arguments` ask for.
///
/// The exit status is 0 only when everything held, 1 when something did not, 2 when the command line or the
/// configuration is wrong, 130 after Ctrl-C.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = Cli::parse_from(arguments);
    process::end_on_signals();
    let done = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(target) => with_plan(target, Mode::Run),
        Command::Check(Check { target, acpi }) if acpi.is_empty() => with_plan(target, Mode::Check),
        Command::Check(Check { acpi, .. }) => tables(&acpi),
        Command::Sets(target) => with_plan(target, Mode::Sets),
        Command::Bench(target) if names_linux(&target) => bench_linux(&target),
        Command::Bench(target) => with_plan(
            Target {
                icount: true,
                ..target
            },
            Mode::Bench,
        ),
        Command::Exec {
            elf,
            arguments,
            timeout,
        } => exec(&elf, &arguments, timeout),
    };
    match done {
        _ if process::interrupted() => ExitCode::from(130),
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(refused) => {
                eprint!("{}", refused.render(std::io::stderr().is_terminal()));
                ExitCode::from(2)
            }
            None => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Whether it is the built-in Linux guest that is meant.
fn names_linux(target: &Target) -> bool {
    target.config.as_deref() == Some(Path::new(Flavour::Cloud.name()))
}

/// Measures a Linux guest beside the same kernel without a hypervisor.
fn bench_linux(target: &Target) -> anyhow::Result<bool> {
    if target.iommu.is_some() || target.json.is_some() || target.keep {
        anyhow::bail!("`bench linux` takes no option but --timeout");
    }
    let usual = Options::new(true).timeout;
    let timeout = target.timeout.map_or(usual, Duration::from_secs);
    let table = linux::bench::run(timeout, &mut |line| println!("{line}"))?;
    print!("{table}");
    Ok(true)
}

fn with_plan(target: Target, mode: Mode) -> anyhow::Result<bool> {
    let source = match target.config.as_deref() {
        None if matches!(target.iommu, Some(Iommu::Amdvi)) => Source::demo_amdvi(),
        None => Source::demo(),
        Some(_) if names_linux(&target) => Source::linux(),
        Some(path) => Source::read(path)?,
    };
    let mut plan = Plan::load(source)?;
    match target.iommu {
        Some(Iommu::None) => plan.machine.iommu = config::Iommu::None,
        Some(Iommu::Vtd) => plan.machine.iommu = config::Iommu::Vtd,
        Some(Iommu::Amdvi) => plan.machine.iommu = config::Iommu::Amdvi,
        Some(Iommu::Virtio) => plan.machine.iommu = config::Iommu::Virtio,
        None => {}
    }
    if let Some(path) = &target.json {
        writable(path)?;
    }
    let mut session = Session::new(&plan, mode)?;
    if target.keep {
        eprintln!("The files of this run: {}", session.keep().display());
    }
    let mut options = Options::new(target.icount);
    if let Some(seconds) = target.timeout {
        options.timeout = Duration::from_secs(seconds);
    }
    // `sets` and `check` have an answer of their own; the console matters only where it fails.
    let quiet = matches!(mode, Mode::Sets | Mode::Check);
    let outcome = session.run(&options, &mut |line| {
        if !quiet {
            println!("{line}");
        }
    })?;
    if let Some(path) = &target.json {
        let json = summary::json(&outcome)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    tell(&plan, &session, &outcome, mode)?;
    Ok(outcome.success())
}

/// Makes sure that `path` can be written before a run whose outcome would otherwise be lost. What is there stays there.
fn writable(path: &Path) -> anyhow::Result<()> {
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
    opened.map(drop).with_context(|| {
        format!(
            "cannot write {}; give --json a file that can be written, in a folder that exists",
            path.display()
        )
    })
}

/// Prints what `mode` asks for.
fn tell(plan: &Plan, session: &Session, outcome: &Outcome, mode: Mode) -> anyhow::Result<()> {
    let refused = verdict::refused(plan, &outcome.report);
    match mode {
        // The problems say all that there is to say.
        Mode::Check | Mode::Sets if refused.is_some() => {}
        Mode::Run => print!("\n{}", summary::text(outcome)),
        Mode::Check => {
            if outcome.success() {
                println!(
                    "{}: nothing wrong; the hypervisor would open everything it names",
                    plan.source.name
                );
            }
        }
        Mode::Sets => print!("{}", summary::sets(outcome)),
        Mode::Bench => {
            let value = image::loaded_bytes(&std::fs::read(&session.kernel)?);
            let image = Figure {
                name: figure::IMAGE.into(),
                value,
                unit: "bytes".into(),
            };
            print!("\n{}", bench::table(&outcome.report, &[image]));
        }
    }
    if let Some(refused) = refused {
        return Err(refused.into());
    }
    if !outcome.success() && mode != Mode::Run {
        if mode != Mode::Bench {
            outcome.console.iter().for_each(|line| println!("{line}"));
        }
        outcome
            .failures
            .iter()
            .for_each(|failure| println!("failed: {failure}"));
    }
    Ok(())
}

/// Says what firmware's tables say; `false` if one of them is broken.
fn tables(files: &[PathBuf]) -> anyhow::Result<bool> {
    let mut read = Vec::new();
    for path in files {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        read.push((path.display().to_string(), bytes));
    }
    let report = acpi::report(&read);
    print!("{}", report.text);
    report
        .problems
        .iter()
        .for_each(|problem| eprintln!("error: {problem}"));
    Ok(report.problems.is_empty())
}

/// Boots one ELF file, with its console on standard output.
fn exec(elf: &Path, arguments: &[String], timeout: u64) -> anyhow::Result<bool> {
    image::check_file(elf)
        .map_err(|why| anyhow::anyhow!("{} cannot be run: {why}; {}", elf.display(), why.help()))?;
    let mut session = Session::bare(&Plan::load(Source::demo())?, elf)?;
    session.cmdline = arguments.join(" ");
    let options = Options {
        icount: false,
        timeout: Duration::from_secs(timeout),
    };
    let outcome = session.run(&options, &mut |line| println!("{line}"))?;
    let success = outcome.ended.outcome() == Some(Exit::Success);
    if !success {
        // A test has no summary to send, so only how it ended counts.
        eprintln!("the machine ended without success: {}", outcome.ended);
    }
    Ok(success)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_work_with_and_without_the_command() {
        for line in [
            &["cohort", "--iommu", "none", "a.toml"][..],
            &["cohort", "run", "--iommu", "none", "a.toml"],
        ] {
            let cli = Cli::try_parse_from(line).expect("it parses");
            let Command::Run(target) = cli.command.unwrap_or(Command::Run(cli.run)) else {
                panic!("it is `run`")
            };
            assert!(matches!(target.iommu, Some(Iommu::None)));
        }
        assert!(Cli::try_parse_from(["cohort", "run", "--timeout", "0"]).is_err());
        let exec = Cli::try_parse_from(["cohort", "exec", "k", "--filter", "x"]).expect("it parses");
        assert!(
            matches!(exec.command, Some(Command::Exec { arguments, .. }) if arguments == ["--filter", "x"])
        );
    }
}
