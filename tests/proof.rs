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
    let has_miri = miri_is_there();
    let miri = Trial::ignorable_test("proof::vfio_core_under_miri", move || {
        if !has_miri {
            // libtest's way to say why a test is left out.
            return Ok(libtest_mimic::Completion::ignored_with(
                "Miri is missing: rustup component add --toolchain nightly miri rust-src",
            ));
        }
        miri().map(|()| libtest_mimic::Completion::Completed)
    });
    machine_tests::run(vec![Trial::test("proof::vfio_core_under_loom", loom), miri]).exit_code()
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

fn miri() -> Result<(), Failed> {
    let mut cargo = Command::new("cargo");
    cargo.args([
        "+nightly",
        "miri",
        "test",
        "--package",
        "vfio-core",
        "--lib",
        "--locked",
        "--target-dir",
    ]);
    cargo
        .arg(boot::cargo::target_folder("miri"))
        .current_dir(boot::cargo::workspace());
    // Property tests run a few cases only: an interpreted case takes a hundred times as long.
    cargo
        .env("PROPTEST_CASES", "4")
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .env_remove("RUSTUP_TOOLCHAIN");
    bounded::run(cargo, MIRI).map(drop)
}

fn miri_is_there() -> bool {
    let mut miri = Command::new("cargo");
    miri.args(["+nightly", "miri", "--version"])
        .env_remove("RUSTUP_TOOLCHAIN");
    miri.output().is_ok_and(|output| output.status.success())
}
