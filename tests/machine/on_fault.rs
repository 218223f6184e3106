//! What is done about a guest whose device was blocked, and that nobody else notices.

use boot::config::Iommu;
use cohort_abi::bundle::{Config, Expect, Mode, OnFault};
use cohort_abi::report::DmaFault;
use libtest_mimic::{Failed, Trial};
use machine_tests::{Change, Run, expect, launch};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("on_fault::stop_on_vtd", || stop(Iommu::Vtd)),
        Trial::test("on_fault::quarantine_on_virtio", || quarantine(Iommu::Virtio)),
    ]
}

/// The demo with rogue handled so, and storage in a hurry.
fn run(iommu: Iommu, on_fault: OnFault, expected: Expect) -> Result<Run, Failed> {
    let mut plan = launch::demo()?;
    plan.machine.iommu = iommu;
    let mut change = |config: &mut Config| {
        for guest in &mut config.guests {
            match guest.name.as_str() {
                "rogue" => (guest.on_fault, guest.expect) = (on_fault, expected),
                _ => guest.cmdline = "rounds=2 pause=500".into(),
            }
        }
    };
    let run = launch::run(&plan, Mode::Run, Change::Config(&mut change))?;
    expect::success(&run)?;
    let storage = run.end("storage").ok_or("storage ended")?;
    expect::that(&run, storage.success, "storage goes on as if nothing was")?;
    Ok(run)
}

/// Blocked accesses of rogue's that were told.
fn told(run: &Run) -> usize {
    let rogues = |fault: &&DmaFault| fault.guest.as_deref() == Some("rogue");
    run.blocked().filter(rogues).count()
}

fn stop(iommu: Iommu) -> Result<(), Failed> {
    let run = run(iommu, OnFault::Stop, Expect::Stopped)?;
    let rogue = run.end("rogue").ok_or("rogue ended")?;
    expect::that(
        &run,
        rogue.how.contains("on-fault") && !rogue.success,
        &format!("it ends for that reason, not because it {}", rogue.how),
    )?;
    expect::that(
        &run,
        (1..5).contains(&told(&run)),
        "it does not come to attack for long",
    )
}

fn quarantine(iommu: Iommu) -> Result<(), Failed> {
    let run = run(iommu, OnFault::Quarantine, Expect::Any)?;
    let said = run
        .outcome
        .console
        .iter()
        .any(|line| line.contains("reaches no memory from now on"));
    expect::that(&run, said, "the hypervisor says what it does")?;
    // It finds that its device does not even reach its own memory.
    let rogue = run.end("rogue").ok_or("rogue ended")?;
    expect::that(
        &run,
        !rogue.success && rogue.how.contains("ended itself"),
        &format!("it goes on to its own end; it {}", rogue.how),
    )
}
