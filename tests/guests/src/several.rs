//! `several`: a guest with two CPUs. The first starts the second, they interrupt each other, and the second takes the interrupts of
//! an NVMe controller that the first drives.
//!
//! | `mode` | what it does |
//! |---|---|
//! | `work`, the default | all of that, with commands to absent CPUs, storms, INIT, and resets of the controller while the other CPU reads its registers |
//! | `init-first` | the first CPU sends INIT to itself, which leads to a reset vector where nothing is |
//! | `halt` | both CPUs halt with interrupts off |
//! | `spin` | the first CPU halts with interrupts off, the second loops for ever |
#![expect(unsafe_code, reason = "halts with interrupts off")]

use core::arch::asm;

use cohort_abi::disk::{self, Kind, SECTOR_SIZE, SUPPLIED, WRITTEN};

use crate::nvme::{CLASS, Controller, Wait};
use crate::pci::Function;
use crate::rt::smp::{self, Order};
use crate::rt::{Failure, Machine, apic, interrupts, time};
use crate::storage::{self, DISK_VECTOR, Task};

/// APIC id of the second CPU.
const SECOND: u8 = 1;
/// One that no CPU has.
const ABSENT: u8 = 7;
/// Round trips of each kind.
const ROUNDS: u32 = 50;
/// Interrupts of a storm.
const STORM: u32 = 5000;
/// Resets of the controller.
const RESETS: u32 = 3;

/// The program.
///
/// # Errors
/// The first thing that does not hold.
pub fn run(machine: &Machine) -> Result<(), Failure> {
    if machine.platform.cpus != 2 {
        return Err(format_args!("{} CPUs, not 2", machine.platform.cpus).into());
    }
    match machine.cmdline().text("mode").unwrap_or("work") {
        "work" => work(machine),
        "init-first" => {
            apic::send(apic::id(), smp::INIT);
            Err("INIT to itself had no consequence".into())
        }
        "halt" => halt(),
        "spin" => {
            smp::start(SECOND)?;
            smp::order(Order::Spin);
            smp::ping(SECOND, 0)?;
            halt()
        }
        mode => Err(format_args!("mode={mode} is unknown").into()),
    }
}

fn halt() -> ! {
    loop {
        // SAFETY: nothing comes after it.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

fn work(machine: &Machine) -> Result<(), Failure> {
    // Nobody has these ids, so nothing happens.
    for command in [smp::INIT, smp::START_UP | 9, smp::NMI, u32::from(smp::PING)] {
        apic::send(ABSENT, command);
    }
    smp::start(SECOND)?;
    println!("the second CPU runs, with APIC id {}", smp::id());
    if smp::id() != u32::from(SECOND) {
        return Err("that is not its id".into());
    }
    messages()?;
    restarts()?;
    let function = machine
        .pci
        .functions()
        .find(|function| function.class() == CLASS)
        .ok_or("there is no NVMe controller; assign one to this guest")?;
    controller(function)?;
    if let Some((vector, count)) = interrupts::unexpected(&[
        DISK_VECTOR,
        apic::TIMER_VECTOR,
        interrupts::NMI,
        smp::PING,
        smp::PONG,
        smp::WAKE,
    ]) {
        return Err(format_args!("{count} interrupts on vector {vector:#x}, which nobody uses").into());
    }
    Ok(())
}

/// Interrupts back and forth by every way to name the other, NMIs, and storms.
fn messages() -> Result<(), Failure> {
    for _ in 0..ROUNDS {
        smp::ping(SECOND, 0)?;
        smp::ping(1 << SECOND, smp::LOGICAL)?;
        smp::ping(0, smp::OTHERS)?;
        // Lowest priority.
        smp::ping(1 << SECOND, smp::LOGICAL | 0x100)?;
    }
    println!("{} interrupts were answered", interrupts::count(smp::PONG));
    for wanted in 1..=3 {
        apic::send(SECOND, smp::NMI);
        let arrived = || (interrupts::count_on_second(interrupts::NMI) == wanted).then_some(());
        time::poll(10_000, arrived).ok_or("an NMI does not arrive")?;
    }
    for _ in 0..STORM {
        apic::send(SECOND, smp::PING.into());
        apic::send(SECOND, smp::NMI);
        apic::send(SECOND, smp::START_UP);
    }
    // Answers of the storm are not taken for that of the ping.
    time::sleep(20);
    smp::ping(SECOND, 0)?;
    let seen = interrupts::count_on_second(smp::PING);
    println!("a storm of {STORM} ended, {seen} interrupts in all");
    Ok(())
}

/// INIT stops the second CPU, by whom it may come, and it starts again.
fn restarts() -> Result<(), Failure> {
    for by_itself in [false, true, false] {
        if by_itself {
            smp::order(Order::InitItself);
            smp::ping(SECOND, 0).ok();
        } else {
            apic::send(SECOND, smp::INIT);
        }
        let (before, pings) = (smp::starts(), interrupts::count_on_second(smp::PING));
        apic::send(SECOND, smp::PING.into());
        apic::send(SECOND, smp::NMI);
        time::sleep(20);
        if interrupts::count_on_second(smp::PING) != pings {
            return Err("the second CPU answers after INIT".into());
        }
        smp::start(SECOND)?;
        if smp::starts() != before + 1 {
            return Err("it started more than once".into());
        }
        smp::ping(SECOND, 0)?;
    }
    println!("INIT stopped the second CPU, and it started again, 3 times");
    Ok(())
}

/// The first CPU drives the controller, the second gets its interrupts.
fn controller(function: Function) -> Result<(), Failure> {
    apic::direct_messages_to(SECOND);
    smp::forward(DISK_VECTOR);
    let mut disk = Controller::start(function, DISK_VECTOR, WRITTEN.end.max(SUPPLIED.end))?;
    let mut first = [0; SECTOR_SIZE];
    disk.read(Wait::Polling, SUPPLIED.start, &mut first)?;
    let task = Task {
        supplied: SUPPLIED,
        written: WRITTEN,
        seed: disk::seed_of(&first),
    };
    storage::verify(
        &mut disk,
        Wait::Interrupt,
        Kind::Supplied,
        &task.supplied,
        task.seed,
    )?;
    storage::write(&mut disk, &task)?;
    for round in 0..RESETS {
        smp::hammer(function.bar(0)?.base());
        // It may wait in HLT.
        smp::ping(SECOND, 0)?;
        disk = disk.reset_function(round % 2 == 0, DISK_VECTOR, WRITTEN.end)?;
        smp::order(Order::Wait);
        storage::verify(
            &mut disk,
            Wait::Interrupt,
            Kind::Written,
            &task.written,
            task.seed,
        )?;
    }
    println!(
        "the controller was reset {RESETS} times while the second CPU read it {} times",
        smp::hammered()
    );
    let (all, second) = (
        interrupts::count(DISK_VECTOR),
        interrupts::count_on_second(DISK_VECTOR),
    );
    println!("interrupts of the disk: {second} on the second CPU, {all} in all");
    if all == 0 || all != second {
        return Err("some came to the first CPU, or none".into());
    }
    Ok(disk.stop()?)
}
