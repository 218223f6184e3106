//! `cohort bench`: measured figures beside the aim and beside what Linux needs for the same.

use std::fmt::Write as _;

use cohort_abi::report::{Figure, Record, figure};

use crate::qemu::report::Report;
use crate::summary::grouped;

/// A known figure, its aim, and Linux VFIO's for the same in the same QEMU (7.2, TCG, `-icount shift=0`, Linux
/// 6.1, virtio-iommu, one CPU; ticks are instructions).
struct Known {
    name: &'static str,
    aim: &'static str,
    linux: &'static str,
}

const KNOWN: [Known; 15] = [
    Known {
        name: figure::START_BARE,
        aim: "500,000",
        linux: "900,000 (small VMM on KVM)",
    },
    Known {
        name: figure::START_DEVICES,
        aim: "",
        linux: "147,000,000 (the same with NVMe)",
    },
    Known {
        name: figure::START_DEVICES_WITHOUT_WAIT,
        aim: "2,000,000",
        linux: "",
    },
    Known {
        name: figure::OPEN_SET,
        aim: "100,000",
        linux: "1,290,000 to 1,420,000",
    },
    Known {
        name: figure::CLOSE_SET,
        aim: "100,000",
        linux: "1,290,000 to 1,370,000",
    },
    Known {
        name: figure::MAP_4K,
        aim: "2,000",
        linux: "5,800",
    },
    Known {
        name: figure::MAP_2M,
        aim: "2,000",
        linux: "67,000",
    },
    Known {
        name: figure::MAP_1G,
        aim: "2,000",
        linux: "32,000,000",
    },
    Known {
        name: figure::UNMAP_4K,
        aim: "2,000",
        linux: "4,700",
    },
    Known {
        name: figure::UNMAP_2M,
        aim: "2,000",
        linux: "114,000",
    },
    Known {
        name: figure::UNMAP_1G,
        aim: "2,000",
        linux: "55,700,000",
    },
    Known {
        name: figure::MAP_REQUESTS,
        aim: "1",
        linux: "",
    },
    Known {
        name: figure::CPUID_EXIT,
        aim: "",
        linux: "",
    },
    Known {
        name: figure::RESIDENT,
        aim: "8,388,608",
        linux: "",
    },
    Known {
        name: figure::IMAGE,
        aim: "1,048,576",
        linux: "",
    },
];

/// The figures of `report` as a table, in the order in which they came.
#[must_use]
pub fn table(report: &Report, further: &[Figure]) -> String {
    let mut out = format!(
        "{:<44}{:>16} {:<9}{:>12}  {}\n",
        "", "measured", "", "aim", "Linux VFIO"
    );
    let sent = report.records.iter().filter_map(|record| match record {
        Record::Figure(figure) => Some(figure),
        _ => None,
    });
    for figure in sent.chain(further) {
        let known = KNOWN.iter().find(|known| known.name == figure.name);
        let (aim, linux) = known.map_or(("", ""), |known| (known.aim, known.linux));
        let (name, value, unit) = (&figure.name, grouped(figure.value), &figure.unit);
        let line = format!("{name:<44}{value:>16} {unit:<9}{aim:>12}  {linux}");
        // Writing to a string does not fail.
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_figures_have_their_neighbours() {
        let figure = |name: &str| Figure {
            name: name.into(),
            value: 1234,
            unit: "ticks".into(),
        };
        let report = Report {
            records: vec![Record::Figure(figure(figure::MAP_1G))],
            damaged: 0,
        };
        let table = table(&report, &[figure("something new")]);
        let line = table
            .lines()
            .find(|line| line.starts_with(figure::MAP_1G))
            .expect("it is there");
        assert!(
            line.contains("1,234 ticks") && line.contains("2,000") && line.contains("32,000,000"),
            "{line}"
        );
        assert!(table.contains("something new"));
    }
}
