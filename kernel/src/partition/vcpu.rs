//! A CPU that runs one guest at a time: in, out, have the exit answered, and again.

use super::MAILBOXES;
use super::anew;
use super::guest::{Ending, Partition};
use crate::console;
use crate::cpu::{CpuIndex, clock, interrupts, lapic};
use crate::guest::dispatch::Verdict;
use crate::guest::policy::cpuid::Registers;
use crate::virt::{Exit, svm};
use alloc::boxed::Box;

/// A halted CPU looks again after this many microseconds, whatever wakes it or not.
const HALT_LIMIT_US: u64 = 100_000;

/// Waits for partitions and runs them, for ever.
pub fn serve(cpu: CpuIndex) -> ! {
    loop {
        while interrupts::take(cpu).is_some() {}
        if let Some(partition) = MAILBOXES.take(cpu) {
            let partition = anew::begin(partition).map_or_else(|over| over, |begun| live(cpu, begun));
            MAILBOXES.finish(cpu, partition);
        }
        interrupts::wait();
    }
}

/// One life of a guest, from its first instruction to the moment when nothing interrupts for it any more.
fn live(cpu: CpuIndex, mut partition: Box<Partition>) -> Box<Partition> {
    // Nothing of an earlier life is for this one.
    while interrupts::take(cpu).is_some() {}
    partition.ending = match svm::enable() {
        Ok(_) => run(cpu, &mut partition),
        Err(error) => {
            log::error!("CPU {cpu}: {error}");
            Ending::None
        }
    };
    lapic::stop_timer();
    let Partition {
        name,
        platform,
        functions,
        backend,
        ..
    } = &mut *partition;
    platform.flush(|line| console::line(format_args!("[{name}] {line}")));
    functions.release(backend);
    partition
}

fn run(cpu: CpuIndex, partition: &mut Partition) -> Ending {
    partition.started = clock::ticks();
    let mut armed = None;
    loop {
        if let Some(ending) = step(cpu, partition, &mut armed) {
            return ending;
        }
    }
}

/// Into the guest, out of it, and its exit answered. `armed` is when this CPU's timer comes for the guest.
pub(super) fn step(cpu: CpuIndex, partition: &mut Partition, armed: &mut Option<u64>) -> Option<Ending> {
    let Partition {
        name,
        vcpu,
        platform,
        functions,
        backend,
        ..
    } = partition;
    while let Some(vector) = interrupts::take(cpu) {
        if let Some(vector) = backend.guest_vector(vector) {
            platform.interrupt(vector);
        }
    }
    if MAILBOXES.stopped(cpu) {
        return Some(Ending::Deadline);
    }
    platform.before_entry(vcpu, clock::ticks());
    let deadline = platform.next_deadline();
    if deadline != *armed {
        arm(deadline, clock::ticks());
        *armed = deadline;
    }
    if backend.backing.take_stale() {
        vcpu.flush();
    }
    let exit = vcpu.run();
    if let Exit::NestedFault(fault) = exit {
        match backend.backing.bring_in(platform.memory(), fault) {
            Ok(false) => {}
            Ok(true) => {
                platform.count(exit.kind());
                return None;
            }
            Err(error) => return Some(Ending::Backing(error)),
        }
    }
    let emit = |line: &str| console::line(format_args!("[{name}] {line}"));
    match platform.handle(
        exit,
        vcpu,
        &mut functions.with(backend),
        clock::ticks(),
        cpuid,
        emit,
    ) {
        Verdict::Resume => {}
        Verdict::Stop(end) => return Some(Ending::Guest(end)),
        Verdict::Halt => {
            let now = clock::ticks();
            if !platform.wakes(now) && !interrupts::any(cpu) {
                let limit = now + clock::micros(HALT_LIMIT_US);
                let until = platform
                    .next_deadline()
                    .map_or(limit, |deadline| deadline.min(limit));
                arm(Some(until), now);
                *armed = None;
                interrupts::wait();
            }
        }
    }
    None
}

/// Has this CPU's timer come at `deadline`, or not at all.
fn arm(deadline: Option<u64>, now: u64) {
    match deadline {
        Some(deadline) => lapic::arm_timer(deadline.saturating_sub(now)),
        None => lapic::stop_timer(),
    }
}

fn cpuid(leaf: u32, subleaf: u32) -> Registers {
    let found = raw_cpuid::cpuid!(leaf, subleaf);
    Registers {
        eax: found.eax,
        ebx: found.ebx,
        ecx: found.ecx,
        edx: found.edx,
    }
}
