//! The local APIC of the running CPU, in xAPIC mode (AMD64 manual, volume 2, chapter 16).
#![expect(unsafe_code, reason = "memory-mapped registers")]

use super::{CpuIndex, MAX_CPUS};
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use x86_64::registers::model_specific::Msr;

/// Vector of spurious interrupts: never acknowledged.
pub const SPURIOUS_VECTOR: u8 = 0xff;
/// Vector of this CPU's timer.
pub const TIMER_VECTOR: u8 = 0xfe;
/// Vector by which another CPU is made to look at what changed.
pub const KICK_VECTOR: u8 = 0xfd;

const APIC_BASE_MSR: u32 = 0x1b;
const BASE: usize = 0xfee0_0000;
const ID: usize = 0x20;
const EOI: usize = 0xb0;
const SPURIOUS: usize = 0xf0;
const ICR_LOW: usize = 0x300;
const ICR_HIGH: usize = 0x310;
const TIMER_LVT: usize = 0x320;
const LINT0: usize = 0x350;
const LINT1: usize = 0x360;
const ERROR_LVT: usize = 0x370;
const TIMER_INITIAL: usize = 0x380;
const TIMER_CURRENT: usize = 0x390;
const TIMER_DIVIDE: usize = 0x3e0;

const MASKED: u32 = 1 << 16;
const DIVIDE_BY_1: u32 = 0b1011;
const ICR_PENDING: u32 = 1 << 12;
const ICR_ASSERT: u32 = 1 << 14;
const ICR_INIT: u32 = 5 << 8;
const ICR_STARTUP: u32 = 6 << 8;
/// Polls until an IPI counts as not delivered.
const IPI_POLLS: u32 = 1_000_000;

/// APIC id to CPU index plus one; 0 for ids that no CPU claimed.
static BY_ID: [AtomicU8; 256] = [const { AtomicU8::new(0) }; 256];
static ID_OF: [AtomicU8; MAX_CPUS] = [const { AtomicU8::new(0) }; MAX_CPUS];
/// Timer ticks in 10 ms.
static TIMER_RATE: AtomicU32 = AtomicU32::new(0);

fn read(offset: usize) -> u32 {
    // SAFETY: every CPU's local APIC is at its reset address, mapped uncached; registers are 32 bits, 16 bytes apart.
    unsafe { ((BASE + offset) as *const u32).read_volatile() }
}

fn write(offset: usize, value: u32) {
    // SAFETY: as for `read`; none of the writes here touches memory.
    unsafe { ((BASE + offset) as *mut u32).write_volatile(value) }
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
    let mut base = Msr::new(APIC_BASE_MSR);
    // SAFETY: bit 11 enables, bit 10 (x2APIC) stays off; the address is the reset address, which is kept.
    unsafe { base.write(base.read() | 1 << 11) };
    for lvt in [TIMER_LVT, LINT0, LINT1, ERROR_LVT] {
        write(lvt, MASKED);
    }
    write(SPURIOUS, 1 << 8 | u32::from(SPURIOUS_VECTOR));
    write(TIMER_DIVIDE, DIVIDE_BY_1);
}

/// Acknowledges the interrupt in service.
pub fn end_of_interrupt() {
    write(EOI, 0);
}

/// Sends `command` to the APIC `to`. Returns whether it left within the bound.
fn ipi(to: u8, command: u32) -> bool {
    write(ICR_HIGH, u32::from(to) << 24);
    write(ICR_LOW, command);
    (0..IPI_POLLS).any(|_| read(ICR_LOW) & ICR_PENDING == 0)
}

/// Sends `vector` to `cpu`. Returns whether it left.
pub fn send(cpu: CpuIndex, vector: u8) -> bool {
    ipi(id_of(cpu), ICR_ASSERT | u32::from(vector))
}

/// Makes `cpu` leave its guest and look again.
pub fn kick(cpu: CpuIndex) -> bool {
    send(cpu, KICK_VECTOR)
}

/// INIT to the APIC `to`.
pub(super) fn init(to: u8) -> bool {
    ipi(to, ICR_INIT | ICR_ASSERT)
}

/// STARTUP to the APIC `to`, at the page `page` below 1 MiB.
pub(super) fn startup(to: u8, page: u8) -> bool {
    ipi(to, ICR_STARTUP | ICR_ASSERT | u32::from(page))
}

/// Measures the timer against the time-stamp counter over 10 ms.
pub fn calibrate_timer() {
    write(TIMER_LVT, MASKED | u32::from(TIMER_VECTOR));
    write(TIMER_INITIAL, u32::MAX);
    super::clock::delay(10_000);
    TIMER_RATE.store(u32::MAX - read(TIMER_CURRENT), Ordering::Relaxed);
    write(TIMER_INITIAL, 0);
}

/// Has [`TIMER_VECTOR`] come once, `ticks` of the time-stamp counter from now (at most about 4 s ahead).
pub fn arm_timer(ticks: u64) {
    let rate = u64::from(TIMER_RATE.load(Ordering::Relaxed));
    let per_10ms = super::clock::khz().saturating_mul(10).max(1);
    let count =
        (u128::from(ticks) * u128::from(rate) / u128::from(per_10ms)).clamp(1, u128::from(u32::MAX)) as u32;
    write(TIMER_LVT, u32::from(TIMER_VECTOR));
    write(TIMER_INITIAL, count);
}

/// Stops the timer.
pub fn stop_timer() {
    write(TIMER_INITIAL, 0);
}
