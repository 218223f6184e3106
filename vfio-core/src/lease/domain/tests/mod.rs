//! Domains on a recorded platform: several units, software beside devices, and every call of the IOMMU made to fail.

#![cfg(not(loom))]

mod failing;
mod model;
mod pins;
mod software;
mod threads;
mod units;

use std::vec::Vec;

use crate::addr::{HostPhys, Iova};
use crate::cohort::Cohorts;
use crate::domain::{IovaRange, UnitId};
use crate::lease::{CohortTable, Domain, Lease};
use crate::pci::Topology;
use crate::testing::machine::{demo, id};
use crate::testing::platform::{Call, Recorder, View};
use crate::{Access, DeviceId, Mapping, Owner, Requester};

const GUEST: Owner = Owner::Guest(1);
const PAGE: u64 = 4096;
const HOST: u64 = 0x1_0000_0000;
const RW: Access = Access::READ.union(Access::WRITE);
/// The two units that `table` has.
const UNITS: [UnitId; 2] = [UnitId(0), UnitId(1)];

type Table = CohortTable<Recorder>;

/// `04:00.0` and what is behind the bridge at `02:00.0` have unit 1, all others unit 0.
fn table() -> Table {
    let cohorts = Cohorts::new(&Topology::new(demo()).unwrap());
    let platform = Recorder::with_remapping();
    platform.put_behind(requester(0x400), UnitId(1));
    platform.put_behind(requester(0x300), UnitId(1));
    let table = CohortTable::new(cohorts, platform).unwrap();
    table.platform().take_trace();
    table
}

/// A cohort behind unit 0, with two requesters.
fn pair() -> Vec<DeviceId> {
    Vec::from([id("01:00.0"), id("01:00.1")])
}

/// A cohort behind unit 1.
fn single() -> Vec<DeviceId> {
    Vec::from([id("04:00.0")])
}

/// Another cohort behind unit 1: two devices with one requester.
fn legacy() -> Vec<DeviceId> {
    Vec::from([id("03:00.0"), id("03:01.0")])
}

const fn requester(id: u16) -> Requester {
    Requester::Pci { segment: 0, id }
}

fn open<'t>(table: &'t Table, devices: &[DeviceId], domain: &Domain<'t, Recorder>) -> Lease<'t, Recorder> {
    let plan = table.plan_open(GUEST, devices, false).unwrap();
    table.open(&plan, domain).unwrap().pop().unwrap()
}

fn map(page: u64, pages: u64) -> Mapping {
    Mapping {
        iova: Iova(page * PAGE),
        host: HostPhys(HOST + page * PAGE),
        size: pages * PAGE,
        access: RW,
    }
}

fn pages(first: u64, last: u64) -> IovaRange {
    IovaRange::inclusive(Iova(first * PAGE), Iova(last * PAGE + (PAGE - 1))).unwrap()
}

fn calls(table: &Table) -> Vec<Call> {
    table
        .platform()
        .take_trace()
        .into_iter()
        .map(|(call, _)| call)
        .collect()
}

/// What the units map for `domain`, each with which unit it is.
fn in_units(view: &View, domain: &Domain<'_, Recorder>) -> Vec<(UnitId, Vec<Mapping>)> {
    let own = view.mapped.iter().filter(|((_, id), _)| *id == domain.id());
    own.map(|((unit, _), mapped)| (*unit, mapped.values().copied().collect()))
        .collect()
}

/// Every unit with an attached requester maps exactly what the domain says.
fn assert_in_step(table: &Table, domain: &Domain<'_, Recorder>) {
    for (unit, mapped) in in_units(&table.platform().view(), domain) {
        assert_eq!(mapped, domain.mappings(), "{unit}");
    }
}

/// No device reaches what is not in the domain's table, whatever failed.
fn assert_truth(table: &Table, domain: &Domain<'_, Recorder>) {
    let said = domain.mappings();
    let view = table.platform().view();
    for (requester, at) in &view.attached {
        if *at != domain.id() {
            continue;
        }
        for unit in UNITS {
            for reached in view.reached(*requester, unit) {
                assert!(
                    said.contains(&reached),
                    "{requester} reaches {reached:?}, which is not in the table"
                );
            }
        }
    }
}
