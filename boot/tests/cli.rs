//! The command as a user meets it: exit status, output, and nothing started where something is wrong.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use boot::minimal::{elf, speaking};
use cohort_abi::exit::Outcome;

fn cohort(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cohort"))
        .args(arguments)
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn write(folder: &Path, name: &str, contents: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, contents).expect("it is written");
    path.display().to_string()
}

#[test]
fn a_wrong_configuration_starts_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let guest = "[[guest]]\nname = \"a\"\ncpus = [0]\nmemory = \"3M\"\nimage = \"storage\"\n";
    let file = write(folder.path(), "wrong.toml", guest.as_bytes());
    for command in ["run", "check", "sets", "bench"] {
        let output = cohort(&[command, &file]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {errors}");
        assert!(
            errors.contains("wrong.toml:3") && errors.contains("wrong.toml:4"),
            "{errors}"
        );
        assert!(errors.contains("help: give it CPUs from 1 up"), "{errors}");
        assert!(
            !errors.contains("Building") && output.stdout.is_empty(),
            "{errors}"
        );
    }
}

#[test]
fn a_missing_file_and_a_wrong_command_line_say_so() {
    let output = cohort(&["run", "/nowhere/at/all.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("/nowhere/at/all.toml"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(cohort(&["run", "--iommu", "smmu"]).status.code(), Some(2));
    assert_eq!(cohort(&["--no-such-option"]).status.code(), Some(2));
}

#[test]
fn tables_of_firmware_are_checked_without_a_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut table = b"WAET\x28\0\0\0\x01\0".to_vec();
    table.resize(40, 0);
    table[9] = table.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
    let good = write(folder.path(), "waet.dat", &table);
    let output = cohort(&["check", "--acpi", &good]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.contains("WAET: whole") && said.contains("not assignable: every device"),
        "{said}"
    );
    table[20] ^= 1;
    let bad = write(folder.path(), "bad.dat", &table);
    let output = cohort(&["check", "--acpi", &good, &bad]);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors.contains("bad.dat: ACPI table WAET, offset 0x0: the checksum"),
        "{errors}"
    );
    assert!(!errors.contains("Building"), "{errors}");
    assert_eq!(cohort(&["check", "--acpi"]).status.code(), Some(2));
    assert_eq!(
        cohort(&["check", "--iommu", "none", "--acpi", &good])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn places_that_cannot_be_written_are_said_before_anything_is_built() {
    let output = cohort(&["check", "--json", "/nowhere/at/all.json"]);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors.contains("/nowhere/at/all.json") && errors.contains("give --json a file"),
        "{errors}"
    );
    assert!(!errors.contains("Building"), "{errors}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_cohort"));
    let folder = tempfile::tempdir().expect("a folder");
    let image = write(folder.path(), "image", &elf(&[0xf4], true));
    let output = command
        .args(["exec", &image])
        .env("TMPDIR", "/nowhere/at/all")
        .output();
    let errors = text(&output.expect("it starts").stderr);
    assert!(
        errors.contains("/nowhere/at/all") && errors.contains("set TMPDIR"),
        "{errors}"
    );
}

#[test]
fn exec_gives_the_machines_outcome() {
    let folder = tempfile::tempdir().expect("a folder");
    for (outcome, status) in [(Outcome::Success, 0), (Outcome::Failure, 1), (Outcome::Panic, 1)] {
        let image = elf(&speaking("test one ... ok\n", &[], Some(outcome as u8)), true);
        let output = cohort(&["exec", &write(folder.path(), "image", &image)]);
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "test one ... ok\n");
    }
    let output = cohort(&["exec", &write(folder.path(), "image", b"#!/bin/sh\n")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("not an ELF64"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn exec_is_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = write(folder.path(), "image", &elf(&speaking("", &[], None), true));
    let output = cohort(&["exec", "--timeout", "2", &image]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("its time was up"),
        "{}",
        text(&output.stderr)
    );
}

/// Ctrl-C in a terminal, and a polite request to end.
#[test]
fn signals_end_qemu_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = write(
        folder.path(),
        "endless-image",
        &elf(&speaking("up\n", &[], None), true),
    );
    for signal in ["-INT", "-TERM"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cohort"));
        let mut cohort = command
            .args(["exec", &image])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let console = cohort.stdout.take().expect("it has a console");
        BufReader::new(console)
            .read_line(&mut line)
            .expect("the machine speaks");
        assert_eq!(line, "up\n");
        assert!(runs(&image), "QEMU runs");
        Command::new("kill")
            .args([signal, &cohort.id().to_string()])
            .status()
            .expect("it is sent");
        assert_eq!(cohort.wait().expect("it ends").code(), Some(130), "{signal}");
        assert!(!runs(&image), "{signal} leaves no QEMU behind");
    }
}

/// Whether some QEMU has `word` on its command line.
fn runs(word: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("it is Linux").flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|line| text(&line).contains(word) && text(&line).contains("-kernel"))
}

/// A folder of programs that stand in for the system's: `id` says `uid`, and `apt-get install` makes a QEMU that ends
/// with success at once.
fn programs(uid: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let qemu = folder.path().join("qemu-system-x86_64").display().to_string();
    let apt = format!(
        "echo \"$@\" >> {}\n[ \"$1\" = install ] || exit 0\nprintf '#!/bin/sh\\nexit 33\\n' > {qemu}\n/bin/chmod +x {qemu}",
        folder.path().join("log").display()
    );
    for (name, script) in [("id", format!("echo {uid}")), ("apt-get", apt)] {
        let path = write(folder.path(), name, format!("#!/bin/sh\n{script}\n").as_bytes());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it is executable");
    }
    folder
}

fn exec_with(programs: &Path, image: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cohort"));
    command
        .args(["exec", image])
        .env("PATH", programs)
        .output()
        .expect("it starts")
}

#[test]
fn qemu_is_installed_where_that_is_allowed() {
    let folder = programs(0);
    let image = write(folder.path(), "image", &elf(&[0xf4], true));
    let output = exec_with(folder.path(), &image);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let log = std::fs::read_to_string(folder.path().join("log")).expect("apt-get ran");
    assert_eq!(
        log,
        "update\ninstall -y --no-install-recommends qemu-system-x86\n"
    );
}

#[test]
fn the_exact_command_is_printed_where_it_is_not() {
    let folder = programs(1000);
    let image = write(folder.path(), "image", &elf(&[0xf4], true));
    let output = exec_with(folder.path(), &image);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    let command = "sudo apt-get update && sudo apt-get install -y --no-install-recommends qemu-system-x86";
    assert!(errors.contains(command), "{errors}");
    assert!(!folder.path().join("log").exists(), "nothing was installed");
}
