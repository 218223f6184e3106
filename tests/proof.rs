//! Proofs that need a build of their own: lock protocols under loom, vfio-core's tests under Miri, and that it stands
//! alone: it builds where there is no operating system, its examples and documentation hold, and it can be published.

use std::process::{Command, ExitCode};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use machine_tests::bounded;

/// Longest time for loom, with its build.
const LOOM: Duration = Duration::from_secs(900);

/// Longest time for Miri, with its build.
const MIRI: Duration = Duration::from_secs(7200);

/// Longest time for a build of vfio-core alone, or for fetching a target.
const BUILD: Duration = Duration::from_secs(300);

/// Where vfio-core must build: ours, and one without 64-bit atomics.
const BARE_TARGETS: [&str; 2] = [boot::cargo::TARGET, "thumbv7em-none-eabi"];

/// Each example, with something that it must say.
const EXAMPLES: [(&str, &str); 5] = [
    ("pci_function", "page tables: BAR 0 answers at 0xc1000000"),
    (
        "pci_slot",
        "0000:01:00.1 must come with 0000:01:00.0: both are reset by slot 0000:01:00",
    ),
    (
        "fsl_mc_container",
        "dpmcp.4 must come with dpni.1: both are reset by container dprc.2",
    ),
    ("mediated_copier", "failed at 0x2000"),
    (
        "platform_uart",
        "platform.0 must be reset before it is used, and its reset failed",
    ),
];

fn main() -> ExitCode {
    let loom = |package| move || loom(package);
    // An interpreter takes minutes for what a processor does in a second: only on request.
    let miri = Trial::test("proof::vfio_core_under_miri", miri).with_ignored_flag(true);
    let trials = vec![
        Trial::test("proof::vfio_core_under_loom", loom("vfio-core")),
        Trial::test("proof::kernel_under_loom", loom("kernel")),
        miri,
        Trial::test("proof::vfio_core_without_std", without_std),
        Trial::test("proof::vfio_core_examples", examples),
        Trial::test("proof::vfio_core_documentation", documentation),
        Trial::test("proof::vfio_core_package", package),
    ];
    machine_tests::run(trials).exit_code()
}

/// Cargo with `words` for vfio-core alone, in a target folder that it shares with nothing else: with the whole workspace, other
/// crates' features would come along.
fn alone(words: &[&str]) -> Command {
    let mut cargo = boot::cargo::command();
    cargo.args(words).args(["--package", "vfio-core", "--target-dir"]);
    cargo.arg(boot::cargo::target_folder("alone"));
    cargo
}

/// With its default features the library needs `alloc` and nothing else, and no architecture.
fn without_std() -> Result<(), Failed> {
    for target in BARE_TARGETS {
        // Has no effect where the target is there already.
        let mut rustup = Command::new("rustup");
        rustup
            .args(["target", "add", target])
            .current_dir(boot::cargo::workspace());
        if let Err(why) = bounded::run(rustup, BUILD) {
            let why = why.message().unwrap_or_default();
            eprintln!("SKIPPED: vfio-core for {target}, which rustup cannot fetch: {why}");
            continue;
        }
        bounded::run(alone(&["build", "--locked", "--target", target]), BUILD)?;
    }
    Ok(())
}

/// Every example runs to its end and says what it is there to say.
fn examples() -> Result<(), Failed> {
    let folder = boot::cargo::workspace().join("vfio-core/examples");
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let listed = EXAMPLES.iter().any(|(known, _)| *known == name);
        if path.is_file() && !listed {
            return Err(format!("the example {name} is not in the list of this test").into());
        }
    }
    for (name, must_say) in EXAMPLES {
        let said = bounded::run(alone(&["run", "--locked", "--example", name]), BUILD)?;
        if !said.contains(must_say) {
            return Err(format!("{name} does not say {must_say:?}\n{said}").into());
        }
    }
    Ok(())
}

/// Everything public is documented, and no link leads nowhere.
fn documentation() -> Result<(), Failed> {
    let mut cargo = alone(&["doc", "--locked", "--no-deps", "--all-features"]);
    cargo.env("RUSTDOCFLAGS", "-D warnings");
    bounded::run(cargo, BUILD).map(drop)
}

/// The package can be made, builds outside the workspace, and has in it what it must come with.
fn package() -> Result<(), Failed> {
    bounded::run(alone(&["package", "--allow-dirty", "--offline"]), BUILD)?;
    let list = bounded::run(alone(&["package", "--allow-dirty", "--list", "--offline"]), BUILD)?;
    for file in [
        "README.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "src/lib.rs",
    ] {
        if !list.lines().any(|line| line == file) {
            return Err(format!("{file} is not in the package\n{list}").into());
        }
    }
    Ok(())
}

/// Every interleaving that loom's models of the lock protocols of `package` distinguish. Models are in modules called `loom_tests`.
fn loom(package: &str) -> Result<(), Failed> {
    let mut cargo = boot::cargo::command();
    cargo.args(["test", "--lib", "--release", "--locked", "--package", package]);
    cargo
        .arg("--target-dir")
        .arg(boot::cargo::target_folder("loom"))
        .arg("loom_tests")
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
        "--test",
        "fuzz",
        "--locked",
        "--target-dir",
    ]);
    cargo.arg(boot::cargo::target_folder("miri"));
    // What is tried less under an interpreter stands in `vfio_core::testing`.
    cargo.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    bounded::run(cargo, MIRI).map(drop)
}
