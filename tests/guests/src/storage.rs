//! `storage`: owns an NVMe controller, verifies what the host put on its disk, and writes what the host verifies.
//!
//! | key | meaning | default |
//! |---|---|---|
//! | `sectors` | how many sectors of each range of [`cohort_abi::disk`] to use | all |
//! | `seed` | the seed that the disk must bear | what its first sector says |
//! | `rounds` | how often to read and verify everything again after the first time | 1 |
//! | `resets` | function level resets in the middle of the work, every other one while it reads | 0 |
//! | `pause` | milliseconds of sleep before each round | 100 |
//! | `end` | how it ends when everything held: `success`, `reset`, `keyboard`, `power-off`, `triple-fault` | `success` |
//! | `busy` | 1: ends with a read under way, and the controller on | 0 |
//!
//! More rounds keep this guest alive while others misbehave; its memory is watched until the end.

use alloc::vec;
use cohort_abi::disk::{self, Kind, SECTOR_SIZE, SUPPLIED, Sector, SectorError, WRITTEN};
use core::ops::Range;

use crate::canary::Canary;
use crate::nvme::{CLASS, Controller, Wait};
use crate::rt::{Failure, Machine, apic, exit, interrupts, time};

/// The vector of the controller's interrupt.
pub(crate) const DISK_VECTOR: u8 = 0x50;

/// Sectors of one command, in turn: one page, exactly one, two, and lists of pages.
const CHUNKS: [u64; 5] = [1, 8, 16, 24, 64];

/// What to do.
pub(crate) struct Task {
    pub(crate) supplied: Range<u64>,
    pub(crate) written: Range<u64>,
    pub(crate) seed: u64,
}

/// The program.
///
/// # Errors
/// The first thing that does not hold.
pub fn run(machine: &Machine) -> Result<(), Failure> {
    let canary = Canary::plant(&machine.free_ram);
    let watched = canary.range();
    println!(
        "watching {} KiB of RAM from {:#x}",
        (watched.end - watched.start) / 1024,
        watched.start
    );
    for function in machine.pci.functions() {
        let (vendor, device) = function.id();
        println!(
            "{} is {vendor:04x}:{device:04x}, class {:06x}",
            function.address,
            function.class()
        );
    }
    let function = machine
        .pci
        .functions()
        .find(|function| function.class() == CLASS)
        .ok_or("there is no NVMe controller; assign one to this guest")?;
    let cmdline = machine.cmdline();
    let limit = cmdline.number("sectors")?.unwrap_or(u64::MAX);
    let clip = |range: Range<u64>| range.start..range.end.min(range.start.saturating_add(limit));
    let (supplied, written) = (clip(SUPPLIED), clip(WRITTEN));

    let mut disk = Controller::start(function, DISK_VECTOR, written.end.max(supplied.end))?;
    let (major, minor) = (disk.version >> 16, disk.version >> 8 & 0xff);
    println!(
        "{}: {}, NVMe {major}.{minor}, {} sectors",
        function.address, disk.model, disk.sectors
    );

    let mut first = [0; SECTOR_SIZE];
    disk.read(Wait::Polling, supplied.start, &mut first)?;
    let seed = cmdline.number("seed")?.unwrap_or(disk::seed_of(&first));
    let task = Task {
        supplied,
        written,
        seed,
    };

    for wait in [Wait::Polling, Wait::Interrupt] {
        verify(&mut disk, wait, Kind::Supplied, &task.supplied, seed)?;
    }
    write(&mut disk, &task)?;
    for round in 0..cmdline.number("resets")?.unwrap_or(0) {
        disk.nap()?;
        check(&mut disk, Wait::Interrupt, Kind::Written, &task.written, seed)?;
        let busy = round % 2 == 0;
        disk = disk.reset_function(busy, DISK_VECTOR, task.written.end.max(task.supplied.end))?;
        let how = if busy {
            "while it read"
        } else {
            "while it was idle"
        };
        println!("slept, was reset {how}, and started again");
        check(&mut disk, Wait::Interrupt, Kind::Supplied, &task.supplied, seed)?;
    }
    for wait in [Wait::Interrupt, Wait::Polling] {
        verify(&mut disk, wait, Kind::Written, &task.written, seed)?;
    }
    let rounds = cmdline.number("rounds")?.unwrap_or(1);
    let pause = cmdline.number("pause")?.unwrap_or(100).min(60_000) as u32;
    again(&mut disk, &task, rounds, pause)?;
    if cmdline.number("busy")?.unwrap_or(0) == 0 {
        disk.stop()?;
    } else {
        disk.leave_reading()?;
    }
    canary.check()?;
    println!("the watched RAM is unchanged");
    finish(rounds, pause)?;
    exit::end(cmdline.text("end").unwrap_or("success"))
}

/// Writes the pattern, one half by polling, the other by interrupts, and flushes.
pub(crate) fn write(disk: &mut Controller, task: &Task) -> Result<(), Failure> {
    let middle = task.written.start.midpoint(task.written.end);
    for (wait, range) in [
        (Wait::Polling, task.written.start..middle),
        (Wait::Interrupt, middle..task.written.end),
    ] {
        for (first, count) in chunks(&range) {
            let mut bytes = vec![0; count as usize * SECTOR_SIZE];
            for (index, sector) in (first..).zip(bytes.as_chunks_mut().0) {
                disk::fill(sector, Kind::Written, index, task.seed);
            }
            disk.write(wait, first, &bytes)?;
        }
        disk.flush(wait)?;
        println!(
            "wrote and flushed {} sectors from {}, {}",
            range.end - range.start,
            range.start,
            how(wait)
        );
    }
    Ok(())
}

/// Reads `range` and checks each sector.
pub(crate) fn verify(
    disk: &mut Controller,
    wait: Wait,
    kind: Kind,
    range: &Range<u64>,
    seed: u64,
) -> Result<(), Failure> {
    check(disk, wait, kind, range, seed)?;
    let what = match kind {
        Kind::Supplied => "supplied by the host",
        Kind::Written => "written before",
    };
    let count = range.end - range.start;
    println!("verified {count} sectors {what}, seed {seed:#x}, {}", how(wait));
    Ok(())
}

/// As `verify`, without a word.
fn check(
    disk: &mut Controller,
    wait: Wait,
    kind: Kind,
    range: &Range<u64>,
    seed: u64,
) -> Result<(), Failure> {
    let mut buffer = [0; 64 * SECTOR_SIZE];
    for (first, count) in chunks(range) {
        let bytes = buffer.get_mut(..count as usize * SECTOR_SIZE).unwrap_or_default();
        // What an earlier command left must not pass for what this one reads.
        bytes.fill(0);
        disk.read(wait, first, bytes)?;
        for (index, sector) in (first..).zip(bytes.as_chunks().0) {
            check_sector(sector, kind, index, seed)?;
        }
    }
    Ok(())
}

fn check_sector(sector: &Sector, kind: Kind, index: u64, seed: u64) -> Result<(), SectorError> {
    disk::check(sector, kind, index, seed)
}

/// Reads and verifies everything `rounds` times, asleep for `pause` ms before each.
fn again(disk: &mut Controller, task: &Task, rounds: u64, pause: u32) -> Result<(), Failure> {
    for round in 0..rounds {
        time::sleep(pause);
        let wait = if round % 2 == 0 {
            Wait::Interrupt
        } else {
            Wait::Polling
        };
        check(disk, wait, Kind::Supplied, &task.supplied, task.seed)?;
        check(disk, wait, Kind::Written, &task.written, task.seed)?;
    }
    println!("verified everything again in {rounds} rounds, {pause} ms apart");
    Ok(())
}

/// Says what interrupted, and that nothing else did.
fn finish(rounds: u64, pause: u32) -> Result<(), Failure> {
    let (disk, timer) = (
        interrupts::count(DISK_VECTOR),
        interrupts::count(apic::TIMER_VECTOR),
    );
    println!("interrupts: {disk} of the disk, {timer} of the timer");
    if let Some((vector, count)) = interrupts::unexpected(&[DISK_VECTOR, apic::TIMER_VECTOR]) {
        return Err(format_args!(
            "{count} interrupts on vector {vector:#x}, which nothing of this guest uses"
        )
        .into());
    }
    if pause > 0 && timer < rounds {
        return Err(format_args!("the timer interrupted {timer} times in {rounds} sleeps").into());
    }
    Ok(())
}

/// Cuts `range` into commands.
fn chunks(range: &Range<u64>) -> impl Iterator<Item = (u64, u64)> + use<> {
    let (mut first, end) = (range.start, range.end);
    CHUNKS.into_iter().cycle().map_while(move |count| {
        let count = count.min(end - first);
        let chunk = (first, count);
        first += count;
        (count > 0).then_some(chunk)
    })
}

const fn how(wait: Wait) -> &'static str {
    match wait {
        Wait::Polling => "polling",
        Wait::Interrupt => "by MSI-X interrupts",
    }
}
