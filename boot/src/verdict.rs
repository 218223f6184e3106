//! What the hypervisor refuses, as problems of the configuration: at the line, with the line to write.

use cohort_abi::report::{Record, Refusal};

use crate::config::{Cause, Guest, Plan, Problem, Refused};
use crate::qemu::report::Report;

/// The refusals in `report` as problems of `plan`'s file, if there are any.
#[must_use]
pub fn refused(plan: &Plan, report: &Report) -> Option<Refused> {
    let refusals = report.records.iter().filter_map(|record| match record {
        Record::Refusal(refusal) => Some(refusal),
        _ => None,
    });
    let problems: Vec<Problem> = refusals.map(|refusal| problem(plan, refusal)).collect();
    if problems.is_empty() {
        None
    } else {
        Some(Refused::new(&plan.source, problems))
    }
}

fn problem(plan: &Plan, refusal: &Refusal) -> Problem {
    let by_name = plan
        .guests
        .iter()
        .find(|guest| Some(&guest.name) == refusal.guest.as_ref());
    let by_device = || {
        plan.guests
            .iter()
            .find(|guest| refusal.device.is_some_and(|d| guest.devices.contains(&d)))
    };
    let guest = by_name.or_else(by_device);
    let line = guest
        .filter(|_| !refusal.missing.is_empty())
        .map(|guest| line(guest, refusal));
    let cause = Cause::Kernel {
        text: refusal.cause().into(),
        fix: refusal.fix().map(Into::into),
        line,
    };
    Problem::new(cause, guest.map_or(0..0, |guest| guest.devices_at.clone()))
}

/// The `devices` line of `guest` with the missing devices added.
fn line(guest: &Guest, refusal: &Refusal) -> String {
    let mut devices = guest.devices.clone();
    devices.extend(
        refusal
            .missing
            .iter()
            .filter(|missing| !guest.devices.contains(missing)),
    );
    devices.sort_unstable();
    let quoted: Vec<String> = devices.iter().map(|device| format!("\"{device}\"")).collect();
    format!("devices = [{}]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    #[test]
    fn half_a_cohort_points_at_the_line_to_change() {
        let text = "[[guest]]\nname = \"a\"\ncpus = [1]\nmemory = \"2M\"\nimage = \"storage\"\n\
                    devices = [\"0000:01:00.1\"]\n";
        let source = Source {
            name: "half.toml".into(),
            text: text.into(),
            folder: ".".into(),
        };
        let plan = Plan::load(source).expect("the host sees nothing wrong");
        let half = Refusal {
            guest: Some("a".into()),
            device: "0000:01:00.1".parse().ok(),
            missing: "0000:01:00.0".parse().into_iter().collect(),
            text: "0000:01:00.1 must come with 0000:01:00.0: both are reset by slot 0000:01:00; add it"
                .into(),
        };
        let machine = Refusal {
            guest: None,
            device: None,
            missing: Vec::new(),
            text: "the processor has no SVM; use another".into(),
        };
        assert!(refused(&plan, &Report::default()).is_none());
        let report = Report {
            records: vec![Record::Refusal(half), Record::Refusal(machine)],
            damaged: 0,
        };
        let refused = refused(&plan, &report).expect("it is refused");
        let shown = refused.render(false);
        assert!(shown.contains("half.toml:6"), "{shown}");
        assert!(
            shown.contains("× the processor has no SVM\n  help: use another") && !shown.contains("toml:1"),
            "no line of the file is to blame: {shown}"
        );
        assert!(
            shown.contains("write devices = [\"0000:01:00.0\", \"0000:01:00.1\"]"),
            "{shown}"
        );
    }
}
