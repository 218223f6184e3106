//! A CPU that runs one vCPU at a time: in, out, have the exit answered, and again.

use super::MAILBOXES;
use super::anew::{self, Again, Begun, Failed};
use super::guest::{Ending, Partition, Registers};
use crate::console;
use crate::cpu::{CpuIndex, clock, interrupts, lapic};
use crate::guest::dispatch::{Entry, Platform, Verdict};
use crate::guest::policy::cpuid::Registers as CpuidRegisters;
use crate::virt::gate::{Gate, Seen};
use crate::virt::svm::SvmVcpu;
use crate::virt::{Exit, svm};
use alloc::boxed::Box;
use alloc::sync::Arc;

/// A CPU that waits looks again after this many microseconds, whatever wakes it or not.
const HALT_LIMIT_US: u64 = 100_000;
/// A vCPU that a non-maskable interrupt waits for is taken out of the guest after this many microseconds: nothing tells when it can
/// take the interrupt.
const NMI_RETRY_US: u64 = 50;

/// One vCPU, as it travels to the CPU that runs it.
pub(super) struct Vcpu {
    pub(super) partition: Arc<Partition>,
    id: u8,
    pub(super) state: SvmVcpu,
    pub(super) platform: Platform,
    /// What its processor may remember of the nested tables.
    seen: Seen,
}

impl Vcpu {
    pub(super) const fn new(partition: Arc<Partition>, id: u8, state: SvmVcpu, platform: Platform) -> Self {
        Self {
            partition,
            id,
            state,
            platform,
            seen: Gate::unflushed(),
        }
    }
}

/// What a CPU is given and gives back.
pub(super) enum Parcel {
    /// A vCPU to run, or one that has ended.
    Vcpu(Box<Vcpu>),
    /// A guest to be made anew, by the CPU of its first vCPU.
    Again(Box<Again>),
    /// What came of that.
    Anew(Box<Result<Begun, Failed>>),
}

/// Waits for parcels and works on them, for ever.
pub fn serve(cpu: CpuIndex) -> ! {
    loop {
        while interrupts::take(cpu).is_some() {}
        if let Some(parcel) = MAILBOXES.take(cpu) {
            let done = match parcel {
                Parcel::Vcpu(vcpu) => Parcel::Vcpu(live(cpu, vcpu)),
                Parcel::Again(again) => Parcel::Anew(Box::new(anew::begin(*again))),
                Parcel::Anew(done) => Parcel::Anew(done),
            };
            MAILBOXES.finish(cpu, done);
        }
        interrupts::wait();
    }
}

/// One life of a vCPU, from its first instruction to the moment when it has left the guest.
fn live(cpu: CpuIndex, mut vcpu: Box<Vcpu>) -> Box<Vcpu> {
    // Nothing of an earlier life is for this one.
    while interrupts::take(cpu).is_some() {}
    match svm::enable() {
        Ok(_) => run(cpu, &mut vcpu),
        Err(error) => {
            log::error!("CPU {cpu}: {error}");
            vcpu.partition.cpus.stop();
        }
    }
    lapic::stop_timer();
    vcpu
}

fn run(cpu: CpuIndex, vcpu: &mut Vcpu) {
    if vcpu.id == 0 {
        vcpu.partition.begin(clock::ticks());
    }
    let mut armed = None;
    while !vcpu.partition.cpus.stopping() {
        if let Some(ending) = step(cpu, vcpu, &mut armed) {
            vcpu.partition.end(ending);
        }
    }
}

/// Into the guest, out of it, and its exit answered. `armed` is when this CPU's timer comes for the guest.
pub(super) fn step(cpu: CpuIndex, vcpu: &mut Vcpu, armed: &mut Option<u64>) -> Option<Ending> {
    let Vcpu {
        partition,
        id,
        state,
        platform,
        seen,
    } = vcpu;
    while let Some(vector) = interrupts::take(cpu) {
        if let Some((apic, vector)) = partition.routes.get(vector) {
            platform.interrupt(apic, vector);
        }
    }
    partition.cpus.kick_all(partition.board.take_kicks());
    let now = clock::ticks();
    let entry = platform.before_entry(state, now);
    let retry = platform.awaits_nmi().then(|| now + clock::micros(NMI_RETRY_US));
    let deadline = platform.next_deadline().into_iter().chain(retry).min();
    match entry {
        Entry::Run => {}
        Entry::Wait => {
            wait(cpu, deadline, now);
            *armed = None;
            return None;
        }
        Entry::Never(fault) => return Some(Ending::Guest(fault.into())),
    }
    if deadline != *armed {
        arm(deadline, now);
        *armed = deadline;
    }
    if partition.space.gate.enter(*id, seen) {
        state.flush();
    }
    let exit = state.run();
    partition.space.gate.leave(*id);
    if let Exit::NestedFault(fault) = exit {
        match partition.space.bring_in(platform.memory(), fault) {
            Ok(false) => {}
            Ok(true) => {
                platform.count(exit.kind());
                return None;
            }
            Err(error) => return Some(Ending::Backing(error)),
        }
    }
    let emit = |line: &str| console::line(format_args!("[{}] {line}", partition.name));
    let mut devices = Registers(&partition.assigned);
    let verdict = platform.handle(exit, state, &mut devices, clock::ticks(), cpuid, emit);
    let ended = partition.board.take_ended();
    if ended != 0 {
        partition.end_lines(ended);
    }
    partition.cpus.kick_all(partition.board.take_kicks());
    match verdict {
        Verdict::Resume | Verdict::Halt => None,
        Verdict::Stop(end) => Some(Ending::Guest(end)),
    }
}

/// Waits until `deadline`, or an interrupt or a kick comes.
fn wait(cpu: CpuIndex, deadline: Option<u64>, now: u64) {
    if interrupts::any(cpu) {
        return;
    }
    let limit = now + clock::micros(HALT_LIMIT_US);
    arm(Some(deadline.map_or(limit, |deadline| deadline.min(limit))), now);
    interrupts::wait();
}

/// Has this CPU's timer come at `deadline`, or not at all.
fn arm(deadline: Option<u64>, now: u64) {
    match deadline {
        Some(deadline) => lapic::arm_timer(deadline.saturating_sub(now)),
        None => lapic::stop_timer(),
    }
}

fn cpuid(leaf: u32, subleaf: u32) -> CpuidRegisters {
    let found = raw_cpuid::cpuid!(leaf, subleaf);
    CpuidRegisters {
        eax: found.eax,
        ebx: found.ebx,
        ecx: found.ecx,
        edx: found.edx,
    }
}
