//! `bench`: what things cost, in ticks of the time-stamp counter, which are instructions where the machine counts them.
//!
//! The guests of the configuration start exactly as in a run and are stopped soon after; everything else is measured
//! on the boot CPU when they are gone. `docs/performance.md` says what each figure means.

use super::MAILBOXES;
use super::guest::Partition;
use super::prepare::{Ready, Run};
use super::run::{execute, sum_up};
use super::vcpu::{Parcel, Vcpu, step};
use crate::addr::{GuestPhys, HostPhys, Iova};
use crate::assign::MachineAssigner;
use crate::console;
use crate::cpu::clock::{self, ticks};
use crate::start::Refused;
use crate::steps;
use crate::survey::Table;
use crate::virt::svm::{EntryState, Features};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use cohort_abi::bundle::{Config, Expect, OnExit};
use cohort_abi::report::{Figure, Record, figure};
use vfio_core::cohort::Cohort;
use vfio_core::lease::Domain;
use vfio_core::{Access, DeviceId, Mapping, Owner};

/// How long the guests run, in milliseconds: long enough for each CPU to have had its turn.
const RUN_MS: u32 = 5;
/// How often a short operation is measured.
const ROUNDS: usize = 9;
/// How often the guest leaves.
const EXITS: usize = 1000;
/// A guest's code: `cpuid; jmp` back to it.
const CPUID_FOREVER: [u8; 4] = [0x0f, 0xa2, 0xeb, 0xfc];
/// Where that lies.
const CODE: u32 = 0x1000;
/// Where mappings are tried: above every guest's memory, and to host addresses where no machine has any.
const TRY_IOVA: Iova = Iova(1 << 37);
const TRY_HOST: HostPhys = HostPhys(1 << 38);
/// What is mapped, by size in bytes.
const SIZES: [(u64, &str, &str); 3] = [
    (4 << 10, figure::MAP_4K, figure::UNMAP_4K),
    (2 << 20, figure::MAP_2M, figure::UNMAP_2M),
    (1 << 30, figure::MAP_1G, figure::UNMAP_1G),
];

fn send(name: &str, value: u64, unit: &str) {
    let (name, unit) = (String::from(name), String::from(unit));
    console::report(&Record::Figure(Figure { name, value, unit }));
}

/// Where the time of a start went, as far as it is known.
fn send_steps(of: &str) {
    for (name, took, waited) in steps::taken() {
        send(&alloc::format!("start {of}: {name}"), took, "ticks");
        if waited > 0 {
            send(&alloc::format!("start {of}: {name}, waits"), waited, "ticks");
        }
    }
}

fn median(mut of: Vec<u64>) -> u64 {
    of.sort_unstable();
    of.get(of.len() / 2).copied().unwrap_or(0)
}

/// Measures everything. Says whether all of it could be measured.
///
/// # Errors
/// Something was refused, as in a run.
pub fn bench(mut run: Run, features: Features, entry_ticks: u64) -> Result<bool, Refused> {
    let (table, config) = (run.survey.table(), run.config.clone());
    let bare = run.guests.first().map(|ready| {
        let mut guest = ready.guest.clone();
        guest.devices.clear();
        Ready {
            number: ready.number,
            guest,
            grant: ready.grant.clone(),
            image: ready.image,
            initrd: ready.initrd,
            plan: None,
        }
    });
    let mut failures = Vec::new();
    let began = ticks();
    if let Some(bare) = &bare {
        match start_bare(bare, features, entry_ticks) {
            Ok(start) => {
                send(figure::START_BARE, start, "ticks");
                let waited = clock::waited();
                send(
                    "start a guest without devices, without waits",
                    start.saturating_sub(waited),
                    "ticks",
                );
                send_steps("without devices");
            }
            Err(why) => failures.push(why),
        }
    }
    // What was measured so far is no part of the way to the guests' start.
    let entry_ticks = entry_ticks + (ticks() - began);
    steps::begin();
    run.config.deadline_ms = RUN_MS;
    for ready in &mut run.guests {
        ready.guest.expect = Expect::Any;
        ready.guest.on_exit = OnExit::Stop;
    }
    let done = execute(run, features, entry_ticks)?;
    for (name, start) in &done.starts {
        send(&alloc::format!("start {name}"), *start, "ticks");
    }
    if let Some(last) = done.starts.iter().map(|(_, start)| *start).max() {
        send(figure::START_DEVICES, last, "ticks");
        send(
            figure::START_DEVICES_WITHOUT_WAIT,
            last.saturating_sub(done.waited),
            "ticks",
        );
    }
    send_steps("with devices");
    failures.extend(done.failures);
    if let Some(bare) = &bare {
        match Partition::build(bare, None, features, 0) {
            Ok((partition, mut vcpus)) => {
                if let Some(table) = table
                    && let Err(why) = sets(table, &config, &partition.dma_regions())
                {
                    failures.push(why);
                }
                if let Some(Err(why)) = vcpus.first_mut().map(exits) {
                    failures.push(why);
                }
                partition.wipe();
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    send(figure::RESIDENT, crate::memory::resident_bytes(), "bytes");
    Ok(sum_up(failures, done.sets_opened))
}

/// Ticks from entry to the first instruction of a guest without devices, which is then stopped.
fn start_bare(bare: &Ready, features: Features, entry_ticks: u64) -> Result<u64, String> {
    let built = Partition::build(bare, None, features, entry_ticks);
    let (partition, vcpus) = built.map_err(|error| error.to_string())?;
    let cpus = &bare.grant.cpus;
    for (cpu, vcpu) in cpus.iter().zip(vcpus) {
        let sent = MAILBOXES.send(*cpu, Parcel::Vcpu(Box::new(vcpu)));
        sent.map_err(|_| String::from("the guest's CPU is busy"))?;
    }
    clock::untimed_delay(1000);
    partition.cpus.stop();
    let mut back = 0;
    for _ in 0..1000 {
        back += cpus.iter().filter_map(|cpu| MAILBOXES.collect(*cpu)).count();
        if back == cpus.len() {
            partition.wipe();
            return Ok(partition.start_ticks());
        }
        clock::untimed_delay(100);
    }
    Err(String::from("the guest without devices does not stop"))
}

/// Opens and closes a cohort that needs no reset, and maps and unmaps while it is open.
fn sets(table: &'static Table, config: &Config, regions: &[Mapping]) -> Result<(), String> {
    let found = (0..).zip(&config.guests).find_map(|(number, guest)| {
        let mut ids = guest.devices.iter().map(|bdf| DeviceId::from(*bdf));
        ids.find_map(|id| {
            table
                .cohorts()
                .cohort_of(id)
                .filter(|cohort| cohort.resets().is_empty())
        })
        .map(|cohort| (Owner::Guest(number), cohort))
    });
    let Some((owner, cohort)) = found else {
        log::warn!("no guest has a cohort without a reset; opening, closing and mapping are not measured");
        return Ok(());
    };
    let devices = Cohort::members(cohort);
    let plan = table
        .plan_open(owner, devices, config.allow_unsafe_interrupts)
        .map_err(|refusal| alloc::format!("{refusal:?}"))?;
    let (mut opens, mut closes) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let start = ticks();
        let domain = table
            .domain(owner, regions.to_vec())
            .map_err(|error| error.to_string())?;
        let leases = table.open(&plan, &domain).map_err(|error| error.to_string())?;
        opens.push(ticks() - start);
        let mapped = if round == 0 {
            mappings(table, &domain)
        } else {
            Ok(())
        };
        let start = ticks();
        for lease in leases.into_iter().rev() {
            lease
                .close()
                .map_err(|failure| alloc::format!("closing: {}", failure.0))?;
        }
        domain.close().map_err(|in_use| in_use.to_string())?;
        closes.push(ticks() - start);
        mapped?;
    }
    send(figure::OPEN_SET, median(opens), "ticks");
    send(figure::CLOSE_SET, median(closes), "ticks");
    Ok(())
}

/// Maps and unmaps in a domain that has an endpoint, so that the device hears of each.
fn mappings(table: &'static Table, domain: &Domain<'static, MachineAssigner>) -> Result<(), String> {
    let (mut requests, mut mapped) = (0, 0);
    for (size, map, unmap) in SIZES {
        let region = Mapping {
            iova: TRY_IOVA,
            host: TRY_HOST,
            size,
            access: Access::READ,
        };
        let (mut maps, mut unmaps) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let before = table.platform().iommus().commands();
            let start = ticks();
            domain.map(region).map_err(|error| error.to_string())?;
            maps.push(ticks() - start);
            requests += table.platform().iommus().commands() - before;
            mapped += 1;
            let start = ticks();
            domain.unmap(TRY_IOVA, size).map_err(|error| error.to_string())?;
            unmaps.push(ticks() - start);
        }
        send(map, median(maps), "ticks");
        send(unmap, median(unmaps), "ticks");
    }
    send(figure::MAP_REQUESTS, requests / mapped, "requests");
    Ok(())
}

/// Runs a guest that does nothing but CPUID, with every exit answered as for any guest.
fn exits(vcpu: &mut Vcpu) -> Result<(), String> {
    let code = vcpu
        .platform
        .memory()
        .write(GuestPhys(CODE.into()), &CPUID_FOREVER);
    code.map_err(|error| error.to_string())?;
    vcpu.state.reset(EntryState { eip: CODE, ebx: 0 });
    let (mut rounds, mut armed) = (Vec::with_capacity(EXITS), None);
    for _ in 0..EXITS {
        let start = ticks();
        if let Some(end) = step(0, vcpu, &mut armed) {
            return Err(alloc::format!("the guest that measures exits ended: {end:?}"));
        }
        rounds.push(ticks() - start);
    }
    send(figure::CPUID_EXIT, median(rounds), "ticks");
    Ok(())
}
