//! The fuzz targets, each over its corpus and over some mutations of it: the same ones in every run.
//!
//! The long way is cargo-fuzz, with the same bodies and the same corpus: see docs/testing.md.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a target fails by panicking, and so does a test without its corpus"
)]

mod bodies;
mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use mutate::Mutator;

/// Mutations for each target. Miri interprets a few, and looks for something else.
const MUTATIONS: u32 = if cfg!(miri) { 20 } else { 3_000 };

/// The files of a target's corpus with their contents, in order of name.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let entries = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path());
    // Those made by hand will do for Miri, which is slow; the others, which fuzzing found, have longer names.
    let wanted = |path: &PathBuf| !cfg!(miri) || !path.to_string_lossy().contains("/found-");
    let mut files: Vec<_> = entries
        .filter(wanted)
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no inputs", folder.display());
    files
}

/// Runs one input; where it fails, says which one it was.
fn run(name: &str, body: fn(&[u8]), input: &[u8], origin: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(input))) {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("{name} fails on {origin}, which as hexadecimal bytes is\n{hex}");
        resume_unwind(panic);
    }
}

fn target(name: &str) {
    let &(_, body) = bodies::TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let files = corpus(name);
    for (path, input) in &files {
        run(name, body, input, &path.display().to_string());
    }
    let inputs: Vec<&[u8]> = files.iter().map(|(_, input)| input.as_slice()).collect();
    let mut mutator = Mutator::new(name);
    for number in 0..MUTATIONS {
        let input = mutator.next(&inputs);
        run(name, body, &input, &format!("mutation {number}"));
    }
}

/// A test for each target, and one that none was forgotten.
macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { target(stringify!($name)); })*

        #[test]
        fn every_target_is_tested() {
            let known: Vec<&str> = bodies::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(known, [$(stringify!($name)),*]);
            for name in known {
                let long = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/fuzz_targets/{name}.rs"));
                assert!(long.is_file(), "{} is missing", long.display());
            }
        }
    };
}

targets! { capabilities config_scan domain mappings mc_response sets topology virtual_config }
