//! Machines that Cohort must refuse, and bundles that did not arrive whole.

use std::sync::atomic::{AtomicU32, Ordering};

use boot::config::Iommu;
use boot::session::Session;
use cohort_abi::bundle::Mode;
use libtest_mimic::{Failed, Trial};
use machine_tests::{Change, expect, gdb, launch};

/// A change to the demo's session that the hypervisor must refuse, and words of its reason.
type Case = (&'static str, fn(&mut Session), &'static [&'static str]);

const CASES: [Case; 9] = [
    (
        "no_iommu",
        |session| session.machine.iommu = Iommu::None,
        &["IOMMU"],
    ),
    (
        "no_svm",
        |session| session.machine.cpu = "EPYC,svm=off".into(),
        &["SVM"],
    ),
    (
        "no_nested_paging",
        |session| session.machine.cpu = "EPYC,+svm,npt=off".into(),
        &["nested paging"],
    ),
    ("no_bundle", |session| session.bundle = None, &["bundle"]),
    (
        "empty_bundle",
        |session| session.bundle = Some(vec![0; 24]),
        &["not a Cohort bundle"],
    ),
    (
        "truncated_bundle",
        |session| with(session, |bundle| bundle.truncate(bundle.len() / 2)),
        &["truncated"],
    ),
    (
        "corrupt_configuration",
        |session| with(session, |bundle| bundle[40] ^= 1),
        &["corrupt"],
    ),
    (
        "corrupt_image",
        |session| with(session, |bundle| flip_last(bundle)),
        &["corrupt"],
    ),
    (
        "bundle_of_another_version",
        |session| with(session, |bundle| bundle[8] = 99),
        &["format 99"],
    ),
];

/// ACPI tables whose checksum is broken: CPUs, configuration space, IOMMU topology.
const TABLES: [&str; 3] = ["APIC", "MCFG", "VIOT"];

pub(crate) fn trials() -> Vec<Trial> {
    let broken = |(name, change, words): Case| {
        Trial::test(format!("platform::{name}"), move || {
            let mut change = change;
            let run = launch::run(&launch::demo()?, Mode::Run, Change::Session(&mut change))?;
            expect::refused(&run, words)
        })
    };
    let acpi = |table: &'static str| {
        Trial::test(
            format!("platform::broken_acpi_{}", table.to_lowercase()),
            move || broken_acpi(table),
        )
    };
    CASES
        .into_iter()
        .map(broken)
        .chain(TABLES.into_iter().map(acpi))
        .collect()
}

fn with(session: &mut Session, change: fn(&mut Vec<u8>)) {
    if let Some(bundle) = &mut session.bundle {
        change(bundle);
    }
}

fn flip_last(bundle: &mut [u8]) {
    if let Some(last) = bundle.last_mut() {
        *last ^= 0x80;
    }
}

fn broken_acpi(table: &str) -> Result<(), Failed> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let socket = std::env::temp_dir().join(format!("cohort-gdb-{}-{number}", std::process::id()));
    let mut breaker = None;
    let mut change = |session: &mut Session| {
        breaker = Some(gdb::break_table(session, socket.clone(), table));
    };
    let run = launch::run(&launch::demo()?, Mode::Run, Change::Session(&mut change));
    // QEMU leaves its socket behind.
    let _ = std::fs::remove_file(&socket);
    let broke = breaker
        .and_then(|thread| thread.join().ok())
        .ok_or("the table was reached")?;
    broke.map_err(|error| format!("the table was not broken: {error:#}"))?;
    expect::refused(&run?, &["checksum", table])
}
