//! One run of a test: a configuration, what is changed in it, and what came of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use boot::config::{Guest, Plan, Source};
use boot::session::{Options, Outcome, Session};
use cohort_abi::bundle::{self, Bundle, Config, Mode};
use cohort_abi::report::{DmaFault, GuestEnd, Record, Refusal};
use libtest_mimic::Failed;

/// Longest time for a run, beyond what its configuration allows its guests.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The folder of test configurations.
#[must_use]
pub fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

/// The plan of `configs/NAME.toml`.
///
/// # Errors
/// Where the host refuses it.
pub fn plan(name: &str) -> Result<Plan, Failed> {
    let source = Source::read(&configs().join(format!("{name}.toml")))?;
    Plan::load(source).map_err(Failed::from)
}

/// The built-in demo.
///
/// # Errors
/// Where the host refuses it.
pub fn demo() -> Result<Plan, Failed> {
    Plan::load(Source::demo()).map_err(Failed::from)
}

/// What a test changes between build and boot.
pub enum Change<'a> {
    /// Nothing.
    Nothing,
    /// The machine or its files.
    Session(&'a mut dyn FnMut(&mut Session)),
    /// The bundle's configuration, as a host tool would write it that checks nothing.
    Config(&'a mut dyn FnMut(&mut Config)),
}

/// What came of a run.
pub struct Run {
    /// All of it.
    pub outcome: Outcome,
    /// The guests of the plan.
    pub guests: Vec<Guest>,
}

/// Boots `plan` in `mode`, changed by `change`.
///
/// # Errors
/// Where it cannot be built or started. That the run fails is no error here.
pub fn run(plan: &Plan, mode: Mode, change: Change<'_>) -> Result<Run, Failed> {
    let mut session = Session::new(plan, mode)?;
    match change {
        Change::Nothing => {}
        Change::Session(change) => change(&mut session),
        Change::Config(change) => rebuild(&mut session, change)?,
    }
    let outcome = session.run(
        &Options {
            icount: false,
            timeout: TIMEOUT,
        },
        &mut |_| {},
    )?;
    Ok(Run {
        outcome,
        guests: plan.guests.clone(),
    })
}

/// Builds the session's bundle again with a changed configuration; checksum and images hold.
fn rebuild(session: &mut Session, change: &mut dyn FnMut(&mut Config)) -> Result<(), Failed> {
    let bytes = session.bundle.take().ok_or("the session has a bundle")?;
    let bundle = Bundle::parse(&bytes)?;
    let mut images = Vec::new();
    let mut config = bundle.config.clone();
    for guest in &mut config.guests {
        for part in [Some(&mut guest.image), guest.initrd.as_mut()]
            .into_iter()
            .flatten()
        {
            let bytes = bundle.image(*part).ok_or("the bundle has the image")?;
            images.resize(images.len().next_multiple_of(4096), 0);
            part.offset = u32::try_from(images.len())?;
            images.extend_from_slice(bytes);
        }
    }
    change(&mut config);
    session.bundle = Some(bundle::build(&config, &images)?);
    Ok(())
}

impl Run {
    /// How the guest `name` ended.
    #[must_use]
    pub fn end(&self, name: &str) -> Option<&GuestEnd> {
        self.outcome
            .report
            .records
            .iter()
            .find_map(|record| match record {
                Record::GuestEnd(end) if end.guest == name => Some(end),
                _ => None,
            })
    }

    /// The blocked accesses that were told.
    pub fn blocked(&self) -> impl Iterator<Item = &DmaFault> {
        let records = self.outcome.report.records.iter();
        records.filter_map(|record| match record {
            Record::DmaFault(fault) => Some(fault),
            _ => None,
        })
    }

    /// The refusals.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.outcome
            .report
            .records
            .iter()
            .filter_map(|record| match record {
                Record::Refusal(refusal) => Some(refusal),
                _ => None,
            })
    }

    /// The console's last lines and what did not hold, for a failure's message.
    #[must_use]
    pub fn tail(&self) -> String {
        let console = &self.outcome.console;
        let lines: Vec<&str> = console
            .iter()
            .skip(console.len().saturating_sub(60))
            .map(String::as_str)
            .collect();
        let failures: Vec<String> = self
            .outcome
            .failures
            .iter()
            .map(|failure| format!("failed: {failure}"))
            .collect();
        format!(
            "--- the console's end\n{}\n---\n{}",
            lines.join("\n"),
            failures.join("\n")
        )
    }
}
