//! Configurations that the host refuses: every file in `configs/refused` says in its first lines what must be said.
//!
//! ```toml
//! # line: 12
//! # says: CPU 1 is given to `a` and to `b`
//! # help: give `b` another
//! ```

use std::path::Path;

use boot::config::{Plan, Source};
use libtest_mimic::{Failed, Trial};

pub(crate) fn trials() -> Vec<Trial> {
    let folder = machine_tests::launch::configs().join("refused");
    let files = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    let some = !files.is_empty();
    let mut trials = vec![Trial::test("host::there_are_cases", move || {
        if some {
            Ok(())
        } else {
            Err(format!("{} has configurations", folder.display()).into())
        }
    })];
    trials.extend(files.into_iter().map(|path| {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .display()
            .to_string()
            .replace('-', "_");
        Trial::test(format!("host::refuses_{name}"), move || refuses(&path))
    }));
    trials
}

fn refuses(path: &Path) -> Result<(), Failed> {
    let source = Source::read(path)?;
    let wanted = |key: &str| -> Result<String, Failed> {
        let mut lines = source
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("# ")?.strip_prefix(key));
        Ok(lines
            .next()
            .ok_or_else(|| format!("{} says `# {key}`", path.display()))?
            .trim()
            .into())
    };
    let (line, says, help) = (wanted("line:")?, wanted("says:")?, wanted("help:")?);
    let Err(refused) = Plan::load(source.clone()) else {
        return Err("it must be refused".into());
    };
    let [problem] = &refused.problems[..] else {
        return Err(format!("it must be refused for one thing:\n{}", refused.render(false)).into());
    };
    let holds = refused.line(problem).to_string() == line
        && problem.cause.to_string().contains(&says)
        && problem.cause.help().contains(&help);
    if holds {
        Ok(())
    } else {
        Err(format!("it says something else:\n{}", refused.render(false)).into())
    }
}
