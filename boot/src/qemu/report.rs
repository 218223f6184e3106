//! Reads the records that the hypervisor sent over the second serial port.

use cohort_abi::report::{self, Record};

/// The records in a report, and how many frames were not records.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order in which they were sent.
    pub records: Vec<Record>,
    /// Frames that did not decode; 0 in a good run.
    pub damaged: usize,
}

impl Report {
    /// Reads all frames in `bytes`.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut report = Self::default();
        for frame in bytes.split(|byte| *byte == 0).filter(|frame| !frame.is_empty()) {
            match report::decode(&mut frame.to_vec()) {
                Ok(record) => report.records.push(record),
                Err(_) => report.damaged += 1,
            }
        }
        report
    }

    /// Whether the hypervisor refused, and so started no guest.
    #[must_use]
    pub fn refused(&self) -> bool {
        self.records
            .iter()
            .any(|record| matches!(record, Record::Refusal(_)))
    }

    /// The last summary, if one came.
    #[must_use]
    pub fn summary(&self) -> Option<&report::Summary> {
        self.records.iter().rev().find_map(|record| match record {
            Record::Summary(summary) => Some(summary),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cohort_abi::report::{Figure, Summary};

    #[test]
    fn frames_read_and_noise_is_counted() {
        let figure = Record::Figure(Figure {
            name: "a".into(),
            value: 0,
            unit: "ticks".into(),
        });
        let summary = Summary {
            success: true,
            failures: Vec::new(),
            sets_opened: 0,
            resident_bytes: 1 << 20,
        };
        let mut bytes = report::encode(&figure).expect("it encodes");
        let first = bytes.len();
        bytes.extend(report::encode(&Record::Summary(summary.clone())).expect("it encodes"));
        let good = Report::read(&bytes);
        assert_eq!((good.records.len(), good.damaged), (2, 0));
        assert_eq!(good.summary(), Some(&summary));

        bytes[first + 3] ^= 0x40;
        let damaged = Report::read(&bytes);
        assert_eq!(damaged.records, [figure]);
        assert!(damaged.damaged > 0);
        assert_eq!(damaged.summary(), None);
    }
}
