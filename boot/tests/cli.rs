//! The command as a user meets it: exit status, output, and nothing started where something is wrong.

use std::path::Path;
use std::process::{Command, Output};

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
    assert_eq!(cohort(&["run", "--iommu", "vtd"]).status.code(), Some(2));
    assert_eq!(cohort(&["--no-such-option"]).status.code(), Some(2));
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
        text(&output.stderr).contains("Timeout"),
        "{}",
        text(&output.stderr)
    );
}
