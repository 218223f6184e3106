//! What must hold after a run. Each failure comes with the end of the console.

use cohort_abi::exit::Outcome as Exit;
use libtest_mimic::Failed;

use crate::Run;

/// Fails with `what` and the console's tail unless `holds`.
///
/// # Errors
/// If it does not hold.
pub fn that(run: &Run, holds: bool, what: &str) -> Result<(), Failed> {
    if holds {
        Ok(())
    } else {
        Err(format!("{what}\n{}", run.tail()).into())
    }
}

/// Every expectation of the run held.
///
/// # Errors
/// If one did not.
pub fn success(run: &Run) -> Result<(), Failed> {
    that(run, run.outcome.success(), "the run does not hold")
}

/// The run was refused in order: failing status from the hypervisor itself, no guest started, and each of `words`
/// in the console or in a refusal.
///
/// # Errors
/// If not.
pub fn refused(run: &Run, words: &[&str]) -> Result<(), Failed> {
    let exit = run.outcome.ended.outcome();
    that(
        run,
        exit == Some(Exit::Failure),
        &format!("it ends with the status `failure`, not {exit:?}"),
    )?;
    no_guest(run)?;
    said(run, words)
}

/// No guest ran.
///
/// # Errors
/// If one did.
pub fn no_guest(run: &Run) -> Result<(), Failed> {
    for guest in &run.guests {
        let (name, mark) = (&guest.name, format!("[{}] ", guest.name));
        that(
            run,
            run.end(name).is_none(),
            &format!("guest `{name}` must not have started"),
        )?;
        let spoke = run.outcome.console.iter().any(|line| line.contains(&mark));
        that(
            run,
            !spoke,
            &format!("guest `{name}` must not have printed anything"),
        )?;
    }
    Ok(())
}

/// Each of `words` is in the console or in a refusal (in any case of letters).
///
/// # Errors
/// If one is not.
pub fn said(run: &Run, words: &[&str]) -> Result<(), Failed> {
    let refusals = run.refusals().map(|refusal| refusal.text.clone());
    let all: Vec<String> = run.outcome.console.iter().cloned().chain(refusals).collect();
    let all = all.join("\n").to_lowercase();
    for word in words {
        that(
            run,
            all.contains(&word.to_lowercase()),
            &format!("the hypervisor says {word:?}"),
        )?;
    }
    Ok(())
}
