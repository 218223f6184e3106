//! Opening and closing whole cohorts, on machines made by hand and at random, with every step made to fail.

#![cfg(not(loom))]

mod buses;
mod failing;
mod handles;
mod kinds;
mod model;
mod order;
mod remove;
mod repair;
mod resets;
mod rest;
mod sriov;

use std::vec::Vec;

use crate::addr::{HostPhys, Iova};
use crate::cohort::{Cohorts, OpenPlan};
use crate::lease::{CohortTable, Domain, Lease};
use crate::pci::{Function, Topology};
use crate::testing::platform::{Call, Recorder};
use crate::{Access, DeviceId, Mapping, Owner};

type Table = CohortTable<Recorder>;

const GUEST: Owner = Owner::Guest(1);
const OTHER: Owner = Owner::Guest(2);

/// A table with everything in quarantine, and a trace that starts after that.
fn table(functions: Vec<Function>) -> Table {
    let cohorts = Cohorts::new(&Topology::new(functions).unwrap());
    let platform = Recorder::with_remapping();
    let table = CohortTable::new(cohorts, platform).unwrap();
    table.platform().take_trace();
    table
}

fn region(iova: u64) -> Mapping {
    Mapping {
        iova: Iova(iova),
        host: HostPhys(iova + 0x100_0000),
        size: 0x1000,
        access: Access::READ,
    }
}

fn domain(table: &Table, owner: Owner) -> Domain<'_, Recorder> {
    table
        .domain(owner, Vec::from([region(0x4000), region(0x1000)]))
        .unwrap()
}

/// The calls since the last time; all of them worked.
fn calls(table: &Table) -> Vec<Call> {
    let trace = table.platform().take_trace();
    trace
        .into_iter()
        .map(|(call, ok)| ok.then_some(call).unwrap())
        .collect()
}

/// The only lease of a plan for `devices`.
fn lease<'t>(table: &'t Table, domain: &Domain<'t, Recorder>, devices: &[DeviceId]) -> Lease<'t, Recorder> {
    let mut leases = table.open(&plan(table, domain.owner(), devices), domain).unwrap();
    assert_eq!(leases.len(), 1);
    leases.pop().unwrap()
}

fn plan<'t>(table: &'t Table, owner: Owner, devices: &[DeviceId]) -> OpenPlan<'t> {
    table.plan_open(owner, devices, false).unwrap()
}

/// All members of the cohort that has the `at`th device, counted round.
fn cohort_at(table: &Table, at: usize) -> Vec<DeviceId> {
    let devices = table.cohorts().devices();
    let device = &devices[at % devices.len()];
    table.cohorts().get(device.cohort).unwrap().members().to_vec()
}
