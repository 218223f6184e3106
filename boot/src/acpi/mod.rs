//! `check --acpi`: what firmware's tables say of a machine that Cohort has not booted yet.
//!
//! The parsers are the hypervisor's own (`cohort-acpi`). What only configuration space shows (bus numbers behind
//! bridges, classes, resets) is not known here, so devices are named as the tables name them.

mod amdvi;
mod vtd;

use std::fmt::Write as _;

use cohort_acpi::{EcamWindow, FileTable, IoApic, IommuLocation, Viot, read_file};

/// What the files say.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// For people.
    pub text: String,
    /// Files that cannot be used, and why.
    pub problems: Vec<String>,
}

/// What other tables say that an IOMMU's table is held against.
#[derive(Clone, Debug, Default)]
struct Machine {
    /// From the MADT, if it was among the files.
    ioapics: Vec<IoApic>,
    /// From the MCFG, if it was among the files.
    windows: Vec<EcamWindow>,
}

impl Machine {
    /// The segments of the MCFG, or the one that every machine has.
    fn segments(&self) -> Vec<u16> {
        let mut segments: Vec<u16> = self.windows.iter().map(|window| window.segment).collect();
        if segments.is_empty() {
            segments.push(0);
        }
        segments.sort_unstable();
        segments.dedup();
        segments
    }
}

/// Lines below a heading, and what cannot be given to a guest.
#[derive(Debug, Default)]
struct Findings {
    lines: Vec<String>,
    not_assignable: Vec<String>,
}

/// Reads `files`, each with its name, and says what they say.
#[must_use]
pub fn report(files: &[(String, Vec<u8>)]) -> Report {
    let mut report = Report::default();
    let mut tables = Vec::new();
    for (name, bytes) in files {
        match read_file(bytes) {
            Ok(table) => tables.push((name, table)),
            Err(_) if bytes.get(4..8) == Some(b" @ 0") => report.problems.push(format!(
                "{name}: this is the text that acpidump prints; write binary files with acpidump -b"
            )),
            Err(error) => report.problems.push(format!("{name}: {error}")),
        }
    }
    let mut machine = Machine::default();
    for (_, table) in &tables {
        match table {
            FileTable::Madt { ioapics, .. } => machine.ioapics.extend(ioapics),
            FileTable::Mcfg(windows) => machine.windows.extend(windows),
            _ => {}
        }
    }
    let mut iommus: Vec<(&str, &str)> = Vec::new();
    for (name, table) in &tables {
        let (kind, findings) = match table {
            FileTable::Dmar(dmar) => ("DMAR", vtd::findings(dmar, &machine)),
            FileTable::Ivrs(ivrs) => ("IVRS", amdvi::findings(ivrs, &machine)),
            FileTable::Viot(viot) => ("VIOT", virtio(viot)),
            other => {
                let _ = writeln!(report.text, "{name}: {}", plain(other));
                continue;
            }
        };
        if let Some((_, earlier)) = iommus.iter().find(|(other, _)| *other == kind) {
            let problem =
                format!("{name}: a second {kind} after {earlier}; a machine has one, check its files alone");
            report.problems.push(problem);
        }
        iommus.push((kind, name));
        let _ = writeln!(report.text, "{name}: {kind}");
        for line in &findings.lines {
            let _ = writeln!(report.text, "  {line}");
        }
        if !findings.not_assignable.is_empty() {
            let _ = writeln!(report.text, "  not assignable:");
        }
        for line in &findings.not_assignable {
            let _ = writeln!(report.text, "    {line}");
        }
    }
    if iommus.is_empty() && report.problems.is_empty() {
        report.text.push_str(
            "not assignable: every device, since none of these tables names an IOMMU (DMAR: VT-d, IVRS: AMD-Vi, VIOT: virtio-iommu)\n",
        );
    }
    report
}

/// A table that is about no IOMMU, in a line.
fn plain(table: &FileTable) -> String {
    match table {
        FileTable::Madt { cpus, ioapics } => {
            let enabled = cpus.iter().filter(|cpu| cpu.enabled).count();
            let ids: Vec<String> = ioapics
                .iter()
                .map(|ioapic| format!("{} at {:#x}", ioapic.id, ioapic.address))
                .collect();
            format!("MADT: {enabled} processors, I/O APICs: {}", ids.join(", "))
        }
        FileTable::Mcfg(windows) => {
            let windows: Vec<String> = windows
                .iter()
                .map(|window| {
                    let (first, last) = (window.bus_start, window.bus_end);
                    format!("segment {:04x} buses {first:02x} to {last:02x}", window.segment)
                })
                .collect();
            format!("MCFG: {}", windows.join(", "))
        }
        FileTable::Other(signature) => format!("{signature}: whole; Cohort does not read it"),
        FileTable::Dmar(_) | FileTable::Ivrs(_) | FileTable::Viot(_) => String::new(),
    }
}

fn virtio(viot: &Viot) -> Findings {
    let mut findings = Findings::default();
    for (index, iommu) in viot.iommus.iter().enumerate() {
        let what = match iommu {
            IommuLocation::Pci(bdf) => {
                findings.not_assignable.push(format!("{bdf}: it is the IOMMU"));
                format!("virtio-iommu {index}: {bdf}")
            }
            IommuLocation::Mmio(base) => {
                format!("virtio-iommu {index}: registers at {base:#x}; Cohort has no driver for virtio-mmio")
            }
        };
        findings.lines.push(what);
    }
    for range in &viot.ranges {
        let (first, last) = (range.requesters.0, range.requesters.1);
        findings.lines.push(format!(
            "virtio-iommu {}: segments {:04x} to {:04x}, requester ids {first:04x} to {last:04x}, endpoints from {:#x}",
            range.iommu, range.segments.0, range.segments.1, range.endpoint_start
        ));
    }
    let rest = "whatever none of these ranges has";
    findings.not_assignable.push(rest.into());
    findings
}

#[cfg(test)]
mod tests;
