//! The boot CPU's part of a run: opens cohorts, hands partitions to their CPUs, watches, closes, and sums up.

use super::anew::{Again, Failed};
use super::faults::{self, Holding, Watch};
use super::guest::Ending;
use super::holds::{Collected, Holds};
use super::life::{self, Next};
use super::prepare::{Ready, Run, repair};
use super::vcpu::{Parcel, Vcpu};
use super::{MAILBOXES, Partition};
use crate::console;
use crate::cpu::{self, clock};
use crate::start::Refused;
use crate::survey::{self, Table};
use crate::virt::svm::Features;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use cohort_abi::bundle::Expect;
use cohort_abi::end::EndReason;
use cohort_abi::report::{GuestEnd, Record, Refusal, Summary};
use vfio_core::cohort::{Cohort, CohortId};
use vfio_core::lease::{CohortState, Domain};
use vfio_core::{Owner, SetId};

/// How often the boot CPU looks, in microseconds.
const LOOK_US: u64 = 500;
/// How long a CPU may take to begin with its guest, in milliseconds.
const TAKE_MS: u64 = 1000;
/// How often the boot CPU looks whether it has, in microseconds.
const TAKE_LOOK_US: u64 = 10;
/// Opens, runs and closes. Says whether everything that the configuration expects held.
///
/// # Errors
/// Something was refused; everything that was opened is closed again, and no guest has run.
pub fn run(run: Run, features: Features, entry_ticks: u64) -> Result<bool, Refused> {
    let done = execute(run, features, entry_ticks)?;
    Ok(sum_up(done.failures, done.sets_opened))
}

/// What a run came to.
pub(super) struct Done {
    /// What did not hold, a sentence each.
    pub(super) failures: Vec<String>,
    /// Device sets that were opened.
    pub(super) sets_opened: u32,
    /// Ticks from entry to first instruction, by the guests' names.
    pub(super) starts: Vec<(String, u64)>,
    /// Ticks of that which went into waits, for every guest: all start together.
    pub(super) waited: u64,
}

/// All of [`run`] but its summary.
pub(super) fn execute(run: Run, features: Features, entry_ticks: u64) -> Result<Done, Refused> {
    let table = run.survey.table();
    let (mut holds, mut holdings, mut vcpus) = (Vec::new(), Vec::new(), Vec::new());
    for ready in run.guests {
        let name = ready.guest.name.clone();
        match open(table, ready, features, entry_ticks) {
            Ok((hold, holding, of_guest)) => {
                holds.push(hold);
                holdings.push(holding);
                vcpus.push(of_guest);
            }
            Err(text) => {
                run.survey.report(&run.config);
                survey::say(&Refusal {
                    guest: Some(name),
                    device: None,
                    missing: Vec::new(),
                    text,
                });
                return Err(Refused::Configuration);
            }
        }
    }
    let (waited, mut starts) = (clock::waited(), Vec::new());
    let mut failures: Vec<String> = Vec::new();
    for (hold, vcpus) in holds.iter_mut().zip(vcpus) {
        log::info!("{} starts on {}", hold.name(), cpus(&hold.cpus));
        hold.send(vcpus, &mut failures);
    }
    for hold in &mut holds {
        for cpu in hold.cpus.clone() {
            if let Some(Parcel::Vcpu(vcpu)) = untaken(cpu) {
                failures.push(alloc::format!("CPU {cpu} does not begin with its guest"));
                hold.ended.push(*vcpu);
                hold.partition.cpus.stop();
            }
        }
    }
    run.survey.report(&run.config);
    let started = clock::ticks();
    let deadline = u64::from(run.config.deadline_ms) * clock::khz();
    let (mut stopping, mut gone) = (false, false);
    let mut watch = Watch::default();
    while holds.iter().any(|hold| !hold.done) && !gone {
        cpu::nap(LOOK_US);
        let now = clock::ticks();
        if let Some(table) = table {
            faults::poll(table, &holdings, &mut watch, nanoseconds(now));
        }
        for hold in holds.iter_mut().filter(|hold| !hold.done) {
            hold.partition.poll_lines();
            let left = match hold.collect(now, stopping, &mut failures) {
                Collected::Nothing => continue,
                Collected::All => None,
                Collected::Failed(failed) => Some(failed),
            };
            if let Some(table) = table {
                faults::poll(table, &holdings, &mut watch, nanoseconds(now));
            }
            if hold.first_start.is_none() {
                let ticks = hold.partition.start_ticks();
                starts.push((hold.name().to_string(), ticks));
                hold.first_start = Some(ticks);
            }
            // Another life begins without what was done because of this one.
            watch.forget(hold.ready.number, &hold.requesters);
            everybody_left(table, hold, left, features, stopping, &mut failures);
        }
        for hold in holds.iter_mut().filter(|hold| !hold.done) {
            if watch.stops(hold.ready.number) && !hold.partition.cpus.stopping() {
                log::warn!("{} is stopped: its device was blocked", hold.name());
                hold.partition.end(Ending::Blocked);
                hold.ending_since.get_or_insert(now);
            }
        }
        if !stopping && deadline != 0 && now - started > deadline {
            stopping = true;
            for hold in holds.iter_mut().filter(|hold| !hold.done) {
                log::warn!(
                    "{} still runs after {} ms; it is stopped",
                    hold.name(),
                    run.config.deadline_ms
                );
                hold.partition.end(Ending::Deadline);
                hold.ending_since.get_or_insert(now);
            }
        }
        // Whoever is stuck is given up when nobody else runs any more.
        gone = holds.iter().all(|hold| hold.done || hold.is_stuck(now));
    }
    for hold in holds.iter().filter(|hold| !hold.done) {
        failures.push(alloc::format!(
            "{} did not leave its CPU when it was stopped",
            hold.name()
        ));
    }
    let sets_opened = holds.iter().map(|hold| hold.sets).sum();
    Ok(Done {
        failures,
        sets_opened,
        starts,
        waited,
    })
}

/// `CPU 1`, or `CPUs 1, 2`.
fn cpus(of: &[usize]) -> String {
    let mut text = String::from(if of.len() == 1 { "CPU " } else { "CPUs " });
    for (number, cpu) in of.iter().enumerate() {
        let comma = if number == 0 { "" } else { ", " };
        text.push_str(&alloc::format!("{comma}{cpu}"));
    }
    text
}

/// Waits until `cpu` has taken its vCPU, and takes it back if it does not come.
fn untaken(cpu: usize) -> Option<Parcel> {
    let until = clock::ticks() + TAKE_MS * clock::khz();
    while !MAILBOXES.taken(cpu) {
        if clock::ticks() > until {
            return MAILBOXES.recall(cpu);
        }
        cpu::nap(TAKE_LOOK_US);
    }
    None
}

fn nanoseconds(ticks: u64) -> u64 {
    (u128::from(ticks) * 1_000_000 / u128::from(clock::khz().max(1))) as u64
}

/// Builds the partition and opens its cohorts; on an error all is as before.
fn open(
    table: Option<&'static Table>,
    ready: Ready,
    features: Features,
    entry_ticks: u64,
) -> Result<(Holds, Holding, Vec<Vcpu>), String> {
    let owner = Owner::Guest(ready.number);
    let (partition, vcpus) =
        Partition::build(&ready, table, features, entry_ticks).map_err(|error| error.to_string())?;
    let (mut domain, mut sets) = (None, 0);
    let (mut requesters, mut blocked_before) = (Vec::new(), 0);
    if let (Some(table), Some(plan)) = (table, &ready.plan) {
        requesters = plan.cohorts().flat_map(Cohort::requesters).copied().collect();
        blocked_before = faults::of(table, &requesters);
        let made = table
            .domain(owner, partition.dma_regions())
            .map_err(|error| error.to_string())?;
        partition.hold(table.open(plan, &made).map_err(|error| error.to_string())?);
        domain = Some(made);
        let ids = plan
            .cohorts()
            .flat_map(Cohort::members)
            .filter_map(|id| table.cohorts().device(*id));
        let opened: BTreeSet<SetId> = ids.map(|device| device.set).collect();
        sets = opened.len() as u32;
        for set in &opened {
            log::info!("{} opened for {}", set, ready.guest.name);
        }
    }
    let host = (ready.grant.ram, ready.grant.ram + ready.grant.bytes);
    let holding = Holding {
        number: ready.number,
        name: ready.guest.name.clone(),
        memory: domain.as_ref().map(Domain::view),
        host,
        on_fault: ready.guest.on_fault,
    };
    crate::steps::done("cohorts opened");
    Ok((
        Holds {
            cpus: ready.grant.cpus.clone(),
            ready: Arc::new(ready),
            partition,
            ended: Vec::new(),
            ending_since: None,
            restarts: 0,
            first_start: None,
            domain,
            sets,
            requesters,
            blocked_before,
            done: false,
        },
        holding,
        vcpus,
    ))
}

/// Every CPU of a guest has left it: it is started again, or its life is over. This is the one place where a guest's end is judged.
/// `failed` is why it was to be started again and was not.
fn everybody_left(
    table: Option<&'static Table>,
    hold: &mut Holds,
    failed: Option<Failed>,
    features: Features,
    late: bool,
    failures: &mut Vec<String>,
) {
    if failed.is_none() {
        hold.partition.quiet();
    }
    let reason = hold.partition.reason();
    let next = match &failed {
        Some(failed) => Err(alloc::format!("; it is not started again: {}", failed.why)),
        None => match life::next(hold.ready.guest.on_exit, reason, hold.restarts, late) {
            Next::Again { number, of } => Ok((number, of)),
            Next::Over(over) => Err(over.to_string()),
        },
    };
    let over = match (next, hold.cpus.first()) {
        (Ok((number, of)), Some(cpu)) => {
            let again = Again {
                old: Arc::clone(&hold.partition),
                interrupts: hold.interrupts(),
                ready: Arc::clone(&hold.ready),
                table,
                features,
                number,
                of,
                reason,
                how: hold.partition.ending().1,
                since: clock::ticks(),
            };
            match MAILBOXES.send(*cpu, Parcel::Again(Box::new(again))) {
                Ok(()) => {
                    hold.ended.clear();
                    hold.ending_since = None;
                    return;
                }
                Err(_) => alloc::format!("; it is not started again: CPU {cpu} is busy"),
            }
        }
        (Ok(_), None) => String::new(),
        (Err(over), _) => over,
    };
    finish(table, hold, failed, &over, failures);
}

/// Cohorts of a guest that are out of service after its leases were closed, and why. `failed` says of one that was to rest for
/// another life, and did not.
fn close_all(
    table: Option<&'static Table>,
    partition: &Partition,
    failed: Option<Failed>,
) -> Vec<(CohortId, String)> {
    let mut broken = Vec::new();
    if let Some((cohort, failed)) = failed.and_then(|failed| Some((failed.cohort?, failed.why)))
        && let Some(CohortState::Broken(_)) = table.and_then(|table| table.state(cohort))
    {
        broken.push((cohort, failed));
    }
    for lease in partition.take_leases().into_iter().rev() {
        let cohort = lease.cohort();
        if let Err(failure) = lease.close() {
            broken.push((cohort, failure.0.to_string()));
        }
    }
    // What did not work at once may work from above, or when it is quiet: the next owner should not have to ask.
    broken.retain(|(cohort, _)| !table.is_some_and(|table| repair(table, *cohort)));
    broken
}

/// Closes what a guest held, and reports how its life was. `over` is why it is not started again, where that is not plain.
fn finish(
    table: Option<&'static Table>,
    hold: &mut Holds,
    failed: Option<Failed>,
    over: &str,
    failures: &mut Vec<String>,
) {
    hold.done = true;
    let (name, partition) = (&hold.ready.guest.name, &hold.partition);
    let (success, how) = partition.ending();
    let (reason, how) = (partition.reason(), how + over);
    let mut closed = true;
    for (_, why) in close_all(table, partition, failed) {
        closed = false;
        failures.push(alloc::format!("a cohort of {name} is out of service: {why}"));
    }
    if let Some(Err(in_use)) = hold.domain.take().map(Domain::close) {
        closed = false;
        failures.push(alloc::format!("{name}: {in_use}"));
    }
    // Memory that a device may still reach is given to nobody, and so needs no wiping.
    if closed {
        partition.wipe();
    }
    let expect = hold.ready.guest.expect;
    let as_expected = match expect {
        Expect::Success => success,
        Expect::Stopped => partition.stopped(),
        Expect::Reset => matches!(reason, EndReason::Reset(_)),
        Expect::Any => true,
    };
    if !as_expected {
        failures.push(alloc::format!("{name} {how}; expected was {expect:?}"));
    }
    log::info!("{name} {how}; its cohorts are closed");
    console::report(&Record::GuestEnd(GuestEnd {
        guest: name.clone(),
        success,
        as_expected,
        reason,
        how,
        restarts: hold.restarts,
        exits: hold.exits(),
        interrupts: hold.interrupts(),
        dma_faults: table.map_or(0, |table| faults::of(table, &hold.requesters)) - hold.blocked_before,
        sets: hold.sets,
        start_ticks: hold.first_start.unwrap_or_else(|| partition.start_ticks()),
    }));
}

/// Says how the run was, and whether everything held.
pub(super) fn sum_up(failures: Vec<String>, sets_opened: u32) -> bool {
    for failure in &failures {
        log::error!("{failure}");
    }
    let success = failures.is_empty();
    let resident_bytes = crate::memory::resident_bytes();
    console::report(&Record::Summary(Summary {
        success,
        failures,
        sets_opened,
        resident_bytes,
    }));
    success
}
