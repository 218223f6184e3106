//! What the hypervisor refuses although the host let it pass: half cohorts, unassignable devices, and bundles that no
//! honest host tool would build.

use boot::verdict;
use cohort_abi::bundle::{Config, Mode};
use libtest_mimic::{Failed, Trial};
use machine_tests::{Change, expect, launch};

/// A change to the demo's configuration that the hypervisor must refuse, and a word of its reason.
type Case = (&'static str, fn(&mut Config), &'static str);

const CASES: [Case; 10] = [
    ("cpu_twice", |config| config.guests[1].cpus = vec![1], "CPU 1"),
    ("cpu_zero", |config| config.guests[1].cpus = vec![0], "CPU 0"),
    ("cpu_beyond", |config| config.guests[1].cpus = vec![9], "CPU 9"),
    ("no_cpu", |config| config.guests[1].cpus.clear(), "CPU"),
    (
        "memory_overlap",
        |config| config.guests[1].memory_at = Some(0x2080_0000),
        "overlap",
    ),
    (
        "memory_over_the_hypervisor",
        |config| config.guests[1].memory_at = Some(0x100_0000),
        "0x1000000",
    ),
    (
        "memory_beyond_ram",
        |config| config.guests[1].memory_at = Some(0x4000_0000),
        "0x40000000",
    ),
    (
        "more_memory_than_there_is",
        |config| config.guests[1].memory = 1 << 40,
        "memory",
    ),
    (
        "device_twice",
        |config| config.guests[1].devices = config.guests[0].devices.clone(),
        "0000:00:04.0",
    ),
    (
        "image_beyond_the_bundle",
        |config| config.guests[1].image.len = u32::MAX,
        "image",
    ),
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = CASES
        .into_iter()
        .map(|(name, change, word)| Trial::test(format!("refusal::{name}"), move || is_refused(change, word)))
        .collect();
    trials.extend([
        Trial::test("refusal::half_a_slot", || {
            half("half-slot", "0000:01:00.0", "0000:01:00.1")
        }),
        Trial::test("refusal::half_a_group", || {
            half("half-group", "0000:03:02.0", "0000:03:01.0")
        }),
        Trial::test("refusal::no_such_device", || {
            by_file("no-such-device", &["0000:00:1e.0"])
        }),
        Trial::test("refusal::bridge", || by_file("bridge", &["0000:00:05.0"])),
        Trial::test("refusal::virtio_past_the_iommu", || {
            by_file("no-platform", &["VIRTIO_F_ACCESS_PLATFORM"])
        }),
        Trial::test("refusal::unsafe_interrupts", || {
            by_file("unsafe-interrupts", &["allow-unsafe-interrupts"])
        }),
    ]);
    trials
}

/// The demo with a changed bundle.
fn is_refused(change: fn(&mut Config), word: &str) -> Result<(), Failed> {
    let mut change = change;
    let run = launch::run(&launch::demo()?, Mode::Run, Change::Config(&mut change))?;
    expect::refused(&run, &[word])
}

/// A configuration that only the hypervisor can refuse, in `run` and in `check`.
fn by_file(name: &str, words: &[&str]) -> Result<(), Failed> {
    let plan = launch::plan(name)?;
    for mode in [Mode::Run, Mode::Check] {
        let run = launch::run(&plan, mode, Change::Nothing)?;
        expect::refused(&run, words)?;
        expect::that(&run, run.refusals().count() > 0, "a record says so too")?;
        let fixes = run.refusals().all(|refusal| refusal.fix().is_some());
        expect::that(&run, fixes, "each refusal says what to do")?;
    }
    Ok(())
}

/// Half a cohort: the missing half is named, and `check` points at the line and writes it.
fn half(name: &str, missing: &str, given: &str) -> Result<(), Failed> {
    let plan = launch::plan(name)?;
    let run = launch::run(&plan, Mode::Run, Change::Nothing)?;
    expect::refused(&run, &[missing, given])?;

    let run = launch::run(&plan, Mode::Check, Change::Nothing)?;
    expect::refused(&run, &[missing])?;
    let named = run
        .refusals()
        .any(|refusal| refusal.missing.iter().any(|device| device.to_string() == missing));
    expect::that(&run, named, "the record names the missing device")?;
    let refused = verdict::refused(&plan, &run.outcome.report).ok_or("it is refused")?;
    let line = plan
        .source
        .text
        .lines()
        .position(|line| line.starts_with("devices"))
        .map(|at| at + 1);
    let points = refused
        .problems
        .iter()
        .any(|problem| Some(refused.line(problem)) == line);
    let shown = refused.render(false);
    expect::that(
        &run,
        points,
        &format!("it points at the line of `devices`:\n{shown}"),
    )?;
    let helps = shown.contains("write devices = [") && shown.contains(missing);
    expect::that(&run, helps, &format!("it writes the line:\n{shown}"))
}
