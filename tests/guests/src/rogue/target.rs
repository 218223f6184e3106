//! What is attacked.

use alloc::vec::Vec;

use crate::cmdline::CmdlineError;
use crate::rt::Machine;

/// Default of `rom`: where Cohort puts start info and ACPI tables, read-only to CPU and device.
const ROM: u64 = 0xe_0000;

/// `edu` without `dma_mask` drops address bits from 28 up.
const BEYOND_MASK: u64 = 1 << 28;

/// Memory to attack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) what: &'static str,
    pub(super) address: u64,
    pub(super) kind: Kind,
}

/// What may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Closed,
    /// Reading; this guest's CPU reads the same.
    ReadOnly,
}

/// All targets; `own` is an address of this guest's memory, which an `edu` that cuts addresses off would hit.
pub(super) fn targets(machine: &Machine, own: u64) -> Result<Vec<Target>, CmdlineError<'_>> {
    let closed = |what, address| Target {
        what,
        address,
        kind: Kind::Closed,
    };
    let cmdline = machine.cmdline();
    let mut targets = Vec::new();
    let unmapped = [own | BEYOND_MASK, 1 << 32, 1 << 46];
    targets.extend(unmapped.map(|address| closed("unmapped memory", address)));
    for (key, what) in [
        ("hypervisor", "the hypervisor's memory"),
        ("other", "another guest's memory"),
    ] {
        let before = targets.len();
        for address in cmdline.numbers(key) {
            targets.push(closed(what, address?));
        }
        if targets.len() == before {
            println!("{what} is not attacked: no {key}= on the command line");
        }
    }
    let address = cmdline.number("rom")?.unwrap_or(ROM);
    targets.push(Target {
        what: "read-only memory",
        address,
        kind: Kind::ReadOnly,
    });
    Ok(targets)
}
