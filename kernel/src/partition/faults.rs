//! Blocked DMA, told in the terms of partitions: whose device, where, what lay there.

use crate::console;
use crate::iommu::{FaultReason, FaultRecord, Verdict};
use crate::memory::paging;
use crate::survey::Table;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use cohort_abi::bundle::OnFault;
use cohort_abi::report::{DmaFault, Record};
use vfio_core::cohort::Cohort;
use vfio_core::lease::{CohortState, DomainView};
use vfio_core::pci::Bdf;
use vfio_core::{Access, Owner, Requester};

/// What is known of a guest's memory, to say what an address means.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    /// The guest's number.
    pub(super) number: u32,
    /// Its name.
    pub(super) name: String,
    /// What its devices may reach; none if it has no devices.
    pub(super) memory: Option<DomainView>,
    /// Its RAM in the host, start and end.
    pub(super) host: (u64, u64),
    /// What is done when a device of its is blocked.
    pub(super) on_fault: OnFault,
}

/// What was done because of faults.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Who faulted already, so that a storm is acted on once.
    acted: BTreeSet<Requester>,
    /// Numbers of guests that are to be stopped.
    stop: BTreeSet<u32>,
}

impl Watch {
    /// Whether the guest is to be stopped because of a fault.
    pub(super) fn stops(&self, number: u32) -> bool {
        self.stop.contains(&number)
    }

    /// Forgets what was done because of the guest `number`, for whose devices `requesters` speak.
    pub(super) fn forget(&mut self, number: u32, requesters: &[Requester]) {
        self.stop.remove(&number);
        self.acted.retain(|by| !requesters.contains(by));
    }
}

/// Takes all faults, prints those that the storm limit lets through, does what the configuration wants done about them, and returns
/// whether the IOMMUs serve.
pub(super) fn poll(table: &Table, holdings: &[Holding], watch: &mut Watch, now: u64) -> bool {
    let assigner = table.platform();
    let (mut told, mut new): (Vec<FaultRecord>, Vec<Requester>) = (Vec::new(), Vec::new());
    let polled = assigner.iommus().poll_faults(now, &mut |fault, verdict| {
        if verdict == Verdict::Report {
            told.push(fault);
        }
        // Not only what is told: another guest's storm must not keep this one's fault from having its effect.
        if let Some(requester) = fault.requester.filter(|by| !watch.acted.contains(by)) {
            watch.acted.insert(requester);
            new.push(requester);
        }
    });
    for fault in told {
        let record = describe(table, holdings, &fault);
        let guest = record.guest.as_deref().unwrap_or("nobody");
        let device = speakers(table, fault.requester);
        let address = record
            .address
            .map_or_else(String::new, |at| alloc::format!(" at {at:#x}"));
        log::info!(
            "blocked: {} of {guest}'s {device}{address}: {}",
            record.access,
            record.what
        );
        console::report(&Record::DmaFault(record));
    }
    for requester in new {
        act(table, holdings, watch, requester);
    }
    polled
        .map_err(|fault| log::error!("an IOMMU is out of service: {fault}"))
        .is_ok()
}

/// Does what the owner's configuration wants done when an access of `requester` was blocked.
fn act(table: &Table, holdings: &[Holding], watch: &mut Watch, requester: Requester) {
    let Some(holding) = holding_of(table, holdings, requester) else {
        return;
    };
    match holding.on_fault {
        OnFault::Report => {}
        OnFault::Stop => {
            watch.stop.insert(holding.number);
        }
        OnFault::Quarantine => {
            let mut cohorts = table.cohorts().iter();
            let cohort = cohorts.find(|cohort| cohort.requesters().contains(&requester));
            for member in cohort.into_iter().flat_map(Cohort::requesters) {
                match table.platform().iommus().isolate(*member) {
                    Ok(()) => log::warn!(
                        "{}'s requester {member} reaches no memory from now on: it, or one of its cohort, was blocked",
                        holding.name
                    ),
                    Err(fault) => log::error!("requester {member} could not be isolated: {fault}"),
                }
                watch.acted.insert(*member);
            }
        }
    }
}

/// The guest that holds what speaks as `requester`.
fn holding_of<'h>(table: &Table, holdings: &'h [Holding], requester: Requester) -> Option<&'h Holding> {
    let owner = owner(table, requester)?;
    let is = |holding: &&Holding| Owner::Guest(holding.number) == owner;
    holdings.iter().find(is)
}

/// All faults of these requesters so far.
#[must_use]
pub(super) fn of(table: &Table, requesters: &[Requester]) -> u64 {
    let iommus = table.platform().iommus();
    requesters
        .iter()
        .map(|requester| iommus.faults_of(*requester))
        .sum()
}

/// The owner of the cohort that `requester` speaks for.
fn owner(table: &Table, requester: Requester) -> Option<Owner> {
    let cohort = table
        .cohorts()
        .iter()
        .find(|cohort| cohort.requesters().contains(&requester))?;
    let holder = table.state(cohort.id()).and_then(CohortState::holder);
    holder.or_else(|| table.soiled_by(cohort.id()))
}

/// The devices that `requester` speaks for: one, or all behind a bridge that lends them its name.
fn devices(table: &Table, requester: Requester) -> impl Iterator<Item = Bdf> {
    let known = table.cohorts().devices().iter();
    known
        .filter(move |device| device.requesters.contains(&requester))
        .filter_map(|device| device.id.pci())
}

/// The same for people: `0000:03:01.0 or 0000:03:02.0, as 0000:03:00.0`.
fn speakers(table: &Table, requester: Option<Requester>) -> String {
    let Some(requester) = requester else {
        return String::from("unknown device");
    };
    let names: Vec<String> = devices(table, requester).map(|bdf| bdf.to_string()).collect();
    let own = requester.to_string();
    match &names[..] {
        [] => own,
        [one] if *one == own => own,
        _ => alloc::format!("{}, as {own}", names.join(" or ")),
    }
}

fn describe(table: &Table, holdings: &[Holding], fault: &FaultRecord) -> DmaFault {
    let requester = fault.requester;
    let holding = requester.and_then(|requester| holding_of(table, holdings, requester));
    DmaFault {
        guest: holding.map(|holding| holding.name.clone()),
        device: requester.and_then(|requester| devices(table, requester).next()),
        address: fault.address.map(|address| address.0),
        access: fault.access.to_string(),
        what: what(holding, holdings, fault),
    }
}

fn what(holding: Option<&Holding>, holdings: &[Holding], fault: &FaultRecord) -> String {
    if fault.reason == FaultReason::Interrupt {
        return fault.reason.to_string();
    }
    let Some(at) = fault.address else {
        return String::from("the IOMMU gave no address");
    };
    let memory = holding.and_then(|holding| holding.memory.as_ref());
    match memory.and_then(|memory| memory.find(at)) {
        Some(mapping) if mapping.access.contains(Access::WRITE) => {
            return String::from("the guest's own memory, but the device is in quarantine");
        }
        Some(_) => return String::from("read-only memory of the guest"),
        None => {}
    }
    let image = paging::image();
    let mine = |other: &&Holding| (other.host.0..other.host.1).contains(&at.0);
    if (image.start..image.end).contains(&at.0) {
        return String::from("nothing is mapped; as a host address it is the hypervisor");
    }
    match holdings.iter().find(mine) {
        Some(other) => alloc::format!(
            "nothing is mapped; as a host address it is memory of {}",
            other.name
        ),
        None => String::from("nothing is mapped"),
    }
}
