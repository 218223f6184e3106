//! The demo: two guests with whole cohorts, real disk I/O, and every attack blocked and reported.

use boot::summary;
use cohort_abi::bundle::Mode;
use cohort_abi::report::{Cohort, Device, DmaFault, GuestEnd, Record};
use libtest_mimic::{Failed, Trial};
use machine_tests::{Change, Run, expect, launch};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("demo::everything_holds", everything_holds),
        Trial::test("demo::sets_are_explained", sets_are_explained),
        Trial::test("demo::check_finds_nothing", check_finds_nothing),
    ]
}

fn everything_holds() -> Result<(), Failed> {
    let run = launch::run(&launch::demo()?, Mode::Run, Change::Nothing)?;
    let (storage, rogue) = both_hold(&run)?;
    expect::that(
        &run,
        storage.sets == 2 && rogue.sets >= 2,
        "whole sets were opened for both",
    )?;
    expect::that(
        &run,
        storage.start_ticks > 0 && !storage.exits.is_empty(),
        "start and exits are counted",
    )?;
    attacks(&run)?;
    expect::that(
        &run,
        all_said_of_interrupts(&run, "POSSIBLE"),
        "nothing isolates interrupts on virtio-iommu, and rogue finds that out",
    )
}

/// What holds on every IOMMU: both guests say success, and completions came by interrupt and were never blocked. Gives how `storage` and
/// `rogue` ended.
pub(crate) fn both_hold(run: &Run) -> Result<(&GuestEnd, &GuestEnd), Failed> {
    expect::success(run)?;
    let storage = run.end("storage").ok_or("storage ended")?;
    let rogue = run.end("rogue").ok_or("rogue ended")?;
    expect::that(
        run,
        storage.success && rogue.success,
        "both guests end themselves with success",
    )?;
    expect::that(run, storage.interrupts > 0, "completions came by interrupt")?;
    expect::that(
        run,
        storage.dma_faults == 0,
        "the storage guest's DMA is never blocked",
    )?;
    expect::said(run, &["2 devices: 26 attacks blocked, 0 succeeded"])?;
    Ok((storage, rogue))
}

/// Whether rogue says this of the messages of each of its two devices.
pub(crate) fn all_said_of_interrupts(run: &Run, what: &str) -> bool {
    let console = run.outcome.console.iter();
    let said: Vec<&String> = console
        .filter(|line| line.contains("interrupts by DMA to local APIC"))
        .collect();
    said.len() == 2 && said.iter().all(|line| line.contains(what))
}

/// The blocked accesses that were told: all of rogue, by devices of its.
pub(crate) fn faults_of_rogue(run: &Run) -> Result<Vec<&DmaFault>, Failed> {
    let faults: Vec<&DmaFault> = run.blocked().collect();
    let guests = &mut run.guests.iter();
    let rogue = guests
        .find(|guest| guest.name == "rogue")
        .ok_or("rogue is there")?;
    let own = |fault: &&DmaFault| {
        fault.guest.as_deref() == Some("rogue")
            && fault.device.is_some_and(|device| rogue.devices.contains(&device))
    };
    expect::that(
        run,
        faults.iter().all(own),
        "only rogue attacks, and each fault names a device of its",
    )?;
    Ok(faults)
}

/// Each attack is reported with guest, device, address and access.
fn attacks(run: &Run) -> Result<(), Failed> {
    let faults = faults_of_rogue(run)?;
    for (what, range) in [
        ("the hypervisor's memory", 0x100_0000..0x200_0000),
        ("the other guest's memory", 0x2000_0000..0x2100_0000),
        ("read-only memory", 0xe_0000..0x10_0000u64),
    ] {
        let hit = faults
            .iter()
            .any(|fault| fault.address.is_some_and(|address| range.contains(&address)));
        expect::that(run, hit, &format!("the attack on {what} is reported"))?;
    }
    // QEMU 7.2's virtio-iommu tells the kind of access only where a mapping forbids it, so what hits no mapping is
    // an "access" to the hypervisor too.
    let rom = 0xe_0000..0x10_0000u64;
    let named = faults.iter().all(|fault| {
        let forbidden = fault.address.is_some_and(|address| rom.contains(&address));
        fault.access == if forbidden { "write" } else { "access" }
    });
    expect::that(
        run,
        named,
        "each fault names the access as far as the IOMMU tells it",
    )?;
    Ok(())
}

fn sets_are_explained() -> Result<(), Failed> {
    let run = launch::run(&launch::demo()?, Mode::Sets, Change::Nothing)?;
    expect::success(&run)?;
    let device = |name: &str| -> Result<&Device, Failed> {
        let records = &run.outcome.report.records;
        let found = records.iter().find_map(|record| match record {
            Record::Device(device) if device.bdf.to_string() == name => Some(device),
            _ => None,
        });
        found.ok_or_else(|| format!("{name} is reported\n{}", run.tail()).into())
    };
    let (edu, nvme) = (device("0000:00:03.0")?, device("0000:00:04.0")?);
    expect::that(
        &run,
        edu.set != nvme.set && edu.cohort != nvme.cohort,
        "root-bus devices stand alone",
    )?;
    let slot = (device("0000:01:00.0")?, device("0000:01:00.1")?);
    expect::that(
        &run,
        slot.0.set == slot.1.set && slot.0.cohort == slot.1.cohort,
        "one slot is one set",
    )?;
    let pair = (device("0000:03:01.0")?, device("0000:03:02.0")?);
    expect::that(
        &run,
        pair.0.group == pair.1.group,
        "one requester id is one isolation group",
    )?;
    expect::that(
        &run,
        pair.0.cohort == pair.1.cohort,
        "one isolation group is in one cohort",
    )?;
    let free = device("0000:04:00.0")?.cohort;
    let cohorts: Vec<&Cohort> = run
        .outcome
        .report
        .records
        .iter()
        .filter_map(|record| {
            if let Record::Cohort(cohort) = record {
                Some(cohort)
            } else {
                None
            }
        })
        .collect();
    let nobodys = cohorts
        .iter()
        .find(|cohort| cohort.id == free)
        .ok_or("the free cohort is reported")?;
    expect::that(
        &run,
        nobodys.owner.is_none() && nobodys.members.len() == 2,
        "one cohort is nobody's",
    )?;
    let explained = cohorts
        .iter()
        .filter(|cohort| cohort.members.len() > 1)
        .all(|cohort| !cohort.because.is_empty());
    expect::that(&run, explained, "each cohort of several devices says why")?;
    expect::no_guest(&run)?;
    let text = summary::sets(&run.outcome);
    expect::that(
        &run,
        text.contains("because") && text.contains("nobody's"),
        &format!("it prints:\n{text}"),
    )
}

fn check_finds_nothing() -> Result<(), Failed> {
    let run = launch::run(&launch::demo()?, Mode::Check, Change::Nothing)?;
    expect::success(&run)?;
    expect::no_guest(&run)?;
    expect::that(&run, run.refusals().count() == 0, "nothing is refused")
}
