//! Everything that can be refused, before anything is opened: resources, devices, images.

use super::check::{Grant, grants};
use super::plan::plans;
use crate::assign;
use crate::console;
use crate::memory::regions::FreeMemory;
use crate::start::Refused;
use crate::survey::{self, Survey, Table};
use alloc::string::ToString;
use alloc::vec::Vec;
use cohort_abi::bundle::{Bundle, Config, Guest, Mode};
use cohort_abi::report::{Record, Refusal};
use vfio_core::DeviceId;
use vfio_core::cohort::{CohortId, OpenPlan};

/// A guest that nothing speaks against.
#[derive(Debug)]
pub struct Ready {
    /// Its number, which is its owner's number too.
    pub number: u32,
    /// Its part of the configuration.
    pub guest: Guest,
    /// Its CPU and memory.
    pub grant: Grant,
    /// Its image.
    pub image: &'static [u8],
    /// Its initial file system; empty where it has none.
    pub initrd: &'static [u8],
    /// What to open for it.
    pub plan: Option<OpenPlan<'static>>,
}

/// All guests of a run.
pub struct Run {
    /// The configuration.
    pub config: Config,
    /// The guests.
    pub guests: Vec<Ready>,
    /// What the machine has.
    pub survey: Survey,
}

fn say(guest: &Guest, text: &impl ToString) {
    let refusal = Refusal {
        guest: Some(guest.name.clone()),
        device: None,
        missing: Vec::new(),
        text: text.to_string(),
    };
    survey::say(&refusal);
}

/// Tries to bring `cohort` back if it is out of service, and says what came of it. Returns whether it was brought back.
pub(super) fn repair(table: &Table, cohort: CohortId) -> bool {
    let Some(repaired) = assign::repair(table, cohort) else {
        return false;
    };
    let record = repaired.record(table);
    log::warn!("{record}");
    console::report(&Record::Repair(record));
    repaired.result.is_ok()
}

/// Checks the whole configuration against the machine. Nothing is touched but, where guests are to run, those of their cohorts that
/// are out of service: a repair is tried.
///
/// # Errors
/// [`Refused::Configuration`] after every problem was said.
pub fn prepare(
    bundle: &Bundle<'static>,
    up: &[bool],
    mut free: FreeMemory,
    survey: Survey,
) -> Result<Run, Refused> {
    let (config, table) = (&bundle.config, survey.table());
    let granted = grants(bundle, up, &mut free).map_err(|problems| {
        for (index, problem) in problems {
            match config.guests.get(index) {
                Some(guest) => say(guest, &problem),
                None => log::error!("{problem}"),
            }
        }
    });
    let runs = granted.is_ok() && matches!(config.mode, Mode::Run | Mode::Bench);
    if let Some(table) = table.filter(|_| runs) {
        let devices = config.guests.iter().flat_map(|guest| &guest.devices);
        for device in devices {
            if let Some(cohort) = table.cohorts().cohort_of(DeviceId::from(*device)) {
                repair(table, cohort.id());
            }
        }
    }
    let planned = match table {
        Some(table) => plans(table, config).map_err(|refusals| refusals.iter().for_each(survey::say)),
        None => Ok(config.guests.iter().map(|_| None).collect()),
    };
    let (Ok(granted), Ok(planned)) = (granted, planned) else {
        survey.report(config);
        return Err(Refused::Configuration);
    };
    let mut guests = Vec::new();
    for (((number, guest), grant), plan) in (0..).zip(&config.guests).zip(granted).zip(planned) {
        let initrd = guest.initrd.map_or(Some(&[][..]), |initrd| bundle.image(initrd));
        let (Some(image), Some(initrd)) = (bundle.image(guest.image), initrd) else {
            return Err(Refused::Configuration);
        };
        guests.push(Ready {
            number,
            guest: guest.clone(),
            grant,
            image,
            initrd,
            plan,
        });
    }
    Ok(Run {
        config: config.clone(),
        guests,
        survey,
    })
}
