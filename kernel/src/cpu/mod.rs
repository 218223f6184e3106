//! The physical CPUs: descriptor tables, interrupts, local APIC, time, and how the others are started.
//!
//! Host code runs with interrupts off. They are taken in one window only ([`interrupts::take`]), so that a
//! handler never meets another CPU's or a guest's state.

pub mod clock;
mod descriptors;
pub mod interrupts;
pub mod lapic;
mod panic;
mod pit;
pub mod smp;

/// Most CPUs that are used; the others stay off.
pub const MAX_CPUS: usize = 32;

/// Index of a CPU by its order in the MADT; 0 is the boot CPU.
pub type CpuIndex = usize;

/// Gives the running CPU its tables and turns its local APIC on.
///
/// # Errors
/// No memory for the stacks of interrupts.
pub fn init_this(index: CpuIndex) -> Result<(), crate::memory::paging::PagingError> {
    descriptors::load(index)?;
    lapic::enable();
    lapic::claim(index);
    Ok(())
}

/// Halts the running CPU until its timer, `microseconds` from now, or anything else wakes it. Whatever runs CPUs in turn, as QEMU
/// may, then goes on to the next.
pub fn nap(microseconds: u64) {
    lapic::arm_timer(clock::micros(microseconds));
    interrupts::wait();
    let this = lapic::this();
    while interrupts::take(this).is_some() {}
}
