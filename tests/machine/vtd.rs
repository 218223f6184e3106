//! The demo on VT-d: the same results as on virtio-iommu, without the line that accepts unsafe interrupts.
//!
//! QEMU's model (7.2, and later ones as far as is known) differs from the manual in two ways that are tested here as they are, so that
//! the day they change is noticed: a write to a read-only page whose translation the unit remembers is blocked without a record,
//! and messages in compatibility format pass although they are off. `docs/architecture.md` says so.

use crate::demo;
use boot::config::Iommu;
use cohort_abi::bundle::Mode;
use libtest_mimic::{Failed, Trial};
use machine_tests::{Change, Run, expect, launch};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("vtd::everything_holds", everything_holds),
        Trial::test(
            "vtd::virtio_needs_the_line_that_vtd_does_not",
            virtio_needs_the_line_that_vtd_does_not,
        ),
    ]
}

fn everything_holds() -> Result<(), Failed> {
    let mut plan = launch::demo()?;
    plan.machine.iommu = Iommu::Vtd;
    plan.allow_unsafe_interrupts = false;
    let run = launch::run(&plan, Mode::Run, Change::Nothing)?;
    demo::both_hold(&run)?;
    faults(&run)?;
    expect::that(
        &run,
        demo::all_said_of_interrupts(&run, "POSSIBLE"),
        "QEMU's model lets messages in compatibility format pass",
    )
}

/// Each attack is reported once for each way, with guest, device, address and access.
fn faults(run: &Run) -> Result<(), Failed> {
    let faults = demo::faults_of_rogue(run)?;
    // VT-d tells reads from writes, and gives the page.
    for address in [1u64 << 32, 1 << 46, 0x100_0000, 0x2000_0000, 0x2080_0000] {
        for access in ["read", "write"] {
            let hits = faults
                .iter()
                .filter(|fault| fault.address == Some(address) && fault.access == access);
            expect::that(
                run,
                hits.count() == 2,
                &format!("the {access} of {address:#x} is reported of two devices"),
            )?;
        }
    }
    let rom = 0xe_0000..0x10_0000u64;
    let hit = faults
        .iter()
        .any(|fault| fault.address.is_some_and(|address| rom.contains(&address)));
    expect::that(
        run,
        !hit,
        "QEMU's model records no write to read-only memory that it has in its cache",
    )
}

fn virtio_needs_the_line_that_vtd_does_not() -> Result<(), Failed> {
    let mut plan = launch::demo()?;
    plan.allow_unsafe_interrupts = false;
    plan.machine.iommu = Iommu::Vtd;
    let run = launch::run(&plan, Mode::Check, Change::Nothing)?;
    expect::success(&run)?;
    plan.machine.iommu = Iommu::Virtio;
    let run = launch::run(&plan, Mode::Check, Change::Nothing)?;
    expect::refused(&run, &["allow-unsafe-interrupts = true"])
}
