//! What happened, for people and for programs.

use std::fmt::Write as _;

use cohort_abi::report::{DmaFault, GuestEnd, Record, Restart};
use serde::Serialize;

use crate::session::Outcome;

/// Blocked accesses that are printed for one guest; the rest is counted.
const FAULTS_SHOWN: usize = 12;
/// Restarts that are printed for one guest.
const RESTARTS_SHOWN: usize = 12;

/// The run as a table a guest, and everything that did not hold. Refusals are told apart, with the line to change
/// (`verdict`).
#[must_use]
pub fn text(outcome: &Outcome) -> String {
    let mut out = String::new();
    let records = &outcome.report.records;
    for end in records.iter().filter_map(|record| {
        if let Record::GuestEnd(end) = record {
            Some(end)
        } else {
            None
        }
    }) {
        let faults = records.iter().filter_map(|record| match record {
            Record::DmaFault(fault) if fault.guest.as_deref() == Some(&end.guest) => Some(fault),
            _ => None,
        });
        let restarts = records.iter().filter_map(|record| match record {
            Record::Restart(restart) if restart.guest == end.guest => Some(restart),
            _ => None,
        });
        guest(
            &mut out,
            end,
            &faults.collect::<Vec<_>>(),
            &restarts.collect::<Vec<_>>(),
        );
    }
    for record in records {
        if let Record::Repair(repair) = record {
            line(&mut out, format_args!("{repair}"));
        }
    }
    if let Some(summary) = outcome.report.summary() {
        let resident = summary.resident_bytes.div_ceil(1024);
        line(
            &mut out,
            format_args!(
                "{} device sets opened; the hypervisor holds {resident} KiB",
                summary.sets_opened
            ),
        );
    }
    for failure in &outcome.failures {
        line(&mut out, format_args!("failed: {failure}"));
    }
    line(
        &mut out,
        format_args!(
            "{}",
            if outcome.success() {
                "Everything held."
            } else {
                "The run failed."
            }
        ),
    );
    out
}

fn guest(out: &mut String, end: &GuestEnd, faults: &[&DmaFault], restarts: &[&Restart]) {
    let verdict = if end.as_expected {
        "as expected"
    } else {
        "NOT as expected"
    };
    line(out, format_args!("guest {}: {} ({verdict})", end.guest, end.how));
    line(
        out,
        format_args!("  {:<32}{:>16}", "ended by", end.reason.to_string()),
    );
    let exits: u64 = end.exits.iter().map(|(_, count)| count).sum();
    for (name, value) in [
        ("restarts", u64::from(end.restarts)),
        ("first instruction after, ticks", end.start_ticks),
        ("device sets opened", u64::from(end.sets)),
        ("device interrupts", end.interrupts),
        ("blocked DMA accesses", end.dma_faults),
        ("exits", exits),
    ] {
        line(out, format_args!("  {name:<32}{:>16}", grouped(value)));
    }
    let mut by_count: Vec<_> = end.exits.iter().filter(|(_, count)| *count > 0).collect();
    by_count.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (reason, count) in by_count {
        line(out, format_args!("    {reason:<30}{:>16}", grouped(*count)));
    }
    for restart in restarts.iter().take(RESTARTS_SHOWN) {
        let Restart { number, of, how, .. } = restart;
        line(out, format_args!("  restart {number} of {of}: it {how}"));
    }
    if let Some(more) = restarts
        .len()
        .checked_sub(RESTARTS_SHOWN)
        .filter(|more| *more > 0)
    {
        line(out, format_args!("  restarted {more} times more"));
    }
    for fault in faults.iter().take(FAULTS_SHOWN) {
        line(out, format_args!("  blocked: {}", describe(fault)));
    }
    if faults.len() > FAULTS_SHOWN {
        line(
            out,
            format_args!("  blocked: {} more reported", faults.len() - FAULTS_SHOWN),
        );
    }
    out.push('\n');
}

fn describe(fault: &DmaFault) -> String {
    let device = fault
        .device
        .map_or("an unknown device".into(), |device| device.to_string());
    let address = fault
        .address
        .map_or("an unknown address".into(), |address| format!("{address:#x}"));
    format!("{device}, {} at {address}: {}", fault.access, fault.what)
}

/// Devices, sets, groups and cohorts, and why each member is in.
#[must_use]
pub fn sets(outcome: &Outcome) -> String {
    let mut out = String::new();
    let records = &outcome.report.records;
    for record in records {
        let Record::Cohort(cohort) = record else { continue };
        let owner = cohort
            .owner
            .as_deref()
            .map_or("nobody's".into(), |owner| format!("guest {owner}'s"));
        line(
            &mut out,
            format_args!("cohort {}: {owner}, {}", cohort.id, cohort.state),
        );
        for member in &cohort.members {
            let device = records.iter().find_map(|record| match record {
                Record::Device(device) if device.bdf == *member => Some(device),
                _ => None,
            });
            let Some(device) = device else {
                line(&mut out, format_args!("  {member}"));
                continue;
            };
            let ((vendor, id), class, set) = (device.id, device.class, &device.set);
            line(
                &mut out,
                format_args!("  {member}  {vendor:04x}:{id:04x}  class {class:06x}"),
            );
            line(
                &mut out,
                format_args!(
                    "    set {set}, isolation group {}, reset by {}",
                    device.group, device.reset
                ),
            );
            if let Some(why) = &device.not_assignable {
                line(&mut out, format_args!("    cannot be assigned: {why}"));
            }
            for override_ in &device.split_unsafe {
                line(&mut out, format_args!("    UNSAFE: {override_}"));
            }
        }
        for because in &cohort.because {
            line(&mut out, format_args!("  because {because}"));
        }
        out.push('\n');
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

/// A number with its digits in groups of three.
#[must_use]
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The summary for programs.
#[derive(Debug, Serialize)]
struct Json<'a> {
    success: bool,
    failures: Vec<String>,
    damaged_frames: usize,
    records: &'a [Record],
}

/// The run as JSON: `success`, `failures`, `damaged_frames`, and `records` as the hypervisor sent them.
///
/// # Errors
/// Only where memory runs out.
pub fn json(outcome: &Outcome) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&Json {
        success: outcome.success(),
        failures: outcome.failures.iter().map(ToString::to_string).collect(),
        damaged_frames: outcome.report.damaged,
        records: &outcome.report.records,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::process::Ended;
    use crate::qemu::report::Report;
    use crate::session::Failure;
    use cohort_abi::end::{EndReason, FaultKind};
    use cohort_abi::report::Repair;

    fn outcome() -> Outcome {
        let end = GuestEnd {
            guest: "rogue".into(),
            success: true,
            as_expected: true,
            reason: EndReason::Success,
            how: "ended itself with success".into(),
            restarts: 13,
            exits: vec![("cpuid".into(), 3), ("io".into(), 12_345)],
            interrupts: 7,
            dma_faults: 20,
            sets: 2,
            start_ticks: 1_234_567,
        };
        let fault = DmaFault {
            guest: Some("rogue".into()),
            device: Some(vfio_core::pci::Bdf::new(0, 0, 3, 0)),
            address: Some(0x100_0000),
            access: "write".into(),
            what: "nothing is mapped there".into(),
        };
        let mut records = vec![Record::GuestEnd(end)];
        records.extend((1..=13).map(|number| {
            Record::Restart(Restart {
                guest: "rogue".into(),
                number,
                of: 20,
                reason: EndReason::Fault(FaultKind::TripleFault),
                how: "stopped: shutdown".into(),
                interrupts: 0,
                ticks: 1,
            })
        }));
        records.extend(std::iter::repeat_n(Record::DmaFault(fault), 20));
        records.push(Record::Repair(Repair {
            cohort: 4,
            members: vec![vfio_core::pci::Bdf::new(0, 0, 4, 0)],
            because: "resetting 0000:00:04.0: timed out".into(),
            problem: None,
        }));
        let report = Report { records, damaged: 0 };
        let failures = vec![Failure::NoSummary];
        Outcome {
            ended: Ended::Exited(33),
            report,
            console: [].into(),
            failures,
        }
    }

    #[test]
    fn the_table_has_what_happened() {
        let text = text(&outcome());
        for part in [
            "guest rogue: ended itself with success (as expected)",
            "1,234,567",
            "ended by                                 success",
            "  restart 12 of 20: it stopped: shutdown",
            "restarted 1 times more",
            "12,348",
            "blocked: 0000:00:03.0, write at 0x1000000: nothing is mapped there",
            "8 more reported",
            "cohort 4 (0000:00:04.0) was out of service: resetting 0000:00:04.0: timed out; it is repaired",
            "failed: the hypervisor sent no summary",
            "The run failed.",
        ] {
            assert!(text.contains(part), "{part:?} is in:\n{text}");
        }
        assert!(
            text.find("io ") < text.find("cpuid "),
            "the most frequent exit first"
        );
    }

    #[test]
    fn json_reads_back() {
        let json = json(&outcome()).expect("it encodes");
        let value: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(value["success"], false);
        assert_eq!(value["records"][0]["GuestEnd"]["guest"], "rogue");
        assert_eq!(value["records"][0]["GuestEnd"]["reason"], "Success");
        assert_eq!(value["records"][1]["Restart"]["reason"]["Fault"], "TripleFault");
    }
}
