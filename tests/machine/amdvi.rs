//! The demo behind AMD-Vi (QEMU's amd-iommu): the same results as behind a virtio-iommu, with remapped interrupts and without
//! `allow-unsafe-interrupts`, but for what QEMU's model does not do.

use crate::demo;
use boot::config::{Plan, Source};
use cohort_abi::bundle::{Config, Mode};
use libtest_mimic::{Failed, Trial};
use machine_tests::{Change, expect, launch};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("amdvi::everything_holds", everything_holds),
        Trial::test("amdvi::behind_a_bridge_nothing_is_given_away", behind_a_bridge),
    ]
}

fn plan() -> Result<Plan, Failed> {
    Plan::load(Source::demo_amdvi()).map_err(Failed::from)
}

/// QEMU 7.2's model logs no event: it looks for an overflow with an OR where it needs an AND, and finds one each time. What is blocked
/// is seen by the guests only, which look at their memory. Later versions log some.
fn logs_nothing() -> Result<bool, Failed> {
    let version = std::process::Command::new(boot::tools::qemu()?)
        .arg("--version")
        .output()?;
    Ok(String::from_utf8_lossy(&version.stdout).contains("version 7."))
}

fn everything_holds() -> Result<(), Failed> {
    let plan = plan()?;
    if plan.allow_unsafe_interrupts {
        return Err("the demo must hold without allow-unsafe-interrupts".into());
    }
    let run = launch::run(&plan, Mode::Run, Change::Nothing)?;
    demo::both_hold(&run)?;
    expect::that(
        &run,
        demo::all_said_of_interrupts(&run, "blocked"),
        "messages that devices make up are blocked, and their own MSI arrives",
    )?;
    let faults = demo::faults_of_rogue(&run)?;
    if logs_nothing()? {
        expect::that(
            &run,
            faults.is_empty(),
            "QEMU 7 logs after all: say so in docs/architecture.md, and expect faults here",
        )?;
    }
    Ok(())
}

fn behind_a_bridge() -> Result<(), Failed> {
    let mut change = |config: &mut Config| {
        if let Ok(device) = "0000:01:00.0".parse() {
            config.guests[1].devices = vec![device];
        }
    };
    let run = launch::run(&plan()?, Mode::Check, Change::Config(&mut change))?;
    expect::refused(&run, &["0000:01:00.0", "behind a bridge"])
}
