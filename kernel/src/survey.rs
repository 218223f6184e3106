//! What the machine has, said to people and programs: devices, cohorts, refusals.

use crate::assign::{MachineAssigner, cohorts, take_over};
use crate::console;
use crate::discovery::Machine;
use crate::partition::plan::Owners;
use crate::report;
use crate::start::Refused;
use crate::steps;
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

/// Puts every device into quarantine and reports devices and cohorts. Without an IOMMU there is no table: guests
/// without devices can run all the same.
///
/// # Errors
/// The machine contradicts itself, or it has no usable IOMMU while the configuration assigns devices.
pub fn take(mut machine: Machine, config: &Config) -> Result<Option<&'static Table>, Refused> {
    let needed = config.guests.iter().find(|guest| !guest.devices.is_empty());
    let owners = Owners::new(config);
    let owner = |cohorts: &Cohorts, id| cohorts.get(id).and_then(|cohort| owners.of(cohort.members()));
    if machine.acpi.has_iommu() || needed.is_some() {
        match take_over(machine, &config.split_unsafe) {
            Ok(table) => {
                steps::done("IOMMU, cohorts");
                let table: &'static Table = Box::leak(Box::new(table));
                let (cohorts, functions) = (table.cohorts(), table.platform().functions());
                warn_of_cuts(cohorts);
                let state = |id| {
                    table
                        .state(id)
                        .map_or_else(String::new, |state| state.to_string())
                };
                let records = report::machine(functions, cohorts, |id| owner(cohorts, id), state);
                records.iter().for_each(console::report);
                return Ok(Some(table));
            }
            Err(error) => {
                log::error!("{error}");
                let guest = needed.map(|guest| guest.name.clone());
                say(&Refusal {
                    guest,
                    device: None,
                    missing: Vec::new(),
                    text: error.to_string(),
                });
                return Err(Refused::Configuration);
            }
        }
    }
    for function in machine
        .functions
        .iter_mut()
        .filter(|function| function.kind.is_endpoint())
    {
        function.not_assignable.get_or_insert(NotAssignable::NoIommu);
    }
    let topology = machine.topology()?;
    let cohorts = cohorts(&topology, &config.split_unsafe).map_err(|error| {
        let text = error.to_string();
        say(&Refusal {
            guest: None,
            device: None,
            missing: Vec::new(),
            text,
        });
        Refused::Configuration
    })?;
    warn_of_cuts(&cohorts);
    for record in report::machine(
        &machine.functions,
        &cohorts,
        |_| None,
        |_| String::from("no IOMMU"),
    ) {
        console::report(&record);
    }
    Ok(None)
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

/// Ends a look at the machine that found nothing to refuse.
#[must_use]
pub fn end() -> bool {
    summary(true, Vec::new());
    true
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
        console::report(&Record::Refusal(Refusal {
            guest: None,
            device: None,
            missing: Vec::new(),
            text,
        }));
    }
    summary(false, alloc::vec![refused.to_string()]);
}
