//! A physical function and its virtual functions: one owner at a time.

use std::string::ToString;
use std::vec::Vec;

use super::{GUEST, OTHER, calls, domain, lease, plan, table};
use crate::cohort::Refusal;
use crate::lease::{CohortState, OpenFailure};
use crate::pci::{Function, PortKind};
use crate::testing::machine::{FLR, bdf, demo, id};
use crate::testing::platform::Call;

const PHYSICAL: &str = "04:00.0";
const VIRTUAL: [&str; 2] = ["04:00.1", "04:00.2"];

fn functions() -> Vec<Function> {
    let mut functions = demo();
    functions.extend(VIRTUAL.map(|text| Function {
        parent: Some(bdf("00:03.0")),
        physical_function: Some(bdf(PHYSICAL)),
        resets: FLR,
        ..Function::new(bdf(text), PortKind::Endpoint)
    }));
    functions
}

#[test]
fn a_physical_function_is_not_opened_beside_anothers_virtual_function() {
    let table = table(functions());
    let (mine, theirs) = (domain(&table, GUEST), domain(&table, OTHER));
    let early = plan(&table, GUEST, &[id(PHYSICAL)]);
    let virtual_function = lease(&table, &theirs, &[id(VIRTUAL[1])]);
    let refusal = Refusal::VirtualFunctionHeld {
        device: id(PHYSICAL),
        virtual_function: id(VIRTUAL[1]),
        owner: OTHER,
    };
    let refused = table.plan_open(GUEST, &[id(PHYSICAL)], false).unwrap_err();
    assert_eq!(refused, refusal);
    assert_eq!(
        refused.to_string(),
        "0000:04:00.0 cannot be opened: its virtual function 0000:04:00.2 belongs to guest 2"
    );
    // The same for a plan that time overtook; nothing is touched, and the cohort is free again.
    calls(&table);
    assert_eq!(
        table.open(&early, &mine).unwrap_err(),
        OpenFailure::Refused(refusal)
    );
    assert_eq!(calls(&table), []);
    let cohort = table.cohorts().cohort_of(id(PHYSICAL)).unwrap().id();
    assert_eq!(table.state(cohort), Some(CohortState::Quarantined));
    // Another virtual function is no matter, and the same owner may have both.
    drop(lease(&table, &mine, &[id(VIRTUAL[0])]));
    drop(lease(&table, &theirs, &[id(PHYSICAL)]));
    drop(virtual_function);
    drop(lease(&table, &mine, &[id(PHYSICAL)]));
}

#[test]
fn a_virtual_function_is_not_opened_while_another_has_the_physical_one() {
    let table = table(functions());
    let (mine, theirs) = (domain(&table, GUEST), domain(&table, OTHER));
    let early = plan(&table, OTHER, &[id(VIRTUAL[0])]);
    let physical = lease(&table, &mine, &[id(PHYSICAL)]);
    let refusal = Refusal::PhysicalFunctionHeld {
        device: id(VIRTUAL[0]),
        physical_function: id(PHYSICAL),
        owner: GUEST,
    };
    let refused = table.plan_open(OTHER, &[id(VIRTUAL[0])], false).unwrap_err();
    assert_eq!(refused, refusal);
    assert_eq!(
        refused.to_string(),
        "0000:04:00.1 cannot be opened: its physical function 0000:04:00.0 belongs to guest 1"
    );
    assert_eq!(
        table.open(&early, &theirs).unwrap_err(),
        OpenFailure::Refused(refusal)
    );
    drop(lease(&table, &mine, &[id(VIRTUAL[0])]));
    drop(physical);
    drop(lease(&table, &theirs, &[id(VIRTUAL[0])]));
}

#[test]
fn in_one_request_the_physical_function_is_opened_first_and_closed_last() {
    let table = table(functions());
    let domain = domain(&table, GUEST);
    let devices = [id(VIRTUAL[0]), id(PHYSICAL), id(VIRTUAL[1])];
    calls(&table);
    let leases = table.open(&plan(&table, GUEST, &devices), &domain).unwrap();
    let resets: Vec<Call> = calls(&table)
        .into_iter()
        .filter(|call| matches!(call, Call::Reset(_)))
        .collect();
    assert_eq!(
        resets,
        [PHYSICAL, VIRTUAL[0], VIRTUAL[1]].map(|text| Call::Reset(id(text)))
    );
    assert_eq!(leases[0].devices(), [id(PHYSICAL)]);
}
