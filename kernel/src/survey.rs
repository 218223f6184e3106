//! What the machine has, said to people and programs: devices, cohorts, refusals.

use crate::assign::{MachineAssigner, cohorts, take_over};
use crate::console;
use crate::discovery::Machine;
use crate::partition::plan::Owners;
use crate::pci::Function;
use crate::report;
use crate::start::Refused;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use cohort_abi::bundle::Config;
use cohort_abi::report::{Record, Refusal, Summary};
use vfio_core::cohort::Cohorts;
use vfio_core::lease::CohortTable;
use vfio_core::pci::NotAssignable;

/// The machine's cohorts; lives as long as the hypervisor does.
pub type Table = CohortTable<MachineAssigner>;

/// What was found. The report of it goes over a serial port, so it is kept until guests are on their way.
pub struct Survey {
    known: Known,
}

enum Known {
    /// Behind an IOMMU, in quarantine until opened.
    Table(&'static Table),
    /// Without an IOMMU nothing is opened: guests without devices can run all the same.
    Listed(Vec<Function>, Cohorts),
}

impl Survey {
    /// The cohorts that can be opened.
    #[must_use]
    pub const fn table(&self) -> Option<&'static Table> {
        match self.known {
            Known::Table(table) => Some(table),
            Known::Listed(..) => None,
        }
    }

    /// Reports every device and cohort, and how each cohort stands now.
    pub fn report(&self, config: &Config) {
        let owners = Owners::new(config);
        let records = match &self.known {
            Known::Table(table) => {
                let cohorts = table.cohorts();
                let owner = |id| cohorts.get(id).and_then(|cohort| owners.of(cohort.members()));
                let state = |id| {
                    table
                        .state(id)
                        .map_or_else(String::new, |state| state.to_string())
                };
                report::machine(table.platform().functions(), cohorts, owner, state)
            }
            Known::Listed(functions, cohorts) => {
                report::machine(functions, cohorts, |_| None, |_| String::from("no IOMMU"))
            }
        };
        records.iter().for_each(console::report);
    }

    /// Ends a look at the machine that found nothing to refuse.
    #[must_use]
    pub fn end(&self, config: &Config) -> bool {
        self.report(config);
        summary(true, Vec::new());
        true
    }
}

/// Puts every device into quarantine.
///
/// # Errors
/// The machine contradicts itself, or it has no usable IOMMU while the configuration assigns devices.
pub fn take(mut machine: Machine, config: &Config) -> Result<Survey, Refused> {
    let needed = config.guests.iter().find(|guest| !guest.devices.is_empty());
    let known = if machine.acpi.has_iommu() || needed.is_some() {
        match take_over(machine, &config.split_unsafe) {
            Ok(table) => Known::Table(Box::leak(Box::new(table))),
            Err(error) => {
                log::error!("{error}");
                let guest = needed.map(|guest| guest.name.clone());
                say(&refused(guest, error.to_string()));
                return Err(Refused::Configuration);
            }
        }
    } else {
        let endpoints = machine.functions.iter_mut();
        for function in endpoints.filter(|function| function.kind.is_endpoint()) {
            function.not_assignable.get_or_insert(NotAssignable::NoIommu);
        }
        let topology = machine.topology()?;
        let cohorts = cohorts(&topology, &config.split_unsafe).map_err(|error| {
            say(&refused(None, error.to_string()));
            Refused::Configuration
        })?;
        Known::Listed(machine.functions, cohorts)
    };
    warn_of_cuts(match &known {
        Known::Table(table) => table.cohorts(),
        Known::Listed(_, cohorts) => cohorts,
    });
    Ok(Survey { known })
}

const fn refused(guest: Option<String>, text: String) -> Refusal {
    Refusal {
        guest,
        device: None,
        missing: Vec::new(),
        text,
    }
}

/// Says what `split-unsafe` overrides, in every run.
fn warn_of_cuts(cohorts: &Cohorts) {
    for cut in cohorts.cuts() {
        log::warn!("{cut}: the user answers for that");
    }
}

/// Says one refusal on both ports.
pub fn say(refusal: &Refusal) {
    let guest = refusal
        .guest
        .as_deref()
        .map_or(String::new(), |guest| alloc::format!("guest {guest}: "));
    log::error!("refused: {guest}{}", refusal.text);
    console::report(&Record::Refusal(refusal.clone()));
}

fn summary(success: bool, failures: Vec<String>) {
    let resident_bytes = crate::memory::resident_bytes();
    console::report(&Record::Summary(Summary {
        success,
        failures,
        sets_opened: 0,
        resident_bytes,
    }));
}

/// Ends a run that started nothing.
pub fn refuse(refused: &Refused) {
    log::error!("{refused}");
    if !matches!(refused, Refused::Configuration) {
        let text = refused.to_string();
        console::report(&Record::Refusal(self::refused(None, text)));
    }
    summary(false, alloc::vec![refused.to_string()]);
}
