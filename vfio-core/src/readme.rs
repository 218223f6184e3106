//! The README keeps its word: its code runs, and the tests that it names exist.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::string::String;
    use std::vec::Vec;

    const README: &str = include_str!("../README.md");

    /// The words in backticks in the last column of the table beside VFIO that are paths.
    fn named() -> Vec<&'static str> {
        let rows = README
            .lines()
            .filter(|line| line.starts_with('|') && line.matches('|').count() == 5);
        rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next())
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .filter(|word| word.contains("::"))
            .collect()
    }

    #[test]
    fn tests_that_the_readme_names_exist() {
        // The test program itself knows them.
        let this = std::env::current_exe().unwrap();
        let output = Command::new(this).arg("--list").output().unwrap();
        let list = String::from_utf8(output.stdout).unwrap();
        let exists = |name: &str| list.lines().any(|line| line.strip_suffix(": test") == Some(name));
        let named = named();
        assert!(named.len() > 10, "the table is not found: {named:?}");
        let missing: Vec<_> = named.into_iter().filter(|name| !exists(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
