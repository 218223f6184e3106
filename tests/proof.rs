//! Proofs that need a build of their own: vfio-core's lock protocol under loom, its tests under Miri.

use std::process::{Command, ExitCode};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use machine_tests::bounded;

/// Longest time for loom, with its build.
const LOOM: Duration = Duration::from_secs(600);

/// Longest time for Miri, with its build.
const MIRI: Duration = Duration::from_secs(1200);

fn main() -> ExitCode {
    let loom = Trial::test("proof::vfio_core_under_loom", loom);
    // An interpreter takes minutes for what a processor does in a second: only on request.
    let miri = Trial::test("proof::vfio_core_under_miri", miri).with_ignored_flag(true);
    machine_tests::run(vec![loom, miri]).exit_code()
}

/// Every interleaving of join, leave, open, close and unregister that loom's model distinguishes.
fn loom() -> Result<(), Failed> {
    let mut cargo = boot::cargo::command();
    cargo.args([
        "test",
        "--package",
        "vfio-core",
        "--lib",
        "--release",
        "--locked",
        "--target-dir",
    ]);
    cargo
        .arg(boot::cargo::target_folder("loom"))
        .env("RUSTFLAGS", "--cfg loom");
    let said = bounded::run(cargo, LOOM)?;
    // A build in which `cfg(loom)` took every test away must not pass.
    if said.contains("running 0 tests") && !said.contains("... ok") {
        return Err(format!("no loom test ran\n{said}").into());
    }
    Ok(())
}

/// The library's tests, interpreted and checked for undefined behaviour.
fn miri() -> Result<(), Failed> {
    let nightly = |arguments: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo
            .args(["+nightly", "miri"])
            .args(arguments)
            .current_dir(boot::cargo::workspace());
        cargo.env_remove("RUSTUP_TOOLCHAIN");
        cargo
    };
    if bounded::run(nightly(&["--version"]), MIRI).is_err() {
        return Err("Miri is missing: rustup toolchain install nightly --component miri,rust-src".into());
    }
    let mut cargo = nightly(&[
        "test",
        "--package",
        "vfio-core",
        "--lib",
        "--locked",
        "--target-dir",
    ]);
    cargo.arg(boot::cargo::target_folder("miri"));
    // A few cases of each property: an interpreted case takes a hundred times as long.
    cargo
        .env("PROPTEST_CASES", "4")
        .env("MIRIFLAGS", "-Zmiri-disable-isolation");
    bounded::run(cargo, MIRI).map(drop)
}
