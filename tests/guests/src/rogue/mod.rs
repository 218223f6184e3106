//! `rogue`: lets every `edu` that it owns attack all memory that is not its own, and holds if nothing came of it.
//!
//! | key | meaning |
//! |---|---|
//! | `hypervisor` | host physical addresses of the hypervisor's memory, with commas |
//! | `other` | host physical addresses of other guests' memory, with commas |
//! | `rom` | guest physical address of memory that is mapped read-only; default 0xe0000 |
//!
//! A blocked read leaves the device with what it had, with zeros (QEMU), or with ones (PCIe); anything else is
//! data from somewhere and counts as a failure. What a write did in memory that this guest cannot see, only its
//! owner can tell: `storage` watches its RAM. Natively, without an IOMMU, the attacks succeed and this guest fails.

mod attack;
mod target;

use alloc::vec::Vec;

use crate::canary::Canary;
use crate::edu::{self, Edu};
use crate::rt::{Failure, Machine};
use attack::Attacker;
use target::targets;

/// The program.
///
/// # Errors
/// An attack succeeded, or the device does not work.
pub fn run(machine: &Machine) -> Result<(), Failure> {
    let canary = Canary::plant(&machine.free_ram);
    let devices: Vec<_> = machine
        .pci
        .functions()
        .filter(|function| function.id() == edu::ID)
        .collect();
    if devices.is_empty() {
        return Err("there is no edu (1234:11e8); assign one to this guest".into());
    }
    let (mut blocked, mut succeeded) = (0, 0);
    for function in &devices {
        let mut attacker = Attacker::new(Edu::start(*function)?);
        attacker.own_memory()?;
        for target in targets(machine, attacker.own_untouched())? {
            let outcome = attacker.attack(&target)?;
            blocked += outcome.blocked;
            succeeded += outcome.succeeded;
        }
        if succeeded == 0 {
            attacker.own_memory()?;
        }
        function.quiesce();
    }
    canary.check()?;
    println!(
        "{} devices: {blocked} attacks blocked, {succeeded} succeeded",
        devices.len()
    );
    if succeeded > 0 {
        return Err(format_args!(
            "{succeeded} attacks succeeded: no IOMMU stands between device and memory (or, if only addresses above \
             256 MiB are reached, edu cuts them off: give it dma_mask=0xffffffffffffffff)"
        )
        .into());
    }
    Ok(())
}
