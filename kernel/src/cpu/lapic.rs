//! The local APIC of the running CPU, in xAPIC mode (AMD64 manual, volume 2, chapter 16).
#![expect(unsafe_code, reason = "memory-mapped registers")]

use super::{CpuIndex, MAX_CPUS, clock};
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use spec::lapic::register::{
    EOI, ICR_HIGH, ICR_LOW, ID, LVT_ERROR, LVT_LINT0, LVT_LINT1, LVT_TIMER, SPURIOUS, TIMER_CURRENT,
    TIMER_DIVIDE, TIMER_INITIAL,
};
use spec::lapic::{BASE, Command, LVT_MASKED, SPURIOUS_ENABLE, delivery};
use spec::msr;
use x86_64::registers::model_specific::Msr;

/// Vector of spurious interrupts: never acknowledged.
pub const SPURIOUS_VECTOR: u8 = 0xff;
/// Vector of this CPU's timer.
pub const TIMER_VECTOR: u8 = 0xfe;
/// Vector by which another CPU is made to look at what changed.
pub const KICK_VECTOR: u8 = 0xfd;

const DIVIDE_BY_1: u32 = 0b1011;
/// Polls until an IPI counts as not delivered.
const IPI_POLLS: u32 = 1_000_000;

/// APIC id to CPU index plus one; 0 for ids that no CPU claimed.
static BY_ID: [AtomicU8; 256] = [const { AtomicU8::new(0) }; 256];
static ID_OF: [AtomicU8; MAX_CPUS] = [const { AtomicU8::new(0) }; MAX_CPUS];
/// Timer ticks in 10 ms. Before it is measured a fast one, 1 GHz, is assumed: naps are then longer, never shorter.
static TIMER_RATE: AtomicU32 = AtomicU32::new(10_000_000);

fn read(offset: u16) -> u32 {
    // SAFETY: every CPU's local APIC is at its reset address, mapped uncached; registers are 32 bits, 16 bytes apart.
    unsafe { ((BASE + u64::from(offset)) as *const u32).read_volatile() }
}

fn write(offset: u16, value: u32) {
    // SAFETY: as for `read`; none of the writes here touches memory.
    unsafe { ((BASE + u64::from(offset)) as *mut u32).write_volatile(value) }
}

/// APIC id of the running CPU.
#[must_use]
pub fn id() -> u8 {
    (read(ID) >> 24) as u8
}

/// Index of the running CPU; 0 before it claimed one.
#[must_use]
pub fn this() -> CpuIndex {
    usize::from(BY_ID[usize::from(id())].load(Ordering::Relaxed).saturating_sub(1))
}

/// APIC id of `cpu`, which has claimed its index.
#[must_use]
pub fn id_of(cpu: CpuIndex) -> u8 {
    ID_OF.get(cpu).map_or(0, |id| id.load(Ordering::Relaxed))
}

/// Makes `index` the running CPU's.
pub(super) fn claim(index: CpuIndex) {
    BY_ID[usize::from(id())].store(index as u8 + 1, Ordering::Relaxed);
    if let Some(slot) = ID_OF.get(index) {
        slot.store(id(), Ordering::Relaxed);
    }
}

/// Turns the APIC on, everything local masked.
pub(super) fn enable() {
    let mut base = Msr::new(msr::APIC_BASE);
    // SAFETY: bit 11 enables, bit 10 (x2APIC) stays off; the address is the reset address, which is kept.
    unsafe { base.write(base.read() | 1 << 11) };
    for lvt in [LVT_TIMER, LVT_LINT0, LVT_LINT1, LVT_ERROR] {
        write(lvt, LVT_MASKED);
    }
    write(SPURIOUS, SPURIOUS_ENABLE | u32::from(SPURIOUS_VECTOR));
    write(TIMER_DIVIDE, DIVIDE_BY_1);
}

/// Acknowledges the interrupt in service.
pub fn end_of_interrupt() {
    write(EOI, 0);
}

/// Sends `command` to the APIC `to`. Returns whether it left within the bound.
fn ipi(to: u8, command: Command) -> bool {
    write(ICR_HIGH, u32::from(to) << 24);
    write(ICR_LOW, command.with_assert(true).into_bits());
    (0..IPI_POLLS).any(|_| !Command::from_bits(read(ICR_LOW)).pending())
}

/// Sends `vector` to `cpu`. Returns whether it left.
pub fn send(cpu: CpuIndex, vector: u8) -> bool {
    ipi(id_of(cpu), Command::new().with_vector(vector))
}

/// Makes `cpu` leave its guest and look again.
pub fn kick(cpu: CpuIndex) -> bool {
    send(cpu, KICK_VECTOR)
}

/// INIT to the APIC `to`.
pub(super) fn init(to: u8) -> bool {
    ipi(to, Command::new().with_delivery(delivery::INIT))
}

/// STARTUP to the APIC `to`, at the page `page` below 1 MiB.
pub(super) fn startup(to: u8, page: u8) -> bool {
    ipi(
        to,
        Command::new().with_delivery(delivery::START_UP).with_vector(page),
    )
}

/// Lets the timer count down from its highest count, without an interrupt at the end.
pub(super) fn start_counting() {
    write(LVT_TIMER, LVT_MASKED | u32::from(TIMER_VECTOR));
    write(TIMER_INITIAL, u32::MAX);
}

/// How far it has counted.
pub(super) fn counted() -> u32 {
    u32::MAX - read(TIMER_CURRENT)
}

/// Makes `per_10ms` the timer's ticks in 10 ms.
pub(super) fn set_timer_rate(per_10ms: u128) {
    TIMER_RATE.store(
        u32::try_from(per_10ms).unwrap_or(u32::MAX).max(1),
        Ordering::Relaxed,
    );
}

/// Has [`TIMER_VECTOR`] come once, `ticks` of the time-stamp counter from now (at most about 4 s ahead).
pub fn arm_timer(ticks: u64) {
    let rate = u64::from(TIMER_RATE.load(Ordering::Relaxed));
    let per_10ms = clock::khz().saturating_mul(10).max(1);
    let count =
        (u128::from(ticks) * u128::from(rate) / u128::from(per_10ms)).clamp(1, u128::from(u32::MAX)) as u32;
    write(LVT_TIMER, u32::from(TIMER_VECTOR));
    write(TIMER_INITIAL, count);
}

/// Stops the timer.
pub fn stop_timer() {
    write(TIMER_INITIAL, 0);
}
