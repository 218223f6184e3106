//! The boot CPU's part of a run: opens cohorts, hands partitions to their CPUs, watches, closes, and sums up.

use super::faults::{self, Holding, Watch};
use super::prepare::{Ready, Run, repair};
use super::{MAILBOXES, Partition};
use crate::console;
use crate::cpu::{self, clock};
use crate::start::Refused;
use crate::survey::{self, Table};
use crate::virt::svm::Features;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use cohort_abi::bundle::{Expect, Guest};
use cohort_abi::report::{GuestEnd, Record, Refusal, Summary};
use vfio_core::cohort::Cohort;
use vfio_core::lease::Domain;
use vfio_core::{Owner, Requester, SetId};

use crate::assign::MachineAssigner;

/// How often the boot CPU looks, in microseconds.
const LOOK_US: u64 = 500;
/// How long a CPU may take to begin with its guest, in milliseconds.
const TAKE_MS: u64 = 1000;
/// How often the boot CPU looks whether it has, in microseconds.
const TAKE_LOOK_US: u64 = 10;
/// How long a guest may take to leave after it was asked to, in milliseconds.
const STOP_MS: u64 = 2000;

/// What a guest holds while it lives, beside what its partition does.
struct Holds {
    guest: Guest,
    number: u32,
    cpu: usize,
    domain: Option<Domain<'static, MachineAssigner>>,
    sets: u32,
    /// Who speaks for its devices, and how often these had been blocked before it had them.
    requesters: Vec<Requester>,
    blocked_before: u64,
    /// It was asked to stop because a device of its was blocked.
    faulted: bool,
    done: bool,
}

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
    let (mut holds, mut holdings, mut partitions) = (Vec::new(), Vec::new(), Vec::new());
    for ready in run.guests {
        let name = ready.guest.name.clone();
        match open(table, ready, features, entry_ticks) {
            Ok((hold, holding, partition)) => {
                holds.push(hold);
                holdings.push(holding);
                partitions.push(partition);
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
    for (hold, partition) in holds.iter_mut().zip(partitions) {
        log::info!("{} starts on CPU {}", hold.guest.name, hold.cpu);
        if let Err(mut partition) = MAILBOXES.send(hold.cpu, partition) {
            failures.push(alloc::format!("CPU {} is busy", hold.cpu));
            finish(table, hold, &mut partition, &mut failures);
        }
    }
    for hold in holds.iter_mut().filter(|hold| !hold.done) {
        if let Some(mut partition) = untaken(hold.cpu) {
            failures.push(alloc::format!("CPU {} does not begin with its guest", hold.cpu));
            finish(table, hold, &mut partition, &mut failures);
        }
    }
    run.survey.report(&run.config);
    let started = clock::ticks();
    let deadline = u64::from(run.config.deadline_ms) * clock::khz();
    let (mut stopping, mut gone) = (None, false);
    let mut watch = Watch::default();
    while holds.iter().any(|hold| !hold.done) && !gone {
        cpu::nap(LOOK_US);
        let now = clock::ticks();
        if let Some(table) = table {
            faults::poll(table, &holdings, &mut watch, nanoseconds(now));
        }
        for hold in holds.iter_mut().filter(|hold| !hold.done) {
            if let Some(mut partition) = MAILBOXES.collect(hold.cpu) {
                if let Some(table) = table {
                    faults::poll(table, &holdings, &mut watch, nanoseconds(now));
                }
                starts.push((hold.guest.name.clone(), partition.start_ticks()));
                finish(table, hold, &mut partition, &mut failures);
            }
        }
        for hold in holds.iter_mut().filter(|hold| !hold.done && !hold.faulted) {
            if watch.stops(hold.number) {
                log::warn!("{} is stopped: its device was blocked", hold.guest.name);
                hold.faulted = true;
                MAILBOXES.stop(hold.cpu);
            }
        }
        match stopping {
            None if deadline != 0 && now - started > deadline => {
                for hold in holds.iter().filter(|hold| !hold.done) {
                    log::warn!(
                        "{} still runs after {} ms; it is stopped",
                        hold.guest.name,
                        run.config.deadline_ms
                    );
                    MAILBOXES.stop(hold.cpu);
                }
                stopping = Some(now);
            }
            Some(since) => gone = now - since > STOP_MS * clock::khz(),
            None => {}
        }
    }
    for hold in holds.iter().filter(|hold| !hold.done) {
        failures.push(alloc::format!(
            "{} did not leave its CPU when it was stopped",
            hold.guest.name
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

/// Waits until `cpu` has taken its partition, and takes it back if it does not come.
fn untaken(cpu: usize) -> Option<Box<Partition>> {
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
) -> Result<(Holds, Holding, Box<Partition>), String> {
    let owner = Owner::Guest(ready.number);
    let mut partition =
        Partition::build(&ready, table, features, entry_ticks).map_err(|error| error.to_string())?;
    let (mut domain, mut sets) = (None, 0);
    let (mut requesters, mut blocked_before) = (Vec::new(), 0);
    if let (Some(table), Some(plan)) = (table, &ready.plan) {
        requesters = plan.cohorts().flat_map(Cohort::requesters).copied().collect();
        blocked_before = faults::of(table, &requesters);
        let made = table
            .domain(owner, partition.dma_regions())
            .map_err(|error| error.to_string())?;
        partition.backend.leases = table.open(plan, &made).map_err(|error| error.to_string())?;
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
    let cpu = ready.grant.cpu;
    Ok((
        Holds {
            guest: ready.guest,
            number: ready.number,
            cpu,
            domain,
            sets,
            requesters,
            blocked_before,
            faulted: false,
            done: false,
        },
        holding,
        partition,
    ))
}

/// Closes what a guest held, and reports how its life was.
fn finish(
    table: Option<&'static Table>,
    hold: &mut Holds,
    partition: &mut Partition,
    failures: &mut Vec<String>,
) {
    hold.done = true;
    let name = &hold.guest.name;
    let (success, mut how) = partition.ending();
    if hold.faulted && partition.stopped() {
        how = String::from("was stopped because its device was blocked (on-fault = \"stop\")");
    }
    let mut closed = true;
    for lease in partition.backend.leases.drain(..).rev() {
        let cohort = lease.cohort();
        let Err(failure) = lease.close() else { continue };
        // What did not work at once may work from above, or when it is quiet: the next owner should not have to ask.
        if !table.is_some_and(|table| repair(table, cohort)) {
            closed = false;
            failures.push(alloc::format!(
                "a cohort of {name} is out of service: {}",
                failure.0
            ));
        }
    }
    if let Some(Err(in_use)) = hold.domain.take().map(Domain::close) {
        closed = false;
        failures.push(alloc::format!("{name}: {in_use}"));
    }
    // Memory that a device may still reach is given to nobody, and so needs no wiping.
    if closed {
        partition.wipe();
    }
    let as_expected = match hold.guest.expect {
        Expect::Success => success,
        Expect::Stopped => partition.stopped(),
        Expect::Any => true,
    };
    if !as_expected {
        failures.push(alloc::format!(
            "{name} {how}; expected was {:?}",
            hold.guest.expect
        ));
    }
    log::info!("{name} {how}; its cohorts are closed");
    console::report(&Record::GuestEnd(GuestEnd {
        guest: name.clone(),
        success,
        as_expected,
        how,
        exits: partition.exits(),
        interrupts: partition.interrupts(),
        dma_faults: table.map_or(0, |table| faults::of(table, &hold.requesters)) - hold.blocked_before,
        sets: hold.sets,
        start_ticks: partition.start_ticks(),
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
