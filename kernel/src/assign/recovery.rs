//! Cohorts that are out of service: one try to bring them back, and what came of it, for people and programs.

use alloc::string::ToString;
use cohort_abi::report::Repair;
use vfio_core::Failure;
use vfio_core::cohort::{Cohort, CohortId};
use vfio_core::lease::{CohortState, CohortTable, Platform, RepairError};

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Which cohort.
    pub cohort: CohortId,
    /// Why it was out of service.
    pub failure: Failure,
    /// Whether it is in quarantine again, as after a close.
    pub result: Result<(), RepairError>,
}

/// Repairs `cohort` if it is out of service; `None` if it is not. Waits as long as its resets do.
pub fn repair<P: Platform>(table: &CohortTable<P>, cohort: CohortId) -> Option<Repaired> {
    let Some(CohortState::Broken(failure)) = table.state(cohort) else {
        return None;
    };
    let result = table.repair(cohort);
    Some(Repaired {
        cohort,
        failure,
        result,
    })
}

impl Repaired {
    /// As a record.
    #[must_use]
    pub fn record<P: Platform>(&self, table: &CohortTable<P>) -> Repair {
        let number = table
            .cohorts()
            .iter()
            .position(|cohort| cohort.id() == self.cohort);
        let members = table.cohorts().get(self.cohort).map_or(&[][..], Cohort::members);
        Repair {
            cohort: number
                .and_then(|number| number.try_into().ok())
                .unwrap_or(u32::MAX),
            members: members.iter().filter_map(|device| device.pci()).collect(),
            because: self.failure.to_string(),
            problem: self.result.err().map(|error| error.to_string()),
        }
    }
}
