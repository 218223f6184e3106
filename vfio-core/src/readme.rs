//! The README keeps its word: its code runs, and what it names to show a row exists.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::string::String;
    use std::vec::Vec;

    const README: &str = include_str!("../README.md");

    /// Where loom's models are: another build has them.
    const LOOM: [&str; 6] = [
        include_str!("set/loom_tests.rs"),
        include_str!("lease/loom_tests/cohorts.rs"),
        include_str!("lease/loom_tests/domains.rs"),
        include_str!("platform/loom_tests.rs"),
        include_str!("pci/device/loom_tests.rs"),
        include_str!("fsl_mc/portal/loom_tests.rs"),
    ];

    /// The last cells of the tables beside VFIO.
    fn shown_by() -> Vec<&'static str> {
        let rows = README
            .lines()
            .filter(|line| line.starts_with('|') && line.matches('|').count() == 5)
            .filter(|line| !line.starts_with("|---") && !line.starts_with("| VFIO feature"));
        rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next())
            .collect()
    }

    /// The words in backticks in `cell`.
    fn quoted(cell: &str) -> impl Iterator<Item = &str> {
        cell.split('`').skip(1).step_by(2)
    }

    #[test]
    fn tests_that_the_readme_names_exist() {
        // The test program itself knows them.
        let this = std::env::current_exe().unwrap();
        let output = Command::new(this).arg("--list").output().unwrap();
        let list = String::from_utf8(output.stdout).unwrap();
        let model = |name: &str| {
            let function = std::format!("fn {}(", name.rsplit("::").next().unwrap_or(name));
            name.contains("::loom_tests::") && LOOM.iter().any(|file| file.contains(&function))
        };
        let exists = |name: &str| {
            let test = list.lines().any(|line| line.strip_suffix(": test") == Some(name));
            test || model(name)
        };
        let cells = shown_by();
        assert!(cells.len() > 50, "the tables are not found: {cells:?}");
        let named = cells
            .into_iter()
            .flat_map(quoted)
            .filter(|name| name.contains("::"));
        let missing: Vec<_> = named.filter(|name| !exists(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn every_row_of_the_readme_names_what_shows_it() {
        // The package comes without the fuzz targets.
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
        for cell in shown_by() {
            let (tests, targets) = cell.split_once("fuzz target").unwrap_or((cell, ""));
            let named = quoted(tests).filter(|name| name.contains("::")).count();
            assert!(named > 0 || cell.trim() == "nothing to show", "{cell}");
            for target in quoted(targets) {
                assert!(
                    !fuzz.exists() || fuzz.join(target).with_extension("rs").exists(),
                    "{target}"
                );
            }
        }
    }
}
