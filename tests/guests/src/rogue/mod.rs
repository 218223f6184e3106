//! `rogue`: lets every `edu` that it owns attack all memory that is not its own, and holds if nothing came of it.
//!
//! | key | meaning |
//! |---|---|
//! | `hypervisor` | host physical addresses of the hypervisor's memory, with commas |
//! | `other` | host physical addresses of other guests' memory, with commas |
//! | `apic` | the local APIC of this guest's CPU in the host, to try interrupts by DMA; without it they are not tried |
//! | `interrupts` | `isolated`: an interrupt that comes by DMA is a failure, not a finding |
//! | `rom` | guest physical address of memory that is mapped read-only; default 0xe0000 |
//!
//! A blocked read leaves the device with what it had, with zeros (QEMU), or with ones (PCIe); anything else is
//! data from somewhere and counts as a failure. What a write did in memory that this guest cannot see, only its
//! owner can tell: `storage` watches its RAM. Natively, without an IOMMU, the attacks succeed and this guest fails.

mod attack;
mod interrupt;
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
    let (mut blocked, mut succeeded, mut raised) = (0, 0, 0);
    for function in &devices {
        let mut attacker = Attacker::new(Edu::start(*function)?);
        attacker.own_memory()?;
        for target in targets(machine, attacker.own_untouched())? {
            let outcome = attacker.attack(&target)?;
            blocked += outcome.blocked;
            succeeded += outcome.succeeded;
        }
        if let Some(apic) = machine.cmdline().number("apic")? {
            let apic = u8::try_from(apic).map_err(|_| "apic= is a number below 256")?;
            let came = interrupt::attack(&mut attacker, apic)?;
            println!(
                "{}: interrupts by DMA to local APIC {apic} of the host: {}",
                function.address,
                match came {
                    0 => "blocked (none came)",
                    _ => "POSSIBLE: what was written came as an interrupt",
                }
            );
            raised += came;
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
    if raised > 0 && machine.cmdline().text("interrupts") == Some("isolated") {
        return Err(format_args!("{raised} interrupts came by DMA, although they should be isolated").into());
    }
    if succeeded > 0 {
        return Err(format_args!(
            "{succeeded} attacks succeeded: no IOMMU stands between device and memory (or, if only addresses above \
             256 MiB are reached, edu cuts them off: give it dma_mask=0xffffffffffffffff)"
        )
        .into());
    }
    Ok(())
}
